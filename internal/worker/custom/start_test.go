package custom_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

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
	if err := receive(t, result); err != nil {
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
	wantKind(t, receive(t, result), problem.Unavailable, "within 30s")
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
		{"missing on the search path", "no-such-program", []string{filepath.Join(root, "no-such-program"), "folders of PATH, 1 in all"}},
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
