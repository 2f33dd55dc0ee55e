package custom_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/custom"
)

const patience = 20 * time.Second

// sink keeps log lines and lets a test wait for one.
type sink struct {
	mu    sync.Mutex
	more  *sync.Cond
	lines []worker.LogLine
}

func newSink() *sink { s := &sink{}; s.more = sync.NewCond(&s.mu); return s }

func (s *sink) take(l worker.LogLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, l)
	s.more.Broadcast()
}

// await gives the first line whose message contains part.
func (s *sink) await(t *testing.T, part string) worker.LogLine {
	t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		expired = true
		s.more.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for _, l := range s.lines {
			if strings.Contains(l.Message, part) {
				return l
			}
		}
		if expired {
			t.Fatalf("none of %d log lines contains %q", len(s.lines), part)
		}
		s.more.Wait()
	}
}

// fixture is an app whose handler is this test binary.
type fixture struct {
	cfg  custom.Config
	logs *sink
}

func newFixture(t *testing.T, mode string) *fixture {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	logs := newSink()
	return &fixture{logs: logs, cfg: custom.Config{
		App: &funcapp.App{Root: t.TempDir(), Host: funcapp.HostConfig{
			CustomHandler: &funcapp.CustomHandler{Executable: exe}}},
		Env:         map[string]string{modeVariable: mode, "GREETING": "moin"},
		HostVersion: "4.1037.0",
		Logs:        logs.take,
		InitTimeout: patience,
	}}
}

func (f *fixture) handler() *funcapp.CustomHandler { return f.cfg.App.Host.CustomHandler }

// start starts a worker that ends with the test.
func (f *fixture) start(t *testing.T) *custom.Worker {
	t.Helper()
	w := f.make(t)
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (f *fixture) make(t *testing.T) *custom.Worker {
	w := custom.New(f.cfg)
	t.Cleanup(func() { stop(t, w, patience) })
	return w
}

func stop(t *testing.T, w *custom.Worker, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// lifeline listens for the connection of a process and tells when that process
// has ended.
type lifeline struct {
	l net.Listener
	c net.Conn
}

func newLifeline(t *testing.T) *lifeline {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &lifeline{l: l}
}

func (l *lifeline) addr() string { return l.l.Addr().String() }

func (l *lifeline) awaitBirth(t *testing.T) {
	t.Helper()
	_ = l.l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.l.Accept()
	if err != nil {
		t.Fatal("the process never connected:", err)
	}
	t.Cleanup(func() { c.Close() })
	l.c = c
}

func (l *lifeline) awaitDeath(t *testing.T) {
	t.Helper()
	_ = l.c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, l.c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the process is still alive")
	}
}

func httpFunction(name string) *funcapp.Function {
	return &funcapp.Function{Name: name, Bindings: []funcapp.Binding{
		{Name: "req", Type: "httpTrigger", HTTP: &funcapp.HTTPTrigger{Route: name}},
		{Name: "res", Type: "http", Direction: funcapp.Out},
	}}
}

func returning(name string) *funcapp.Function {
	f := httpFunction(name)
	f.Bindings[1].Name = "$return"
	return f
}

func call(f *funcapp.Function) *worker.Invocation {
	return &worker.Invocation{ID: "11111111-2222-4333-8444-555555555555", Function: f,
		Request: httptest.NewRequest(http.MethodGet, "/api/x", nil)}
}

func wantKind(t *testing.T, err error, kind problem.Kind, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) || problem.KindOf(err) != kind {
		t.Fatalf("error %v has kind %v, want %v", err, problem.KindOf(err), kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error()+" "+problem.NextOf(err), part) {
			t.Errorf("error %q (next %q) does not say %q", err, problem.NextOf(err), part)
		}
	}
}
