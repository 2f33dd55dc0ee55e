package memory_test

import (
	"context"
	"io/fs"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

func program(ctx context.Context, p memory.Process) int {
	return enginetest.Main(ctx, enginetest.World{Args: p.Args, Env: p.Env, Stdout: p.Stdout, Listen: p.Address,
		Read: func(path string) (string, error) {
			if text, ok := p.Files[path]; ok {
				return text, nil
			}
			return "", fs.ErrNotExist
		}})
}

func TestConformance(t *testing.T) {
	m := memory.NewMachine(clock.Real{}, map[string]memory.Program{"program": program})
	enginetest.Run(t, enginetest.Backend{
		Open:     func(_ *testing.T, cfg engine.Config) engine.Engine { return memory.New(cfg, m) },
		Image:    "program",
		Missing:  "none",
		Survives: true,
		Kill:     func(_ *testing.T, o engine.Object) { m.Kill(o.Replica, o.Container) },
	})
}

// registry counts who asks, and gives what it has.
type registry struct{ c engine.Credential }

func (r registry) Credential(context.Context, engine.Ref, string) (engine.Credential, error) {
	if r.c.Username == "" {
		return r.c, problem.New(problem.Denied, "the identity is not assigned")
	}
	return r.c, nil
}

func TestWhyAnImageCannotBePulled(t *testing.T) {
	for name, one := range map[string]struct {
		image string
		with  engine.Credential
		want  engine.Reason // empty: it runs
	}{
		"the identity gives no credential": {"r/app", engine.Credential{}, engine.ReasonImageAuth},
		"wrong password":                   {"r/app", engine.Credential{Username: "u", Password: "no"}, engine.ReasonImageAuth},
		"no such image":                    {"r/none", engine.Credential{Username: "u"}, engine.ReasonImageName},
		"no registry":                      {"away/app", engine.Credential{Username: "u"}, engine.ReasonImageNetwork},
		"right":                            {"r/app", engine.Credential{Username: "u", Password: "right"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory.NewMachine(clock.Real{}, nil)
			m.Publish("r/app", memory.Forever, func(c engine.Credential) error {
				if c.Password != "right" {
					return problem.New(problem.Denied, "wrong password")
				}
				return nil
			})
			m.Unreachable("away/app")
			e := memory.New(engine.Config{Installation: "x", Clock: clock.Real{}, Registry: registry{one.with}}, m)
			defer e.Close()
			ref := engine.Ref{App: "a", Revision: "r"}
			if err := e.Place(t.Context(), engine.Spec{Ref: ref, Replicas: 1, Main: []engine.Container{{Name: "m", Image: one.image, CPU: 1, Memory: 1}}}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := engine.Await(ctx, clock.Real{}, e, ref, func(s engine.Status) bool { return s.Reason == one.want && (s.Ready == 1) == (one.want == "") })
			if err != nil {
				t.Errorf("%v %+v", err, s)
			}
			if err := e.Remove(ctx, ref); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnEngineThatIsAwayIsSaidAndWaitedFor(t *testing.T) {
	m := memory.NewMachine(clock.Real{}, map[string]memory.Program{"forever": memory.Forever})
	m.Down(true)
	e := memory.New(engine.Config{Installation: "x", Clock: clock.Real{}}, m)
	defer e.Close()
	ref := engine.Ref{App: "a", Revision: "r"}
	if err := e.Place(t.Context(), engine.Spec{Ref: ref, Replicas: 1, Main: []engine.Container{{Name: "m", Image: "forever", CPU: 1, Memory: 1}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if s, err := engine.Await(ctx, clock.Real{}, e, ref, func(s engine.Status) bool { return s.Reason == engine.ReasonEngine }); err != nil {
		t.Fatal(err, s)
	}
	m.Down(false)
	if s, err := engine.Await(ctx, clock.Real{}, e, ref, func(s engine.Status) bool { return s.Ready == 1 && s.Reason == "" }); err != nil {
		t.Fatal(err, s)
	}
	if err := e.Remove(ctx, ref); err != nil {
		t.Error(err)
	}
}
