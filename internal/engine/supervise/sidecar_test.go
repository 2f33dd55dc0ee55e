package supervise_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	side   = "side"
	within = 60 * time.Second
)

// site is a runtime of containers that run until the test ends.
type site struct {
	mu      sync.Mutex
	started []supervise.Unit
	news    chan struct{}
}

func (s *site) Sidecar() *engine.Container {
	return &engine.Container{Name: side, Image: side, CPU: 1, Memory: 1}
}
func (s *site) Present(context.Context, string) (bool, error)                    { return true, nil }
func (s *site) Pull(context.Context, string, engine.Credential) error            { return nil }
func (s *site) Stop(context.Context, string, time.Duration) error                { return nil }
func (s *site) Addresses(context.Context, string) (map[int]string, error)        { return nil, nil }
func (s *site) Environment(context.Context, string) ([]engine.Env, error)        { return nil, nil }
func (s *site) Remove(context.Context, string) error                             { return nil }
func (s *site) List(context.Context) ([]supervise.Found, error)                  { return nil, nil }
func (s *site) Logs(context.Context, string, engine.LogOptions, io.Writer) error { return nil }
func (s *site) Exec(context.Context, string, engine.Exec) (int, error)           { return 0, nil }
func (s *site) Close() error                                                     { return nil }
func (s *site) String() string                                                   { return "a site of the tests" }

func (s *site) Start(_ context.Context, u supervise.Unit) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, u)
	s.news <- struct{}{}
	return u.Replica + "/" + u.Container, nil
}

func (s *site) Wait(ctx context.Context, _ string) (engine.Exit, error) {
	<-ctx.Done()
	return engine.Exit{}, ctx.Err()
}

// await waits until a container was started.
func (s *site) await(t *testing.T, name string) supervise.Unit {
	t.Helper()
	limit := time.After(within)
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.started, func(u supervise.Unit) bool { return u.Container == name })
		if i >= 0 {
			defer s.mu.Unlock()
			return s.started[i]
		}
		s.mu.Unlock()
		select {
		case <-s.news:
		case <-limit:
			t.Fatalf("container %s was not started", name)
		}
	}
}

// identity gives every start the same.
type identity struct{}

func (identity) Environment(context.Context, engine.Start) ([]engine.Env, error) {
	return []engine.Env{{Name: "IDENTITY_HEADER", Value: "ours", Secret: true}}, nil
}
func (identity) Resume(context.Context, engine.Start, []engine.Env) error { return nil }
func (identity) Ended(engine.Start)                                       {}
func (identity) InitEnded(engine.Ref, string)                             {}
func (identity) Gone(engine.Ref, string)                                  {}

func open(t *testing.T) (*supervise.Engine, *site) {
	t.Helper()
	s := &site{news: make(chan struct{}, 100)}
	e := supervise.New(engine.Config{Installation: "test", Identity: identity{}, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)}, s)
	t.Cleanup(func() { _ = e.Close() })
	return e, s
}

func spec(main string, env ...engine.Env) engine.Spec {
	return engine.Spec{Ref: engine.Ref{App: "a", Revision: "a--1"}, Replicas: 1, Main: []engine.Container{{Name: main, Image: "i", CPU: 1, Memory: 1, Env: env}}}
}

// What an app sets itself must not be what lets its containers in: an app could
// choose what others can guess, or know.
func TestAnAppDoesNotChooseItsIdentityHeader(t *testing.T) {
	e, s := open(t)
	if err := e.Place(t.Context(), spec("web", engine.Env{Name: "IDENTITY_HEADER", Value: "theirs"}, engine.Env{Name: "OTHER", Value: "theirs"})); err != nil {
		t.Fatal(err)
	}
	got := s.await(t, "web").Env
	want := []engine.Env{{Name: "OTHER", Value: "theirs"}, {Name: "IDENTITY_HEADER", Value: "ours", Secret: true}}
	if !slices.Equal(got, want) {
		t.Errorf("the container has %+v, not %+v", got, want)
	}
}

func TestTheSidecarIsNobodysToLookInto(t *testing.T) {
	e, s := open(t)
	if err := e.Place(t.Context(), spec("web")); err != nil {
		t.Fatal(err)
	}
	replica := s.await(t, "web").Replica
	for _, name := range []string{"", replica} {
		at := engine.Target{Revision: engine.Ref{App: "a", Revision: "a--1"}, Replica: name, Container: side}
		if _, err := e.Exec(t.Context(), at, engine.Exec{Command: []string{"sh"}}); problem.KindOf(err) != problem.NotFound {
			t.Errorf("a command in it: %v", err)
		}
		if err := e.Logs(t.Context(), at, engine.LogOptions{}, io.Discard); problem.KindOf(err) != problem.NotFound {
			t.Errorf("its lines: %v", err)
		}
	}
}

// A container of the sidecar's name would be removed, or be looked into, in its place.
func TestNoContainerHasTheNameOfTheSidecar(t *testing.T) {
	e, _ := open(t)
	asInit := spec("web")
	asInit.Init = []engine.Container{{Name: side, Image: "i", CPU: 1, Memory: 1}}
	for what, one := range map[string]engine.Spec{"main": spec(side), "init": asInit} {
		if err := e.Place(t.Context(), one); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}
