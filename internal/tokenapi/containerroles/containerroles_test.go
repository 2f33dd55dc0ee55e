package containerroles_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi/containerroles"
)

const (
	app     = "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/a"
	oneID   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/One"
	address = "http://localhost:42356/msi/token"
)

var (
	start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)
	own   = identity.Assigned{System: true, ResourceID: app, ObjectID: "own-object", AppID: "own-client"}
	one   = identity.Assigned{ResourceID: oneID, ObjectID: "one-object", AppID: "one-client"}
	ref   = engine.Ref{App: app, Revision: "a--1"}
)

// fixture is an endpoint over an app that tests change.
type fixture struct {
	*testing.T
	*containerroles.Endpoint
	mu         sync.Mutex
	workload   containerroles.Workload
	generation string // that the app has
	missing    bool
	issuing    func() // called while a token is made
	events     []containerroles.Event
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, issuing: func() {}}
	var err error
	f.Endpoint, err = containerroles.New(containerroles.Config{
		Workload: func(_ context.Context, s engine.Start) (containerroles.Workload, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.missing || !strings.EqualFold(s.Revision.App, app) || s.Generation != "" && s.Generation != f.generation {
				return containerroles.Workload{}, problem.New(problem.NotFound, "no app")
			}
			return f.workload, nil
		},
		URL: func(engine.Start) string { return address },
		Issue: func(_ context.Context, who identity.Assigned, resource string) (token.Token, error) {
			f.issuing()
			return token.Token{Raw: "token of " + who.AppID, ID: "uti", Issued: start, Expires: start.Add(time.Hour)}, nil
		},
		OnEvent: func(e containerroles.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		},
		Clock: clock.NewManual(start), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) set(settings []identityrules.Setting, list ...identity.Assigned) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.workload = containerroles.Workload{Identities: list, Rules: identityrules.New(settings, false)}
}

func started(role engine.Role, count int) engine.Start {
	return engine.Start{Revision: ref, Replica: "r", Container: string(role), Role: role, Count: count}
}

// header starts a container and gives its secret.
func (f *fixture) header(s engine.Start) string {
	f.Helper()
	env, err := f.Environment(f.Context(), s)
	if err != nil {
		f.Fatal(err)
	}
	names := map[string]engine.Env{}
	for _, one := range env {
		names[one.Name] = one
	}
	if names["IDENTITY_ENDPOINT"].Value != address || names["MSI_ENDPOINT"].Value != address || !names["IDENTITY_HEADER"].Secret ||
		names["IDENTITY_HEADER"].Value == "" || names["MSI_SECRET"] != (engine.Env{Name: "MSI_SECRET", Value: names["IDENTITY_HEADER"].Value, Secret: true}) {
		f.Fatalf("environment: %+v", env)
	}
	return names["IDENTITY_HEADER"].Value
}

