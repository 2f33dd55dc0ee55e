package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
)

const patience = 60 * time.Second // before a test gives up

func TestMain(m *testing.M) {
	if os.Getenv(testworker.Variable) != "" {
		os.Exit(testworker.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

const (
	queueTrigger = `{"type":"queueTrigger","name":"item","direction":"in","queueName":"q"}`
	httpTrigger  = `{"type":"httpTrigger","name":"req","direction":"IN","authLevel":"anonymous"}`
	httpReturn   = `{"type":"http","name":"$return","direction":"out"}`
	queueReturn  = `{"type":"queue","name":"$return","direction":"out","queueName":"p"}`
)

// fixture is a worker of this test binary.
type fixture struct {
	script testworker.Script
	cfg    rpc.Config
	logs   logs
}

func newFixture(t testing.TB, functions ...string) *fixture {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{}
	for _, name := range functions {
		bindings := []string{queueTrigger}
		if name == "http" {
			bindings = []string{httpTrigger, httpReturn}
		}
		f.script.Functions = append(f.script.Functions, testworker.Function{Name: name, Bindings: bindings})
	}
	runtime := &config.Worker{Language: "test", Directory: t.TempDir(), Executable: exe, Indexes: true, Process: config.DefaultProcess()}
	runtime.Process.RestartInterval = 10 * time.Millisecond
	runtime.Process.StartupInterval = 0
	f.cfg = rpc.Config{
		App: &funcapp.App{Root: t.TempDir()}, Runtime: runtime, Settings: map[string]string{},
		Env: map[string]string{}, HostVersion: "4.1", Logs: f.logs.add,
	}
	return f
}

func (f *fixture) make(t testing.TB) *rpc.Worker {
	t.Helper()
	f.cfg.Env[testworker.Variable] = f.script.Text()
	w := rpc.New(f.cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Error(err)
		}
		if pids := w.PIDs(); len(pids) > 0 {
			t.Errorf("processes %v are left", pids)
		}
		<-w.Exited()
	})
	return w
}

func (f *fixture) start(t testing.TB) *rpc.Worker {
	t.Helper()
	w := f.make(t)
	if err := w.Start(limited(t)); err != nil {
		t.Fatalf("%v\nlogs: %q", err, f.logs.texts())
	}
	return w
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

var invocations struct {
	sync.Mutex
	n int
}

// invocation makes a data invocation of a function that the worker described.
func invocation(w *rpc.Worker, name string, input any) *worker.Invocation {
	invocations.Lock()
	defer invocations.Unlock()
	invocations.n++
	list, _ := w.Indexed()
	for i := range list {
		if list[i].Name == name {
			return &worker.Invocation{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", invocations.n), Function: &list[i], Input: input}
		}
	}
	return &worker.Invocation{Function: &funcapp.Function{Name: name}}
}

func invoke(t *testing.T, w *rpc.Worker, name string, input any) *worker.Result {
	t.Helper()
	res, err := w.Invoke(limited(t), invocation(w, name, input))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return res
}

// seen gives the request that the worker received, as protobuf writes it.
func seen(t *testing.T, w *rpc.Worker, inv *worker.Invocation) map[string]any {
	t.Helper()
	res, err := w.Invoke(limited(t), inv)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	var m map[string]any
	if err := json.Unmarshal(res.Return, &text); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func wantKind(t *testing.T, err error, kind problem.Kind, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want kind %v", err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

// logs keeps what a worker logged.
type logs struct {
	mu    sync.Mutex
	lines []worker.LogLine
	more  chan struct{}
}

func (l *logs) add(line worker.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

func (l *logs) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, line := range l.lines {
		texts = append(texts, line.Message)
	}
	return texts
}

func (l *logs) of(source string) []worker.LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []worker.LogLine
	for _, line := range l.lines {
		if line.Source == source {
			found = append(found, line)
		}
	}
	return found
}

// await waits for a line that contains text.
func (l *logs) await(t *testing.T, text string) worker.LogLine {
	t.Helper()
	end := time.After(patience)
	for n := 0; ; {
		l.mu.Lock()
		for ; n < len(l.lines); n++ {
			if strings.Contains(l.lines[n].Message, text) {
				defer l.mu.Unlock()
				return l.lines[n]
			}
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		select {
		case <-more:
		case <-end:
			t.Fatalf("waited in vain for %q; have %q", text, l.texts())
		}
	}
}

// until waits until cond holds.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// receive takes a value from a channel, or finds it closed; it does not wait for ever.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
