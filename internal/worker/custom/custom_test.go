package custom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
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

func TestStartSaysWhyAHandlerDoesNotListen(t *testing.T) {
	for _, tc := range []struct {
		name, mode string
		want       []string
	}{
		{"it ends at once", "exit", []string{"exit code 7", "no database"}},
		{"it never listens", "never", []string{"FUNCTIONS_CUSTOMHANDLER_PORT", "127.0.0.1:", "thinking about listening"}},
		{"it does not speak HTTP", "garbage", []string{"did not answer HTTP"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, tc.mode)
			if tc.mode != "exit" {
				f.cfg.InitTimeout = 2 * time.Second
			}
			w := f.make(t)
			err := w.Start(t.Context())
			wantKind(t, err, problem.Unavailable, append(tc.want, filepath.Base(f.handler().Executable))...)
			<-w.Exited() // must not stay
		})
	}
}

func TestStartIsGivenUpWithItsContext(t *testing.T) {
	f := newFixture(t, "never")
	w := f.make(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { f.logs.await(t, "thinking"); cancel() }()
	err := w.Start(ctx)
	wantKind(t, err, problem.Unavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v does not wrap the context's", err)
	}
	<-w.Exited()
}

func TestStartWaitsForASlowHandler(t *testing.T) {
	f := newFixture(t, "slow")
	w := f.make(t)
	result := make(chan error, 1)
	go func() { result <- w.Start(t.Context()) }()
	f.logs.await(t, "waiting for permission")
	select {
	case err := <-result:
		t.Fatalf("Start returned %v before the handler listened", err)
	default:
	}
	if err := syscall.Kill(w.PID(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestTheInitialisationTimeIsTheClocks(t *testing.T) {
	f := newFixture(t, "never")
	c := clock.NewManual(time.Unix(0, 0))
	f.cfg.Clock, f.cfg.InitTimeout = c, 30*time.Second
	w := f.make(t)
	result := make(chan error, 1)
	go func() { result <- w.Start(t.Context()) }()
	f.logs.await(t, "thinking")
	if err := c.AwaitTimers(t.Context(), 2); err != nil { // the deadline and the next poll
		t.Fatal(err)
	}
	c.Advance(30 * time.Second)
	wantKind(t, <-result, problem.Unavailable, "within 30s")
}

func TestStartNamesTheExecutableThatCannotRun(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "plain.txt"), "hello", 0o644)
	write(t, filepath.Join(root, "broken"), "\x01\x02 no program", 0o755)
	write(t, filepath.Join(root, "orphan"), "#!/no/such/interpreter\n", 0o755)
	for _, tc := range []struct {
		name, exe string
		want      []string
	}{
		{"missing below the app", "bin/handler", []string{filepath.Join(root, "bin/handler")}},
		{"missing on the search path", "no-such-program", []string{filepath.Join(root, "no-such-program"), "/search/no-such-program"}},
		{"empty", "", []string{"is empty"}},
		{"not executable", "plain.txt", []string{"chmod +x"}},
		{"not a program", "broken", []string{"#!"}},
		{"without its interpreter", "orphan", []string{"interpreter"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, "serve")
			f.cfg.App.Root = root
			f.cfg.Env["PATH"] = "/search:relative"
			f.handler().Executable = tc.exe
			w := f.make(t)
			wantKind(t, w.Start(t.Context()), problem.Unavailable,
				append(tc.want, "host.json customHandler.description.defaultExecutablePath")...)
			<-w.Exited()
			if e := w.Exit(); e.Code != -1 || w.PID() != 0 {
				t.Errorf("exit %+v, pid %d for a process that never was", e, w.PID())
			}
		})
	}
}

func TestABareNameIsFoundInTheAppBeforeTheSearchPath(t *testing.T) {
	for _, inApp := range []bool{true, false} {
		f := newFixture(t, "serve")
		exe, dir := f.handler().Executable, t.TempDir()
		if inApp {
			dir = f.cfg.App.Root
		}
		if err := os.Symlink(exe, filepath.Join(dir, "my-handler")); err != nil {
			t.Fatal(err)
		}
		f.handler().Executable = "my-handler"
		f.cfg.Env["PATH"] = dir
		f.start(t)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestAWorkingDirectoryMustExist(t *testing.T) {
	f := newFixture(t, "serve")
	f.handler().WorkingDirectory = filepath.Join(f.cfg.App.Root, "nowhere")
	wantKind(t, f.make(t).Start(t.Context()), problem.Unavailable, "workingDirectory", "nowhere")
}

func TestAFixedPortIsUsedAndMustBeFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	f := newFixture(t, "serve")
	f.handler().Port = port
	wantKind(t, f.make(t).Start(t.Context()), problem.Unavailable, strconv.Itoa(port), "host.json customHandler.port")
	l.Close()
	f.start(t)
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAWorkerStartsOnlyOnce(t *testing.T) {
	f := newFixture(t, "serve")
	w := f.start(t)
	wantKind(t, w.Start(t.Context()), problem.Unavailable, "only once")
	stopped := f.make(t)
	stop(t, stopped, patience)
	wantKind(t, stopped.Start(t.Context()), problem.Unavailable, "only once")
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
	wantKind(t, w.Start(t.Context()), problem.Unavailable, "exit code 5")
	<-w.Exited() // not held up by the child, which has the output pipes open
	_ = child.l.(*net.TCPListener).SetDeadline(time.Now())
	if c, err := child.l.Accept(); err == nil { // it may have been killed before it connected
		child.c = c
		child.awaitDeath(t)
	}
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
	go func() { _, err := w.Invoke(t.Context(), call(httpFunction("say"))); result <- err }()
	l := f.logs.await(t, "warning: said something")
	want := worker.LogLine{Level: "warn", Message: "warning: said something", Function: "say",
		InvocationID: "11111111-2222-4333-8444-555555555555", Source: "console"}
	if l != want {
		t.Errorf("log %+v, want %+v", l, want)
	}
	f.logs.await(t, "said")
	_ = syscall.Kill(w.PID(), syscall.SIGUSR1)
	if err := <-result; err != nil {
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
