package custom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/custom"
)

func TestTheProcessGetsWhatHostJSONSays(t *testing.T) {
	f := newFixture(t, "serve")
	t.Setenv("ONLY_OURS", "secret")
	h := f.handler()
	h.Arguments, h.WorkerPath, h.WorkerArguments = []string{"-a", "b c"}, "main.x", []string{"-z"}
	h.WorkingDirectory = t.TempDir()
	w := f.start(t)
	res, err := w.Invoke(t.Context(), call(returning("process")))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Args, Env []string
		Dir       string
		Pgid, Pid int
	}
	if err := json.Unmarshal(res.HTTP.Body, &got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"-a", "b c", "main.x", "-z"}; !slices.Equal(got.Args, want) {
		t.Errorf("arguments %q, want %q", got.Args, want)
	}
	if got.Dir != h.WorkingDirectory {
		t.Errorf("working directory %q, want %q", got.Dir, h.WorkingDirectory)
	}
	if got.Pgid != got.Pid || got.Pid != w.PID() {
		t.Errorf("group %d, pid %d, PID() %d: want all equal", got.Pgid, got.Pid, w.PID())
	}
	checkEnvironment(t, got.Env, f.cfg.App.Root)
}

func checkEnvironment(t *testing.T, env []string, root string) {
	t.Helper()
	m := map[string]string{}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	if m["GREETING"] != "moin" || m["FUNCTIONS_APP_ROOT_PATH"] != root {
		t.Errorf("environment %v lacks what was given", env)
	}
	if p := m["FUNCTIONS_CUSTOMHANDLER_PORT"]; p == "" || p != m["FUNCTIONS_HTTPWORKER_PORT"] {
		t.Errorf("ports %q and %q differ", p, m["FUNCTIONS_HTTPWORKER_PORT"])
	}
	if id := m["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"]; id == "" || id != m["FUNCTIONS_HTTPWORKER_ID"] {
		t.Errorf("worker ids %q and %q differ", id, m["FUNCTIONS_HTTPWORKER_ID"])
	}
	if _, leaked := m["ONLY_OURS"]; leaked {
		t.Error("our own environment reached the handler")
	}
}

func TestStopLetsAHandlerEndByItself(t *testing.T) {
	w := newFixture(t, "serve").start(t)
	stop(t, w, patience)
	stop(t, w, patience) // idempotent
	<-w.Exited()
	if e := w.Exit(); e.Signal != "terminated" || e.Code != -1 || !e.Failed() {
		t.Errorf("exit %+v, want the end by SIGTERM", e)
	}
}

func TestStopKillsAHandlerThatWillNotEnd(t *testing.T) {
	w := newFixture(t, "stubborn").start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no grace at all
	if err := w.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if e := w.Exit(); e.Signal != "killed" {
		t.Errorf("exit %+v, want killed", e)
	}
}

func TestStopEndsTheWholeProcessGroup(t *testing.T) {
	f, child := newFixture(t, "parent"), newLifeline(t)
	f.cfg.Env[dialVariable] = child.addr()
	w := f.make(t)
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, second := &lifeline{l: child.l}, &lifeline{l: child.l} // the handler and its child, in any order
	first.awaitBirth(t)
	second.awaitBirth(t)
	stop(t, w, patience)
	first.awaitDeath(t)
	second.awaitDeath(t)
}

func TestTheGroupEndsWithItsLeader(t *testing.T) {
	f, child := newFixture(t, "parent-exit"), newLifeline(t)
	f.cfg.Env[dialVariable] = child.addr()
	w := f.make(t)
	result := make(chan error, 1)
	go func() { result <- w.Start(t.Context()) }()
	child.awaitBirth(t)
	f.logs.await(t, "waiting to leave my child")
	_ = syscall.Kill(w.PID(), syscall.SIGUSR1)
	wantKind(t, receive(t, result), problem.Unavailable, "exit code 5")
	<-w.Exited() // not held up by the child, which has the output pipes open
	child.awaitDeath(t)
}

// middle starts a worker and waits to be killed.
func middle() {
	exe, _ := os.Executable()
	w := custom.New(custom.Config{
		App: &funcapp.App{Root: os.TempDir(), Host: funcapp.HostConfig{CustomHandler: &funcapp.CustomHandler{Executable: exe}}},
		Env: map[string]string{modeVariable: "serve", dialVariable: os.Getenv(dialVariable)},
	})
	if err := w.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("started")
	forever()
}

func TestTheHandlerDiesWithAKilledParent(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := newLifeline(t)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), modeVariable+"=middle", dialVariable+"="+line.addr())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line.awaitBirth(t)
	if _, err := io.ReadFull(out, make([]byte, len("started"))); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	line.awaitDeath(t)
}

func TestAFloodOfOutputIsCutIntoLines(t *testing.T) {
	f := newFixture(t, "flood")
	f.start(t)
	f.logs.await(t, "the end")
	f.logs.mu.Lock()
	defer f.logs.mu.Unlock()
	total := 0
	for _, l := range f.logs.lines {
		if len(l.Message) > 64<<10 {
			t.Fatalf("a line of %d bytes", len(l.Message))
		}
		total += strings.Count(l.Message, "y")
	}
	if want := 50 * 200 << 10; total != want {
		t.Errorf("%d bytes of the flood arrived, want %d", total, want)
	}
}

func TestOutputBelongsToTheOnlyInvocation(t *testing.T) {
	f := newFixture(t, "serve")
	w := f.start(t)
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { _, err := w.Invoke(ctx, call(httpFunction("say"))); result <- err }()
	l := f.logs.await(t, "warning: said something")
	want := worker.LogLine{Level: "warn", Message: "warning: said something", Function: "say",
		InvocationID: "11111111-2222-4333-8444-555555555555", Source: "console"}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Error(diff)
	}
	f.logs.await(t, "listening for a signal") // a signal before that would be lost
	_ = syscall.Kill(w.PID(), syscall.SIGUSR1)
	if err := receive(t, result); err != nil {
		t.Error(err)
	}
}

func TestExitKeepsTheLastErrors(t *testing.T) {
	f := newFixture(t, "serve")
	w := f.start(t)
	_, err := w.Invoke(t.Context(), call(httpFunction("crash")))
	wantKind(t, err, problem.Unavailable, "exit code 3")
	<-w.Exited()
	e := w.Exit()
	if e.Code != 3 || !e.Failed() || len(e.LastLogs) == 0 || !bytes.Contains([]byte(e.LastLogs[len(e.LastLogs)-1]), []byte("out of luck")) {
		t.Errorf("exit %+v lacks code 3 and the last words", e)
	}
	_, err = w.Invoke(t.Context(), call(httpFunction("echo")))
	wantKind(t, err, problem.Unavailable)
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