func ask(h http.Handler, secret string, selector url.Values) *httptest.ResponseRecorder {
	q := url.Values{"api-version": {"2019-08-01"}, "resource": {"https://vault.azure.net"}}
	for name, values := range selector {
		q[name] = values
	}
	r := httptest.NewRequest("GET", "/msi/token?"+q.Encode(), nil)
	r.Header.Set("X-Identity-Header", secret)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The documented answer to a request for an identity that is not the container's.
func isRefusal(w *httptest.ResponseRecorder) bool {
	var body map[string]any
	return w.Code == 400 && json.Unmarshal(w.Body.Bytes(), &body) == nil && body["statusCode"] == 400.0 &&
		body["message"] == "Unable to load the proper Managed Identity." && body["correlationId"] != "" && len(body) == 3
}

// selectors of an identity, and none.
func selectors(a identity.Assigned) map[string]url.Values {
	return map[string]url.Values{
		"none": nil, "client_id": {"client_id": {a.AppID}}, "object_id": {"object_id": {a.ObjectID}}, "mi_res_id": {"mi_res_id": {strings.ToLower(a.ResourceID)}},
	}
}

var lifecycles = map[identityrules.Lifecycle][]engine.Role{
	identityrules.All: {engine.RoleInit, engine.RoleMain}, identityrules.Init: {engine.RoleInit}, identityrules.Main: {engine.RoleMain}, identityrules.None: nil,
}

// The matrix: four lifecycles, two roles, two kinds of identities, four selectors;
// each at first, after the replica was replaced and after the identity was taken
// away and assigned again.
func TestContainersGetTokensOfExactlyTheirIdentities(t *testing.T) {
	cells := 0
	for life, roles := range lifecycles {
		for _, role := range []engine.Role{engine.RoleInit, engine.RoleMain} {
			for _, who := range []identity.Assigned{own, one} {
				for name, selector := range selectors(who) {
					cells++
					t.Run(fmt.Sprintf("%s/%s/system=%v/%s", life, role, who.System, name), func(t *testing.T) {
						allowed := slices.Contains(roles, role) && (who.System || name != "none")
						testCell(t, life, role, who, selector, allowed)
					})
				}
			}
		}
	}
	if cells != 64 {
		t.Errorf("%d cells", cells)
	}
}

func testCell(t *testing.T, life identityrules.Lifecycle, role engine.Role, who identity.Assigned, selector url.Values, allowed bool) {
	f := newFixture(t)
	settings := []identityrules.Setting{{Identity: "system", Lifecycle: identityrules.None}, {Identity: strings.ToLower(oneID), Lifecycle: identityrules.None}}
	if who.System {
		settings[0].Lifecycle = life
	} else {
		settings[1].Lifecycle = life
	}
	check := func(when, secret string, allowed bool) {
		t.Helper()
		w := ask(f, secret, selector)
		event := f.events[len(f.events)-1]
		if event.Granted != allowed || event.Start.Role != role {
			t.Errorf("%s: the event says %+v", when, event)
		}
		if !allowed {
			if !isRefusal(w) {
				t.Errorf("%s: not refused in the documented way: %d %s", when, w.Code, w.Body)
			}
			return
		}
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"token of `+who.AppID+`"`) {
			t.Errorf("%s: %d %s", when, w.Code, w.Body)
		}
	}
	f.set(settings, own, one)
	first := f.header(started(role, 0))
	check("at first", first, allowed)
	f.Gone(ref, "r")
	if w := ask(f, first, selector); w.Code != 403 || w.Body.Len() != 0 {
		t.Errorf("the secret of a replica that is gone: %d %q", w.Code, w.Body)
	}
	second := f.header(started(role, 0))
	if first == second {
		t.Error("the secret is the same after a restart")
	}
	check("after a restart", second, allowed)
	f.set(settings)
	check("taken away", second, false)
	f.set(settings, own, one)
	check("assigned again", second, allowed)
	f.set(nil, who)
	check("alone and without settings", second, who.System || selector != nil)
}

func TestASecretDiesWithItsStart(t *testing.T) {
	all := func(t *testing.T) (*fixture, string, string) {
		f := newFixture(t)
		f.set(nil, own)
		return f, f.header(started(engine.RoleInit, 0)), f.header(started(engine.RoleMain, 0))
	}
	dead := func(f *fixture, secret string) bool {
		w := ask(f, secret, nil)
		return w.Code == 403 && w.Body.Len() == 0
	}
	t.Run("init containers are over", func(t *testing.T) {
		f, first, main := all(t)
		f.InitEnded(ref, "r")
		if !dead(f, first) || dead(f, main) {
			t.Error("init's secret lives, or main's does not")
		}
		if _, err := f.Environment(t.Context(), started(engine.RoleInit, 1)); problem.KindOf(err) != problem.Conflict {
			t.Errorf("an init container starts after all are over: %v", err)
		}
		f.Gone(ref, "r")
		f.header(started(engine.RoleInit, 0)) // another replica of the name
	})
	t.Run("a container starts again", func(t *testing.T) {
		f, _, main := all(t)
		next := f.header(started(engine.RoleMain, 1))
		if !dead(f, main) || dead(f, next) {
			t.Error("the old secret lives, or the new one does not")
		}
		f.Ended(started(engine.RoleMain, 0)) // told late
		if dead(f, next) {
			t.Error("the end of the start before ended this one")
		}
		f.Ended(started(engine.RoleMain, 1))
		if !dead(f, next) {
			t.Error("it lives after its container ended")
		}
	})
	t.Run("while its token is made", func(t *testing.T) {
		f, first, _ := all(t)
		f.issuing = func() { f.InitEnded(ref, "r") }
		if w := ask(f, first, nil); w.Code == 200 || strings.Contains(w.Body.String(), "token of") {
			t.Errorf("it got a token: %d %s", w.Code, w.Body)
		}
	})
	t.Run("made up", func(t *testing.T) {
		f, _, _ := all(t)
		for _, secret := range []string{"", "x", "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"} {
			if !dead(f, secret) {
				t.Errorf("%q is let in", secret)
			}
		}
	})
	t.Run("at another replica's place", func(t *testing.T) {
		f, _, main := all(t)
		if w := ask(f.For(ref, "other"), main, nil); w.Code != 403 {
			t.Errorf("another replica's place: %d", w.Code)
		}
		if w := ask(f.For(engine.Ref{App: strings.ToUpper(app), Revision: "a--1"}, "r"), main, nil); w.Code != 200 {
			t.Errorf("its own place: %d", w.Code)
		}
	})
	t.Run("an app that is gone", func(t *testing.T) {
		f, _, main := all(t)
		f.missing = true
		if w := ask(f, main, nil); !isRefusal(w) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestAContainerThatRunsSinceBeforeKeepsItsSecret(t *testing.T) {
	f := newFixture(t)
	f.set(nil, own)
	env, err := f.Environment(t.Context(), started(engine.RoleMain, 3))
	if err != nil {
		t.Fatal(err)
	}
	next := newFixture(t)
	next.set(nil, own)
	for range 2 { // being told again changes nothing
		if err := next.Resume(t.Context(), started(engine.RoleMain, 3), env); err != nil {
			t.Fatal(err)
		}
	}
	if w := ask(next, env[2].Value, nil); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := next.Resume(t.Context(), started(engine.RoleInit, 0), env); problem.KindOf(err) != problem.Conflict {
		t.Errorf("the same secret for another container: %v", err)
	}
	if err := next.Resume(t.Context(), started(engine.RoleInit, 0), nil); problem.KindOf(err) != problem.Invalid {
		t.Errorf("without a secret: %v", err)
	}
}

func TestEventsTellRefusalsByRoleFromOthers(t *testing.T) {
	f := newFixture(t)
	f.set([]identityrules.Setting{{Identity: oneID, Lifecycle: identityrules.Init}}, own, one)
	main := f.header(started(engine.RoleMain, 0))
	ask(f, main, url.Values{"client_id": {"one-client"}})
	ask(f, main, url.Values{"client_id": {"nobody"}})
	ask(f, "wrong", nil)
	if e := f.events[0]; e.Denied == "" || e.Identity != one || e.Start.Container != "main" || e.Status != 400 {
		t.Errorf("refused by role: %+v", e)
	}
	if e := f.events[1]; e.Denied != "" || e.Granted || e.Start.Container != "main" {
		t.Errorf("not assigned: %+v", e)
	}
	if e := f.events[2]; e.Denied != "" || e.Status != 403 || e.Start != (engine.Start{}) {
		t.Errorf("a wrong secret: %+v", e)
	}
	for _, e := range f.events {
		if strings.Contains(fmt.Sprintf("%+v", e), main) {
			t.Error("an event has the secret")
		}
	}
}

func TestEnvironmentsThatLetInitContainersHaveNone(t *testing.T) {
	f := newFixture(t)
	f.workload = containerroles.Workload{Identities: []identity.Assigned{own}, Rules: identityrules.New(nil, true)}
	if w := ask(f, f.header(started(engine.RoleInit, 0)), nil); !isRefusal(w) {
		t.Errorf("init: %d %s", w.Code, w.Body)
	}
	if w := ask(f, f.header(started(engine.RoleMain, 0)), nil); w.Code != 200 {
		t.Errorf("main: %d %s", w.Code, w.Body)
	}
}

// A container may outlive its app for a while; another app of the same name is
// another one, also after the node started anew.
func TestAContainerOfAnEarlierLifeOfItsAppGetsNothing(t *testing.T) {
	f := newFixture(t)
	f.set(nil, own)
	f.generation = "first"
	s := started(engine.RoleMain, 0)
	s.Generation = "first"
	env, err := f.Environment(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	secret := f.header(s)
	if w := ask(f, secret, nil); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.generation = "second"
	if w := ask(f, secret, nil); !isRefusal(w) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	next := newFixture(t)
	next.set(nil, own)
	next.generation = "second"
	s.Generation = "" // the engine has forgotten
	if err := next.Resume(t.Context(), s, env); err != nil {
		t.Fatal(err)
	}
	for _, e := range env {
		if w := ask(next, e.Value, nil); e.Name == "IDENTITY_HEADER" && !isRefusal(w) {
			t.Errorf("after a start of the node: %d %s", w.Code, w.Body)
		}
	}
}

func TestASecretThatSomebodyChoseIsNotTakenOver(t *testing.T) {
	f := newFixture(t)
	f.set(nil, own)
	for _, chosen := range []string{"x", "secret", "00000000-0000-0000-0000-000000000000", "{6ba7b810-9dad-41d1-80b4-00c04fd430c8}", "6BA7B810-9DAD-41D1-80B4-00C04FD430C8"} {
		if err := f.Resume(t.Context(), started(engine.RoleMain, 0), []engine.Env{{Name: "IDENTITY_HEADER", Value: chosen}}); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%q: %v", chosen, err)
		}
		if w := ask(f, chosen, nil); w.Code == 200 {
			t.Errorf("%q lets in", chosen)
		}
	}
}
