package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

const (
	generous = 30 * time.Second // of real time, before a test gives up
	patience = 7 * time.Second  // of the manual clock; a length nothing else uses
)

const plainHost = `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}}}`

// env is an instance on a folder of its own.
type env struct {
	t *testing.T
	*Instance
	ctx     context.Context // ends when the test has taken too long
	clock   testClock
	root    string
	journal *journal // starts and stops of workers, in order
	logs    *journal
	settles int // restarts by file changes so far, see settled

	restarted atomic.Int32
	models    atomic.Int32
	settings  map[string]string // before Run

	mu      sync.Mutex
	plan    func(*fakeWorker) error // what becomes of the next workers
	workers []*fakeWorker

	cancel context.CancelFunc
	done   chan struct{}
}

// newEnv makes an instance that does not run yet.
func newEnv(t *testing.T, change ...func(*Config)) *env {
	ctx, giveUp := context.WithTimeout(context.Background(), generous)
	t.Cleanup(giveUp)
	e := &env{t: t, ctx: ctx, clock: newTestClock(), root: t.TempDir(), journal: newJournal(), logs: newJournal()}
	e.write("host.json", plainHost)
	e.write("handler", "#!/bin/sh\n")
	e.write("Hello/function.json", `{"bindings": [{"type": "httpTrigger", "name": "req"}]}`)
	cfg := Config{
		Root: e.root, Clock: e.clock, Log: slog.New(slog.NewTextHandler(logWriter{e.logs}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Load: e.load, NewWorker: e.newWorker,
		OnRestart: func() { e.restarted.Add(1) }, OnModel: func(*Model) { e.models.Add(1) },
	}
	for _, c := range change {
		c(&cfg)
	}
	e.Instance = New(cfg)
	return e
}

func watching(cfg *Config) { cfg.Watch = true }

// running makes an instance that runs its first worker.
func running(t *testing.T, change ...func(*Config)) *env {
	e := newEnv(t, change...)
	e.run()
	e.serves(1)
	return e
}

func (e *env) run() {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel, e.done = cancel, make(chan struct{})
	go func() { defer close(e.done); e.Run(ctx) }()
	e.t.Cleanup(func() { e.finish(before) })
}

// finish ends the instance and looks for what it left behind.
func (e *env) finish(goroutines int) {
	e.cancel()
	e.ended()
	for _, w := range e.all() {
		start, stop := fmt.Sprint("start ", w.n), fmt.Sprint("stop ", w.n)
		if e.journal.count(start) > 0 && (!e.journal.await(e.ctx, stop, 1) || e.journal.count(stop) != 1) {
			e.t.Errorf("worker %d was not stopped once: %q", w.n, e.journal.list())
		}
	}
	e.Instance.mu.Lock()
	if n := len(e.retired); n != 0 {
		e.t.Errorf("%d workers are still counted", n)
	}
	e.Instance.mu.Unlock()
	for deadline := time.Now().Add(generous); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			var b bytes.Buffer
			buf := make([]byte, 1<<16)
			b.Write(buf[:runtime.Stack(buf, true)])
			e.t.Fatalf("goroutines left behind:\n%s", b.String())
		}
	}
}

// ended waits until Run has returned; the clock moves so that no drain holds it up.
func (e *env) ended() {
	e.t.Helper()
	deadline := time.After(generous)
	for {
		select {
		case <-e.done:
			return
		case <-deadline:
			e.t.Fatal("Run does not return")
		default:
			e.clock.Advance(time.Second)
			runtime.Gosched()
		}
	}
}

func (e *env) load() (*Model, error) {
	app, err := funcapp.Load(e.root, funcapp.Env(e.settings))
	if err != nil {
		return nil, err
	}
	return &Model{App: app, Functions: app.Functions}, nil
}

func (e *env) newWorker(*Model) (worker.Worker, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &fakeWorker{n: len(e.workers) + 1, journal: e.journal, exited: make(chan struct{})}
	if e.plan != nil {
		if err := e.plan(w); err != nil {
			return nil, err
		}
	}
	e.workers = append(e.workers, w)
	return w, nil
}

// next says what becomes of the workers made from now on.
func (e *env) next(plan func(*fakeWorker) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.plan = plan
}

func startFails(w *fakeWorker) error {
	w.startErr = problem.New(problem.Unavailable, "it does not start")
	return nil
}

func (e *env) all() []*fakeWorker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.workers)
}

