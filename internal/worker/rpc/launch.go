package rpc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/frames"
)

var errStopping = problem.New(problem.Unavailable, "the language worker is being stopped")

// streamGrace is how long the stream of an ended process may take to end, with
// what the process said last; processGrace how long a process may run on when its
// stream has ended.
const (
	streamGrace  = time.Second
	processGrace = 500 * time.Millisecond
)

// launch starts a process and waits until it has answered the first request.
func (w *Worker) launch(ctx context.Context) (*channel, error) {
	c := newChannel(w)
	if w.door != nil {
		w.door.expect(c)
		defer w.door.forget(c)
	}
	if err := c.spawn(); err != nil {
		c.fail(err)
		return nil, err
	}
	err := c.awaitStream(ctx)
	if err == nil {
		err = c.init(ctx)
	}
	if err != nil {
		err = c.explain(err)
		w.remove(c)
		return nil, err
	}
	return c, nil
}

// spawn starts the process.
func (c *channel) spawn() error {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || w.over {
		return errStopping
	}
	path, err := w.executable()
	if err != nil {
		return err
	}
	cmd := child.Command{Path: path, Args: w.arguments(c.id), Dir: w.cfg.App.Root, Env: w.environment(), As: w.cfg.Credential}
	var conn *frames.Conn
	if w.cfg.Runtime.Frames {
		var theirs *os.File
		if conn, theirs, err = frames.Pair(); err != nil {
			return err
		}
		conn.Bound(maxReceived(w.cfg.Credential))
		cmd.Files = []*os.File{theirs}
	}
	if c.proc, err = child.Start(cmd, c.console); err != nil {
		if conn != nil {
			_, _ = conn.Close(), cmd.Files[0].Close()
		}
		return problem.Wrap(problem.Unavailable, fmt.Sprintf("the %s worker cannot be started: %s", w.cfg.Runtime.Language, path), err)
	}
	w.pids[c] = c.proc.PID()
	w.tended.Go(c.reap)
	if conn != nil {
		c.attach(conn, cmd.Files[0])
	}
	return nil
}

// executable finds the program: as it is named if that is a path, else on the
// search path of the process.
func (w *Worker) executable() (string, error) {
	name := w.cfg.Runtime.Executable
	if strings.ContainsRune(name, filepath.Separator) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(w.cfg.Runtime.Directory, name)
		}
		return name, nil
	}
	path, ok := w.cfg.Env["PATH"]
	if !ok {
		path = os.Getenv("PATH")
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", problem.New(problem.Unavailable, fmt.Sprintf("the %s worker needs the program %s, which is not on PATH", w.cfg.Runtime.Language, strconv.Quote(name))).
		WithNext("install it, or set languageWorkers__" + w.cfg.Runtime.Language + "__defaultExecutablePath to its path")
}

// arguments gives the command line, with both sets of names that workers read.
func (w *Worker) arguments(id string) []string {
	r, request := w.cfg.Runtime, newID()
	limit := strconv.Itoa(maxMessage)
	args := append([]string(nil), r.Arguments...)
	if r.Path != "" {
		args = append(args, r.Path)
	}
	args = append(args, r.WorkerArguments...)
	if w.cfg.Runtime.Frames {
		return append(args, "--functions-worker-id", id, "--functions-request-id", request,
			"--functions-grpc-max-message-length", limit, "--latchkey-fd", strconv.Itoa(inherited))
	}
	port := strconv.Itoa(w.door.port)
	return append(args,
		"--host", loopback, "--port", port, "--workerId", id, "--requestId", request, "--grpcMaxMessageLength", limit,
		"--functions-uri", "http://"+w.door.address+"/", "--functions-worker-id", id,
		"--functions-request-id", request, "--functions-grpc-max-message-length", limit)
}

// environment gives the variables of a process in a stable order.
func (w *Worker) environment() []string {
	env := make(map[string]string, len(w.cfg.Env)+5)
	for name, value := range w.cfg.Env {
		env[name] = value
	}
	for name, value := range w.additions() {
		env[name] = value
	}
	for name, value := range manyThreads {
		if _, given := env[name]; !given && strings.EqualFold(w.cfg.Runtime.Language, value.language) {
			env[name] = value.count
		}
	}
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	sort.Strings(list)
	return list
}

// additions are the variables that every worker gets.
func (w *Worker) additions() map[string]string {
	m := map[string]string{
		"FUNCTIONS_WORKER_DIRECTORY":      w.cfg.Runtime.Directory,
		"FUNCTIONS_APPLICATION_DIRECTORY": w.cfg.App.Root,
		"AzureWebJobsScriptRoot":          w.cfg.App.Root,
	}
	if v := w.cfg.Runtime.RuntimeVersion; v != "" {
		m["FUNCTIONS_WORKER_RUNTIME_VERSION"] = v
	}
	return m
}

