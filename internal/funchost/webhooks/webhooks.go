// Package webhooks owns /runtime/webhooks/{extension}: who may call an
// extension's webhook, and which handler serves it. Extensions register their
// handlers; what a webhook means is theirs alone (keys §4.4).
package webhooks

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// Registry serves the webhooks of one app. It is an [http.Handler]; handlers may
// come and go while it serves.
type Registry struct {
	gate     *access.Gate
	instance *instance.Instance

	mu       sync.RWMutex
	handlers map[string]http.Handler
}

// New makes a registry without handlers.
func New(g *access.Gate, i *instance.Instance) *Registry {
	return &Registry{gate: g, instance: i, handlers: map[string]http.Handler{}}
}

// Register sets the handler of an extension, by its name ignoring case; nil
// takes it away. It makes sure of the extension's system key, so that senders
// can be set up before the first call, and gives the path and key of the
// webhook. Errors are the keyring's; the handler is registered all the same.
func (g *Registry) Register(ctx context.Context, extension string, h http.Handler) (path, key string, err error) {
	name := strings.ToLower(extension)
	g.mu.Lock()
	if h == nil {
		delete(g.handlers, name)
	} else {
		g.handlers[name] = h
	}
	g.mu.Unlock()
	if h == nil {
		return "", "", nil
	}
	k, _, err := g.gate.Keys.EnsureSystemKey(ctx, name)
	return "/runtime/webhooks/" + url.PathEscape(name), k.Value, err
}

// startPatience is how long a call waits for an app that is starting.
const startPatience = 30 * time.Second

// ServeHTTP checks the caller first: who has no key learns nothing about which
// extensions there are.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	extension, ok := extensionOf(r.URL.Path)
	if !ok || !allowed(r.Method) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if v, d := g.gate.Webhook(r, extension); !access.Enforce(w, v, d) {
		return
	}
	live, err := g.instance.Enter(r.Context(), startPatience)
	if err != nil {
		web.WriteProblem(w, err)
		return
	}
	defer live.Leave()
	g.mu.RLock()
	h := g.handlers[strings.ToLower(extension)]
	g.mu.RUnlock()
	if h == nil {
		web.WriteProblem(w, problem.New(problem.NotFound, "no such extension"))
		return
	}
	h.ServeHTTP(w, r)
}

// extensionOf gives the segment after /runtime/webhooks/.
func extensionOf(path string) (string, bool) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 4)
	if len(parts) < 3 || !strings.EqualFold(parts[0], "runtime") || !strings.EqualFold(parts[1], "webhooks") {
		return "", false
	}
	return parts[2], parts[2] != ""
}

func allowed(method string) bool {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}