func (e *env) worker(n int) *fakeWorker { return e.all()[n-1] }

// serves waits until worker n takes work.
func (e *env) serves(n int) {
	e.t.Helper()
	e.await(fmt.Sprintf("worker %d to serve", n), func() bool {
		l := e.live.Load()
		return l != nil && l.Worker.(interface{ number() int }).number() == n
	})
}

// await waits for a condition on what the instance publishes.
func (e *env) await(what string, cond func() bool) {
	e.t.Helper()
	for {
		e.Instance.mu.Lock()
		changed := e.changed
		e.Instance.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-e.ctx.Done():
			e.t.Fatalf("waited in vain for %s; state %+v, workers %q, log %q", what, e.Status(), e.journal.list(), e.logs.list())
		}
	}
}

func (e *env) state(want State) Status {
	e.t.Helper()
	st, err := e.AwaitState(e.ctx, want)
	if err != nil {
		e.t.Fatalf("waited in vain for state %s; state %+v, workers %q, log %q", want, st, e.journal.list(), e.logs.list())
	}
	return st
}

func (e *env) saw(entry string) {
	e.t.Helper()
	if !e.journal.await(e.ctx, entry, 1) {
		e.t.Fatalf("waited in vain for %q; have %q", entry, e.journal.list())
	}
}

// logged waits until the log has n lines with text.
func (e *env) logged(text string, n int) {
	e.t.Helper()
	if !e.logs.awaitIf(e.ctx, func(line string) bool { return strings.Contains(line, text) }, n) {
		e.t.Fatalf("waited in vain for %q in the log; have %q", text, e.logs.list())
	}
}

// timer waits until the nth timer of length d has been asked for.
func (e *env) timer(d time.Duration, n int) {
	e.t.Helper()
	if !e.clock.timers.await(e.ctx, d.String(), n) {
		e.t.Fatalf("waited in vain for timer %d of %s; have %q", n, d, e.clock.timers.list())
	}
}

// pass waits for the nth pause of length d and lets it pass.
func (e *env) pass(d time.Duration, n int) {
	e.t.Helper()
	e.timer(d, n)
	e.clock.Advance(d)
}

// settled waits until the watch has seen n events that count since the last
// call, and lets the files be quiet for long enough.
func (e *env) settled(n int) {
	e.t.Helper()
	e.settles += n
	e.pass(settleTime, e.settles)
}

// enter enters and fails the test when refused.
func (e *env) enter() *Live {
	e.t.Helper()
	l, err := e.Enter(e.ctx, patience)
	if err != nil {
		e.t.Fatalf("refused in state %+v: %v", e.Status(), err)
	}
	return l
}

// refused expects that Enter refuses, without any time passing.
func (e *env) refused() {
	e.t.Helper()
	if _, err := e.Enter(e.ctx, patience); !errors.Is(err, problem.Unavailable) || errors.Is(err, worker.ErrClientGone) {
		e.t.Fatalf("entered, or waited, in state %s: %v", e.Status().State, err)
	}
}

// write puts a file into the app with one event: it appears whole.
func (e *env) write(name, content string) {
	e.t.Helper()
	temp := filepath.Join(e.t.TempDir(), "new")
	path := filepath.Join(e.root, filepath.FromSlash(name))
	must(e.t, os.WriteFile(temp, []byte(content), 0o700))
	must(e.t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(e.t, os.Rename(temp, path))
}

func (e *env) mkdir(name string) {
	e.t.Helper()
	must(e.t, os.Mkdir(filepath.Join(e.root, filepath.FromSlash(name)), 0o700))
}

func (e *env) remove(name string) {
	e.t.Helper()
	must(e.t, os.Remove(filepath.Join(e.root, filepath.FromSlash(name))))
}

// restartedBecause expects the newest restart to have had a reason.
func (e *env) restartedBecause(reason string) {
	e.t.Helper()
	last := ""
	for _, line := range e.logs.list() {
		if strings.Contains(line, "msg=restarting") {
			last = line
		}
	}
	if !strings.Contains(last, reason) {
		e.t.Errorf("restarted because %q, want %q", last, reason)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type logWriter struct{ j *journal }

func (w logWriter) Write(p []byte) (int, error) {
	w.j.add("%s", bytes.TrimSpace(p))
	return len(p), nil
}

var (
	_ io.Writer   = logWriter{}
	_ clock.Clock = testClock{}
)
