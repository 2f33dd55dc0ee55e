package containerroles

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi/msi"
)

// handler makes what serves one start. Identities that are not for its role are to
// it as such that the app does not have, in the platform's words.
func (e *Endpoint) handler(s engine.Start, secret string) http.Handler {
	role := roleOf(s.Role)
	return msi.New(msi.Config{
		Header: secret,
		Identities: func(ctx context.Context) ([]identity.Assigned, error) {
			w, err := e.workload(ctx, s)
			return w.Rules.Usable(w.Identities, role), err
		},
		Issue: func(ctx context.Context, who identity.Assigned, resource string) (token.Token, error) {
			t, err := e.cfg.Issue(ctx, who, resource)
			if !e.still(s, secret) { // it ended while the token was made
				return token.Token{}, problem.New(problem.Denied, "the container ended meanwhile")
			}
			return t, err
		},
		Clock: e.cfg.Clock, Log: e.cfg.Log,
		OnEvent: func(event msi.Event) { e.cfg.OnEvent(e.explained(event, s, role)) },
	})
}

func roleOf(r engine.Role) identityrules.Role {
	switch r {
	case engine.RoleInit:
		return identityrules.InitContainer
	case engine.RoleMain:
		return identityrules.MainContainer
	}
	return ""
}

// workload reads the app of a start; an app that is gone has no identities.
func (e *Endpoint) workload(ctx context.Context, s engine.Start) (Workload, error) {
	w, err := e.cfg.Workload(ctx, s)
	if errors.Is(err, problem.NotFound) {
		return Workload{}, nil
	}
	return w, err
}

// still reports whether a start's secret counts: requests can be on their way when
// a container ends.
func (e *Endpoint) still(s engine.Start, secret string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d, there := e.doors[digestOf(secret)]
	return there && d.start == s
}

// explained says of a refusal that was for the container's role that it was.
func (e *Endpoint) explained(event msi.Event, s engine.Start, role identityrules.Role) Event {
	out := Event{Event: event, Start: s}
	if event.Granted || event.Status != http.StatusBadRequest || s.Container == "" {
		return out
	}
	w, err := e.workload(context.Background(), s)
	if err != nil {
		return out
	}
	for _, a := range w.Identities {
		if !selected(event.Selector, a) {
			continue
		}
		if d := w.Rules.Decide(a, role); !d.Allowed {
			out.Identity, out.Denied, out.Reason = a, d.Reason, d.Reason
		}
	}
	return out
}

// selected reads a selector as events have it: "client_id=…", or "" for the app's
// own identity.
func selected(selector string, a identity.Assigned) bool {
	name, value, _ := strings.Cut(selector, "=")
	switch name {
	case "":
		return a.System
	case "client_id", "clientid":
		return strings.EqualFold(a.AppID, value)
	case "object_id", "principal_id":
		return strings.EqualFold(a.ObjectID, value)
	}
	return strings.EqualFold(a.ResourceID, strings.TrimRight(value, "/"))
}
