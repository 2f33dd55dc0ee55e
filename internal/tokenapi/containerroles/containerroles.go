// Package containerroles owns the way of a container app's containers to tokens:
// each start of each container has a secret of its own, by which the endpoint knows
// whether it serves an init or a main container and of which app, and lets it have
// only the identities that are for that role. It is what engines ask for a
// container's environment. It does not know how containers run, how they reach the
// endpoint, how tokens are made, or what identities an app has: it asks.
package containerroles

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi/msi"
)

// Workload is what an app's containers may use, as of now.
type Workload struct {
	Identities []identity.Assigned
	Rules      identityrules.Rules
}

// Config is what an Endpoint works with. All but OnEvent must be set.
type Config struct {
	// Workload tells of the app of a start, by its name as the engine gives it, in
	// whatever case. It is asked for every request, so that changes act at once. An app
	// that is gone is problem.NotFound or a Workload without identities; so is one whose
	// place another one took since, which the start's Generation tells if it is not
	// empty: containers of the former may not have ended yet.
	Workload func(ctx context.Context, s engine.Start) (Workload, error)
	// URL gives the address that a container finds the endpoint at, with the path,
	// such as "http://localhost:42356/msi/token".
	URL func(engine.Start) string
	// Issue is as in msi.Config.
	Issue func(ctx context.Context, who identity.Assigned, resource string) (token.Token, error)
	// OnEvent takes the outcome of every token request. It must not block.
	OnEvent func(Event)
	Clock   clock.Clock
	Log     *slog.Logger
}

// Event is the outcome of a token request. Start is the zero value for a request
// without a secret that counts. Denied is set if the app has the identity and its
// rules keep it from the container.
type Event struct {
	msi.Event
	Start  engine.Start
	Denied string
}

// digest is what is kept of a secret. Looking it up says nothing about others: who
// could shape digests need not ask.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// door is one start of a container.
type door struct {
	start   engine.Start
	handler http.Handler
}

// Endpoint serves all containers of an engine. It is an engine.Identity and an
// http.Handler, safe for concurrent use.
type Endpoint struct {
	cfg     Config
	closed  http.Handler // refuses everything
	mu      sync.RWMutex
	doors   map[digest]door
	started map[place]digest // the secret of the last start of each container
	ended   map[replica]bool // replicas whose init containers are over
}

// replica and place name what starts happen to.
type (
	replica struct{ app, revision, name string }
	place   struct {
		replica
		role      engine.Role
		container string
	}
)

func replicaOf(r engine.Ref, name string) replica {
	return replica{strings.ToLower(r.App), strings.ToLower(r.Revision), name}
}

func placeOf(s engine.Start) place {
	return place{replicaOf(s.Revision, s.Replica), s.Role, s.Container}
}

// New makes an Endpoint. It fails for a Config that leaves out what must be set.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Workload == nil || cfg.URL == nil || cfg.Issue == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("containerroles: Workload, URL, Issue, Clock and Log must be set")
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	e := &Endpoint{cfg: cfg, doors: map[digest]door{}, started: map[place]digest{}, ended: map[replica]bool{}}
	e.closed = e.handler(engine.Start{}, "")
	return e, nil
}

var _ engine.Identity = (*Endpoint)(nil)

// generation is the variable that keeps for Resume what a container was started for.
const generation = "LATCHKEY_GENERATION"

// Environment makes the secret of a start, in place of that of the start before.
// Containers of apps without identities get one too: what is assigned later acts at
// once. problem.Conflict for an init container of a replica whose init containers
// are over.
func (e *Endpoint) Environment(_ context.Context, s engine.Start) ([]engine.Env, error) {
	secret := uuid.NewString() // from crypto/rand
	if err := e.open(s, secret); err != nil {
		return nil, err
	}
	at := e.cfg.URL(s)
	return []engine.Env{
		{Name: generation, Value: s.Generation},
		{Name: "IDENTITY_ENDPOINT", Value: at}, {Name: "IDENTITY_HEADER", Value: secret, Secret: true},
		{Name: "MSI_ENDPOINT", Value: at}, {Name: "MSI_SECRET", Value: secret, Secret: true},
	}, nil
}

// Resume lets a container that runs since before keep its secret. problem.Invalid
// if it has none of ours: what somebody else chose, others may know.
func (e *Endpoint) Resume(_ context.Context, s engine.Start, environment []engine.Env) error {
	secret := ""
	for _, one := range environment {
		switch one.Name {
		case "IDENTITY_HEADER":
			secret = one.Value
		case generation:
			s.Generation = one.Value
		}
	}
	if id, err := uuid.Parse(secret); err != nil || id.Version() != 4 || id.String() != secret {
		return problem.New(problem.Invalid, "the container has no secret for the identity endpoint")
	}
	return e.open(s, secret)
}

// open lets a secret in, and that of the start before no more.
func (e *Endpoint) open(s engine.Start, secret string) error {
	d, at := digestOf(secret), placeOf(s)
	handler := e.handler(s, secret)
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Role == engine.RoleInit && e.ended[at.replica] {
		return problem.New(problem.Conflict, "the init containers of the replica are over")
	}
	if _, taken := e.doors[d]; taken && e.started[at] != d {
		return problem.New(problem.Conflict, "the secret is another container's")
	}
	delete(e.doors, e.started[at])
	e.doors[d], e.started[at] = door{s, handler}, d
	return nil
}

// Ended closes what a start got, unless there was another one since.
func (e *Endpoint) Ended(s engine.Start) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := placeOf(s)
	if d, there := e.started[at]; there && e.doors[d].start.Count <= s.Count {
		delete(e.doors, d)
		delete(e.started, at)
	}
}

// InitEnded closes what the init containers of a replica got.
func (e *Endpoint) InitEnded(revision engine.Ref, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := replicaOf(revision, name)
	e.ended[r] = true
	e.close(func(p place) bool { return p.replica == r && p.role == engine.RoleInit })
}

// Gone closes what the containers of a replica got.
func (e *Endpoint) Gone(revision engine.Ref, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := replicaOf(revision, name)
	delete(e.ended, r)
	e.close(func(p place) bool { return p.replica == r })
}

// close is called under the lock.
func (e *Endpoint) close(which func(place) bool) {
	for at, d := range e.started {
		if which(at) {
			delete(e.doors, d)
			delete(e.started, at)
		}
	}
}

// ServeHTTP serves containers of all replicas.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.serve(w, r, func(engine.Start) bool { return true })
}

// For serves the containers of one replica only, for a place that only they reach:
// the secret of another replica is of no use there.
func (e *Endpoint) For(revision engine.Ref, name string) http.Handler {
	only := replicaOf(revision, name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.serve(w, r, func(s engine.Start) bool { return replicaOf(s.Revision, s.Replica) == only })
	})
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, may func(engine.Start) bool) {
	for _, name := range []string{"X-Identity-Header", "Secret"} {
		for _, secret := range r.Header[name] {
			e.mu.RLock()
			d, there := e.doors[digestOf(secret)]
			e.mu.RUnlock()
			if there && may(d.start) {
				d.handler.ServeHTTP(w, r)
				return
			}
		}
	}
	e.closed.ServeHTTP(w, r)
}