// manyThreads are the limits of concurrency of some languages, which are low
// where nobody sets them: limits are the host's business.
var manyThreads = map[string]struct{ language, count string }{
	"PYTHON_THREADPOOL_THREAD_COUNT":      {"python", "1000"},
	"PSWorkerInProcConcurrencyUpperBound": {"powershell", "1000"},
}

// awaitStream waits until the process has dialled in.
func (c *channel) awaitStream(ctx context.Context) error {
	limit := c.w.cfg.Runtime.Process.StartupTimeout
	ctx, cancel := withTimeout(ctx, c.w.cfg.Clock, limit)
	defer cancel()
	select {
	case <-c.arrived:
		return nil
	case <-c.gone:
		return c.err
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), errSlow) {
			return problem.New(problem.Unavailable, fmt.Sprintf("the worker did not connect to %s within %s", c.w.meetingPlace(), limit))
		}
		return ctx.Err()
	}
}

// meetingPlace says where processes are expected.
func (w *Worker) meetingPlace() string {
	if w.door == nil {
		return "the socket it inherited"
	}
	return w.door.address
}

// errSlow is the cause of the end of a context that ran out of time.
var errSlow = problem.New(problem.Timeout, "it took too long")

// withTimeout bounds a context by a clock's time.
func withTimeout(ctx context.Context, c clock.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := c.NewTimer(d)
	go func() {
		defer timer.Stop()
		select {
		case <-timer.C():
			cancel(errSlow)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// reap waits for the end of the process, then of its stream, and makes sure that
// a process whose stream has ended does not stay.
func (c *channel) reap() {
	defer close(c.reaped)
	select {
	case <-c.proc.Done():
	case <-c.gone:
		c.awaitProcess()
	}
	c.awaitStreamEnd()
	c.proc.FinishOutput(c.w.cfg.Clock)
	c.fail(problem.New(problem.Unavailable, "the worker process has ended: "+describe(c.proc.Exit())))
	w := c.w
	w.mu.Lock()
	delete(w.pids, c)
	w.mu.Unlock()
}

// awaitProcess gives a process without a stream a moment to end by itself, so
// that its own exit code is seen.
func (c *channel) awaitProcess() {
	if !c.replaced.Load() {
		t := c.w.cfg.Clock.NewTimer(processGrace)
		defer t.Stop()
		select {
		case <-c.proc.Done():
		case <-t.C():
		case <-c.w.life.Done():
		}
	}
	c.proc.Kill()
	<-c.proc.Done()
}

func (c *channel) awaitStreamEnd() {
	select {
	case <-c.arrived:
	default:
		return
	}
	t := c.w.cfg.Clock.NewTimer(streamGrace)
	defer t.Stop()
	select {
	case <-c.finished:
	case <-t.C():
	}
}

// remove ends a channel whose start failed, or that is not wanted any more, and
// waits for the end of its process.
func (w *Worker) remove(c *channel) {
	c.replaced.Store(true)
	c.fail(problem.New(problem.Unavailable, "the worker process is being ended"))
	if c.proc != nil {
		c.proc.Kill()
		<-c.proc.Done()
	}
}

// explain adds to an error of the start what the process said, and how it ended.
func (c *channel) explain(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = problem.Wrap(problem.Unavailable, "the start was given up", err)
	}
	c.settle()
	text := fmt.Sprintf("the %s worker in %s did not start", c.w.cfg.Runtime.Language, c.w.cfg.Runtime.Directory)
	if c.proc != nil && c.ended() {
		text += " and has ended: " + describe(c.proc.Exit())
	}
	if lines := c.said.Lines(); len(lines) > 0 {
		text += "; its last output: " + strings.Join(lines, " | ")
	}
	e := problem.Wrap(problem.Unavailable, text, err)
	if next := problem.NextOf(err); next != "" {
		return e.WithNext(next)
	}
	return e
}

func (c *channel) ended() bool {
	select {
	case <-c.proc.Done():
		return true
	default:
		return false
	}
}

// settle waits a moment for the output of a process that is ending.
func (c *channel) settle() {
	if c.proc == nil {
		return
	}
	select {
	case <-c.gone:
	default:
		return
	}
	t := c.w.cfg.Clock.NewTimer(streamGrace)
	defer t.Stop()
	select {
	case <-c.reaped:
	case <-t.C():
	}
}

func describe(e worker.Exit) string {
	if e.Signal != "" {
		return "killed by signal " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}
