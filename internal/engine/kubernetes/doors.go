package kubernetes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

// doors is the way of containers to Identity. A container's environment is made from
// its revision's template, so its header is the same in all replicas and starts of the
// revision. What Identity gives to each start stays here: a request that a sidecar hands
// on says by the sidecar's token which pod it is from, and by the header which container
// of it; only then is the header of that start put in its place. So the header of an
// init container is of no use when the init containers of the pod ended, whoever has it.
type doors struct {
	e *Engine

	reviews chan struct{} // a place for each that is under way

	mu     sync.Mutex
	known  map[string]map[string]string // headers by secret's name and container
	pods   map[string]*lives            // by uid
	tokens map[[sha256.Size]byte]seat   // of sidecars, for a short time
}

// lives are the containers of a pod.
type lives struct {
	starts    map[string]*life
	initEnded bool
}

// life is the newest start of a container.
type life struct {
	engine.Start
	alive  bool
	header string // what Identity gave; empty: nothing yet
}

// seat is the pod that a token is from.
type seat struct {
	pod, uid string
	until    time.Time
}

const (
	tokenTime  = time.Minute // for which a token is believed without asking again
	maxTokens  = 4096
	maxReview  = 1 << 20 // bytes
	maxReviews = 16      // at a time
)

func newDoors(e *Engine) *doors {
	return &doors{e: e, reviews: make(chan struct{}, maxReviews), known: map[string]map[string]string{}, pods: map[string]*lives{}, tokens: map[[sha256.Size]byte]seat{}}
}

// headers gives the headers in a secret, by container. problem.NotFound if there is none.
func (d *doors) headers(ctx context.Context, name string) (map[string]string, error) {
	d.mu.Lock()
	have := d.known[name]
	d.mu.Unlock()
	if have != nil {
		return have, nil
	}
	var got struct {
		Data map[string][]byte `json:"data"`
	}
	if err := d.e.get(ctx, secret, name, &got); problem.KindOf(err) == problem.NotFound {
		return nil, err
	} else if err != nil {
		return nil, d.e.fault(err, "get Secret "+name)
	}
	return d.know(name, got.Data), nil
}

func (d *doors) know(name string, data map[string][]byte) map[string]string {
	have := map[string]string{}
	for k, v := range data {
		have[k] = string(v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[name] = have
	return have
}

// forget lets go of the headers in secrets whose names begin with prefix.
func (d *doors) forget(prefix string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.known {
		if strings.HasPrefix(name, prefix) {
			delete(d.known, name)
		}
	}
}

// observe tells Identity what happened to the containers of a pod.
func (d *doors) observe(p *pod, gone bool) {
	if d.e.cfg.Identity == nil || p.Metadata.UID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.pods[p.Metadata.UID]
	ref := refOf(p.Metadata)
	if gone || p.over() {
		if l != nil {
			delete(d.pods, p.Metadata.UID)
			d.e.cfg.Identity.Gone(ref, p.Metadata.Name)
		}
		return
	}
	if l == nil {
		l = &lives{starts: map[string]*life{}}
		d.pods[p.Metadata.UID] = l
	}
	if p.Metadata.Deleted != nil {
		return // its end is told when it is gone
	}
	ended := p.initEnded()
	if l.initEnded && !ended && !p.serving() {
		// The machine came up again: the pod begins anew, init containers first.
		d.e.cfg.Identity.Gone(ref, p.Metadata.Name)
		l = &lives{starts: map[string]*life{}}
		d.pods[p.Metadata.UID] = l
	}
	p.each(func(role engine.Role, name string, s containerStatus) {
		if role == engine.RoleInit {
			d.live(l, startOf(p, role, name, s.Restarts), s)
		}
	})
	if ended && !l.initEnded {
		l.initEnded = true
		d.e.cfg.Identity.InitEnded(ref, p.Metadata.Name)
	}
	p.each(func(role engine.Role, name string, s containerStatus) {
		if role == engine.RoleMain {
			d.live(l, startOf(p, role, name, s.Restarts), s)
		}
	})
}

func startOf(p *pod, role engine.Role, container string, count int) engine.Start {
	return engine.Start{Revision: refOf(p.Metadata), Replica: p.Metadata.Name, Container: container, Role: role, Count: count,
		Generation: p.Metadata.Annotations[noteGeneration]}
}

// live follows one container; mu is held.
func (d *doors) live(l *lives, s engine.Start, now containerStatus) {
	was := l.starts[s.Container]
	over := now.State.Running == nil && now.last() != nil
	if was != nil && was.alive && (s.Count > was.Count || over) {
		was.alive, was.header = false, ""
		d.e.cfg.Identity.Ended(was.Start)
	}
	begun := now.State.Running != nil || now.last() != nil
	if !begun || was != nil && s.Count <= was.Count || over && l.initEnded && s.Role == engine.RoleInit {
		return
	}
	one := &life{Start: s, alive: true}
	l.starts[s.Container] = one
	d.open(one)
	if over { // it was too fast to be seen running
		one.alive, one.header = false, ""
		d.e.cfg.Identity.Ended(s)
	}
}

// open asks Identity for what a start is to have; mu is held. Without an answer the
// container runs without tokens, and the next request asks again.
func (d *doors) open(one *life) {
	env, err := d.e.cfg.Identity.Environment(d.e.ctx, one.Start)
	if err != nil {
		d.e.cfg.Log.Warn("a container gets no tokens for now", "app", one.Revision.App, "replica", one.Replica, "container", one.Container, "error", err.Error())
		return
	}
	for _, e := range env {
		if e.Name == "IDENTITY_HEADER" {
			one.header = e.Value
		}
	}
}

// Handler serves what sidecars hand on: it finds out which container of which replica
// asks, and lets next answer as if the header that Identity gave to that start had been
// sent. Requests of nobody reach next without a header, so that refusals are its own.
// While the cluster cannot be asked who somebody is, the answer is 503, after which
// clients ask again.
func (e *Engine) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, err := e.doors.swap(r)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		out := r.Clone(r.Context())
		out.Header.Del("Authorization")
		for _, name := range [...]string{"X-Identity-Header", "Secret"} {
			given := out.Header.Get(name) != ""
			if out.Header.Del(name); given && header != "" {
				out.Header.Set(name, header)
			}
		}
		next.ServeHTTP(w, out)
	})
}

