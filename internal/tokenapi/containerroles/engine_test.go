package containerroles_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/memory"
)

// seen is what a container was told and got.
type seen struct {
	role   engine.Role
	secret string
	codes  map[string]int // by selector
}

// A real engine starts the containers: the init container gets tokens of its
// identity only, its secret is dead when the main one starts, and that one gets
// tokens of its own identity only.
func TestContainersOfAnEngineGetTheirIdentities(t *testing.T) {
	f := newFixture(t)
	f.set([]identityrules.Setting{{Identity: "system", Lifecycle: identityrules.Main}, {Identity: oneID, Lifecycle: identityrules.Init}}, own, one)
	told := make(chan seen, 2)
	tell := func(p memory.Process) {
		s := seen{p.Start.Role, p.Env["IDENTITY_HEADER"], map[string]int{}}
		s.codes["own"] = ask(f, s.secret, nil).Code
		s.codes["one"] = ask(f, s.secret, selectors(one)["client_id"]).Code
		told <- s
	}
	images := map[string]memory.Program{
		"init": func(_ context.Context, p memory.Process) int { tell(p); return 0 },
		"main": func(ctx context.Context, p memory.Process) int { tell(p); return memory.Forever(ctx, p) },
	}
	e := memory.New(engine.Config{Installation: "test", Identity: f.Endpoint, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)}, memory.NewMachine(clock.Real{}, images))
	t.Cleanup(func() { _ = e.Close() })
	container := func(name string) []engine.Container {
		return []engine.Container{{Name: name, Image: name, CPU: 0.25, Memory: 64 << 20}}
	}
	if err := e.Place(t.Context(), engine.Spec{Ref: ref, Replicas: 1, Init: container("init"), Main: container("main")}); err != nil {
		t.Fatal(err)
	}
	next := func() seen {
		t.Helper()
		select {
		case s := <-told:
			return s
		case <-time.After(time.Minute):
			t.Fatal("no container started")
			return seen{}
		}
	}
	first, second := next(), next()
	if first.role != engine.RoleInit || first.codes["own"] != 400 || first.codes["one"] != 200 {
		t.Errorf("init: %+v", first)
	}
	if second.role != engine.RoleMain || second.codes["own"] != 200 || second.codes["one"] != 400 {
		t.Errorf("main: %+v", second)
	}
	if code := ask(f, first.secret, selectors(one)["client_id"]).Code; code != 403 || first.secret == second.secret {
		t.Errorf("the init container's secret after it ended: %d", code)
	}
	if err := e.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if code := ask(f, second.secret, nil).Code; code != 403 {
		t.Errorf("the main container's secret after it ended: %d", code)
	}
}
