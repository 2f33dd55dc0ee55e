// Package containerstream serves the streams of container apps: what containers
// write, what happens to an app, and consoles in containers, in the forms that
// clients of Container Apps know. Callers come with a token that the management
// API made for one app. It does not know who may have such a token, nor how
// containers run.
package containerstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/places"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Engine is what streams need of an [engine.Engine].
type Engine interface {
	Logs(ctx context.Context, of engine.Target, opts engine.LogOptions, w io.Writer) error
	Exec(ctx context.Context, in engine.Target, cmd engine.Exec) (int, error)
	Observe(ctx context.Context, revision engine.Ref) (engine.Status, error)
}

// Apps is what streams need of [containerapp.Apps].
type Apps interface {
	Get(ctx context.Context, id resource.ID) (containerapp.App, error)
	Revisions(ctx context.Context, id resource.ID) ([]containerapp.Revision, error)
}

// Opened is a stream that somebody opened, for the audit trail.
type Opened struct {
	App       resource.ID
	Principal string // object id of who got the token
	Kind      string // logs, events or exec
	Target    engine.Target
	Source    string // address of the client
}

// Config is what a Handler needs. What can be nil is said so.
type Config struct {
	Engine Engine
	Apps   Apps
	Tokens *Tokens
	// Ref gives what the engine calls a revision of an app.
	Ref func(a containerapp.App, revision string) engine.Ref
	// Opened is told of streams before they begin; its error keeps one from
	// beginning. May be nil.
	Opened func(ctx context.Context, o Opened) error
	// Active says by its error whether who got a token still counts; streams that are
	// open go on. It is required, as tokens are good for a while.
	Active func(ctx context.Context, principal string) error
	Clock  clock.Clock
	Log    *slog.Logger
}

// Handler serves streams. It is safe for concurrent use.
type Handler struct {
	cfg   Config
	slots chan struct{}
	open  context.Context // ends with Close
	close context.CancelFunc

	places places.Places // of principals
}

// Limits of streams.
const (
	maxStreams  = 256            // at a time
	maxEach     = maxStreams / 4 // of one principal
	maxTail     = 300            // lines of the past, as the platform has it
	writeWithin = 30 * time.Second
)

// New makes a handler. It fails for a Config that leaves out what has no default.
func New(cfg Config) (*Handler, error) {
	if cfg.Engine == nil || cfg.Apps == nil || cfg.Tokens == nil || cfg.Ref == nil || cfg.Active == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("containerstream: Engine, Apps, Tokens, Ref, Active, Clock and Log must be set")
	}
	h := &Handler{cfg: cfg, slots: make(chan struct{}, maxStreams), places: places.Places{Each: maxEach}}
	h.open, h.close = context.WithCancel(context.Background())
	return h, nil
}

// Close ends all streams and refuses new ones. It does not wait for them.
func (h *Handler) Close() { h.close() }

// Owns reports whether a path is one of a stream.
func Owns(path string) bool {
	_, ok := parse(path)
	return ok
}

// ServeHTTP serves one stream until it ends, or its client goes.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, ok := parse(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "streams are read with GET")
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "too many streams are open")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.open, cancel)()
	if err := h.serve(w, r.WithContext(ctx), at); err != nil {
		h.fail(w, r, err)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, at place) error {
	a, principal, err := h.admit(r, at)
	if err != nil {
		return err
	}
	leave, ok := h.places.Take(principal)
	if !ok {
		w.Header().Set("Retry-After", "5")
		return problem.New(problem.Throttled, "you have too many streams open").WithNext("close some")
	}
	defer leave()
	target := engine.Target{Revision: h.cfg.Ref(a, at.revision), Replica: at.replica, Container: at.container}
	if at.kind != KindEvents {
		if err := h.there(r.Context(), target); err != nil {
			return err
		}
	}
	open := func() error {
		if h.cfg.Opened == nil {
			return nil
		}
		return h.cfg.Opened(r.Context(), Opened{App: a.ID, Principal: principal, Kind: at.kind, Target: target, Source: r.RemoteAddr})
	}
	switch at.kind {
	case KindLogs:
		return h.logs(w, r, target, open)
	case KindEvents:
		return h.events(w, r, a, open)
	}
	return h.exec(w, r, target, open)
}

// admit gives the app that a request is about, if it has a token for it.
func (h *Handler) admit(r *http.Request, at place) (containerapp.App, string, error) {
	refused := problem.New(problem.Unauthenticated, "the token is not good for this app").WithNext("get one with POST …/getAuthtoken of the app")
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return containerapp.App{}, "", refused
	}
	claims, err := h.cfg.Tokens.check(strings.TrimSpace(token))
	if err != nil {
		return containerapp.App{}, "", err
	}
	id, err := resource.Parse(claims.App)
	if err != nil || !at.of(id) {
		return containerapp.App{}, "", refused
	}
	if err := h.cfg.Active(r.Context(), claims.Principal); err != nil {
		return containerapp.App{}, "", err
	}
	a, err := h.cfg.Apps.Get(r.Context(), id)
	if errors.Is(err, problem.NotFound) || err == nil && a.UID != claims.UID {
		return a, "", problem.New(problem.NotFound, "there is no such app any more")
	}
	return a, claims.Principal, err
}

// there refuses a container that the engine does not have.
func (h *Handler) there(ctx context.Context, t engine.Target) error {
	s, err := h.cfg.Engine.Observe(ctx, t.Revision)
	if err != nil {
		return err
	}
	for _, r := range s.Replicas {
		if !strings.EqualFold(r.Name, t.Replica) {
			continue
		}
		for _, c := range r.Containers {
			if c.Name == t.Container && c.Role != engine.RoleSidecar {
				return nil
			}
		}
		return problem.New(problem.NotFound, "the replica has no such container")
	}
	return problem.New(problem.NotFound, "there is no such replica")
}

// fail answers a request that could not be served.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody listens
	}
	status := statuses[problem.KindOf(err)]
	text := err.Error()
	if status == 0 {
		status, text = http.StatusInternalServerError, "the stream cannot be served"
		h.cfg.Log.Error("a stream of a container app cannot be served", "reason", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	refuse(w, status, text)
}

// statuses are those of errors; of all others nothing is told.
var statuses = map[problem.Kind]int{
	problem.Invalid: http.StatusBadRequest, problem.NotFound: http.StatusNotFound, problem.Unauthenticated: http.StatusUnauthorized,
	problem.Denied: http.StatusForbidden, problem.Conflict: http.StatusConflict, problem.Unavailable: http.StatusServiceUnavailable,
	problem.Unsupported: http.StatusNotImplemented, problem.Throttled: http.StatusTooManyRequests, problem.Timeout: http.StatusGatewayTimeout,
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // who is gone misses nothing
}