// swap gives the header that a request is to have, "" for none.
func (d *doors) swap(r *http.Request) (string, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" || d.e.cfg.Identity == nil {
		return "", nil
	}
	at, ok, err := d.seat(r.Context(), token)
	if !ok || err != nil {
		return "", err
	}
	p := d.e.seen.pod(at.pod)
	if p == nil || p.Metadata.UID != at.uid {
		return "", nil
	}
	have, err := d.headers(r.Context(), headersName(p.Metadata.Labels[labelRevision], p.Metadata.Labels[labelDigest]))
	if problem.KindOf(err) == problem.NotFound {
		return "", nil
	}
	if err != nil {
		d.e.cfg.Log.Warn("a replica's headers cannot be read", "replica", at.pod, "error", err.Error())
		return "", err
	}
	given := r.Header.Get("X-Identity-Header")
	if given == "" {
		given = r.Header.Get("Secret")
	}
	return d.enter(p, match(have, given)), nil
}

// match gives the container whose header was given, "" for none.
func match(have map[string]string, given string) (container string) {
	for name, header := range have {
		if header != "" && subtle.ConstantTimeCompare([]byte(header), []byte(given)) == 1 {
			container = name
		}
	}
	return container
}

// enter gives the header of the newest start of a container. A container may ask before
// the cluster tells that it runs.
func (d *doors) enter(p *pod, container string) (header string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.pods[p.Metadata.UID]
	if l == nil || container == "" {
		return ""
	}
	p.each(func(role engine.Role, name string, s containerStatus) {
		if name != container || role == engine.RoleSidecar || role == engine.RoleInit && l.initEnded {
			return
		}
		one := l.starts[container]
		if one == nil || !one.alive {
			count := s.Restarts
			if one != nil {
				count = one.Count + 1
			}
			one = &life{Start: startOf(p, role, name, count), alive: true}
			l.starts[container] = one
		}
		if one.header == "" {
			d.open(one)
		}
		header = one.header
	})
	return header
}

// seat asks the API server which pod a token is from.
func (d *doors) seat(ctx context.Context, token string) (seat, bool, error) {
	sum := sha256.Sum256([]byte(token))
	now := d.e.cfg.Clock.Now()
	d.mu.Lock()
	at, ok := d.tokens[sum]
	d.mu.Unlock()
	if ok && now.Before(at.until) {
		return at, true, nil
	}
	at, ok, err := d.review(ctx, token)
	if !ok || err != nil {
		return seat{}, false, err
	}
	at.until = now.Add(tokenTime)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.tokens) >= maxTokens {
		clear(d.tokens)
	}
	d.tokens[sum] = at
	return at, true, nil
}

func (d *doors) review(ctx context.Context, token string) (seat, bool, error) {
	body, err := json.Marshal(fields{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
		"spec": fields{"token": token, "audiences": []string{audience}}})
	if err != nil || len(body) > maxReview {
		return seat{}, false, nil
	}
	select { // whoever makes tokens up does not keep the API server busy
	case d.reviews <- struct{}{}:
		defer func() { <-d.reviews }()
	case <-ctx.Done():
		return seat{}, false, ctx.Err()
	}
	var got struct {
		Status struct {
			Authenticated bool     `json:"authenticated"`
			Audiences     []string `json:"audiences"`
			User          struct {
				Username string              `json:"username"`
				Extra    map[string][]string `json:"extra"`
			} `json:"user"`
		} `json:"status"`
	}
	err = d.e.ask(ctx, kubeapi.Request{Method: http.MethodPost, Path: "/apis/authentication.k8s.io/v1/tokenreviews", Form: "application/json", Body: body}, &got)
	if err != nil {
		d.e.cfg.Log.Warn("the token of a sidecar cannot be checked", "error", d.e.fault(err, "create tokenreviews").Error())
		return seat{}, false, err
	}
	one := func(name string) string {
		if v := got.Status.User.Extra["authentication.kubernetes.io/"+name]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	at := seat{pod: one("pod-name"), uid: one("pod-uid")}
	ours := strings.HasPrefix(got.Status.User.Username, "system:serviceaccount:"+d.e.ns+":")
	heard := len(got.Status.Audiences) == 1 && got.Status.Audiences[0] == audience // a server that knows no audiences says none
	return at, got.Status.Authenticated && ours && heard && at.pod != "" && at.uid != "", nil
}
