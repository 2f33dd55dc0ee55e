package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// readyTimeout bounds how long the checks of one answer take together.
const readyTimeout = 5 * time.Second

// Check tells whether a part of the node is ready: nil when it is, else an
// error that says why not, or one made by [Degraded]. It is called for each question, possibly
// concurrently, returns promptly and gives up when ctx ends.
type Check func(ctx context.Context) error

// degraded is what a part says that does its job with less than it should have.
type degraded struct{ error }

// Unwrap gives what is missing.
func (d degraded) Unwrap() error { return d.error }

// Degraded makes a check that fails with err, which is not nil, one that is ready
// and says what is wrong nevertheless.
func Degraded(err error) error { return degraded{err} }

// Health is a node's named readiness checks. Safe for concurrent use; the zero
// value is ready to use and has no checks, so it reports ready.
type Health struct {
	mu     sync.Mutex
	checks map[string]Check
}

// Set adds a check or replaces the one of the same name.
func (h *Health) Set(name string, c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]Check{}
	}
	h.checks[name] = c
}

// Remove takes a check away; removing one that does not exist does nothing.
func (h *Health) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.checks, name)
}

// CheckResult is what one check said.
type CheckResult struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// Degraded says that the part is ready, but not as it should be.
	Degraded bool   `json:"degraded,omitempty"`
	Reason   string `json:"reason,omitempty"` // why not; redacted
	Next     string `json:"next,omitempty"`   // what to do about it
}

// Readiness is what all checks said, by name.
type Readiness struct {
	Ready  bool          `json:"ready"`
	Checks []CheckResult `json:"checks"`
}

// Ready asks every check, one after the other and without holding a lock.
func (h *Health) Ready(ctx context.Context) Readiness {
	all := Readiness{Ready: true, Checks: []CheckResult{}}
	for name, check := range h.snapshot() {
		r := ask(ctx, name, check)
		all.Ready = all.Ready && r.Ready
		all.Checks = append(all.Checks, r)
	}
	slices.SortFunc(all.Checks, func(a, b CheckResult) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (h *Health) snapshot() map[string]Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	checks := make(map[string]Check, len(h.checks))
	for name, c := range h.checks {
		checks[name] = c
	}
	return checks
}

// ask runs one check; one that panics is not ready, the others still answer.
func ask(ctx context.Context, name string, check Check) (r CheckResult) {
	r.Name = name
	defer func() {
		if p := recover(); p != nil {
			r = CheckResult{Name: name, Reason: RedactText(fmt.Sprintf("check panicked: %v", p))}
		}
	}()
	if err := check(ctx); err != nil {
		r.Reason, r.Next = RedactText(err.Error()), RedactText(problem.NextOf(err))
		r.Degraded = errors.As(err, new(degraded))
		r.Ready = r.Degraded
		return r
	}
	r.Ready = true
	return r
}

// serveReady answers /readyz: 200 when every check is ready, else 503.
func (h *Health) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	all := h.Ready(ctx)
	body, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		http.Error(w, "cannot describe readiness", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if !all.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}

// serveAlive answers /healthz: whoever can answer is alive.
func serveAlive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// OpsHandler serves /metrics, /healthz and /readyz, by GET and HEAD. It asks
// for no credential, so it belongs on a listener only operators can reach.
func OpsHandler(m *Metrics, h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /healthz", serveAlive)
	mux.HandleFunc("GET /readyz", h.serveReady)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}
