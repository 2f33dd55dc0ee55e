// Package custom owns the custom handler: the one web server process that
// host.json customHandler (or the older httpWorker) names. It starts the
// process, feeds it invocations over loopback HTTP, reads its console and takes
// care that nothing of it stays behind.
//
// It deliberately does not know routes, keys, retries, concurrency limits or
// when to restart: it runs one process once.
package custom

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/hop"
)

// Defaults of [Config].
const (
	DefaultInitTimeout    = 30 * time.Second
	DefaultMaxAnswerBytes = 100 << 20
)

// Config says what to run and how. App with a custom handler is required.
type Config struct {
	App *funcapp.App
	// Env is the complete environment of the process; the handler's port, ids and
	// app root are added. Nothing of our own environment is inherited.
	Env         map[string]string
	Credential  *child.Credential // the user it runs as; nil is our own
	HostVersion string            // sent to the handler with every invocation
	ID          string            // worker id; random when ""
	Logs        worker.LogSink
	Clock       clock.Clock   // default the system clock
	InitTimeout time.Duration // from start to the first HTTP answer; default 30 s
	// MaxAnswerBytes bounds the JSON answer to an invocation; default 100 MiB.
	MaxAnswerBytes int64
}

// Worker runs a custom handler. See [worker.Worker] for the promises.
type Worker struct {
	cfg     Config
	handler funcapp.CustomHandler
	client  *http.Client
	calls   calls
	errors  child.Tail // last lines of standard error
	said    child.Tail // last lines of both outputs
	exited  chan struct{}

	mu      sync.Mutex // guards the fields below until Start returned
	started bool
	stopped bool
	proc    *child.Process
	port    int
	addr    string // host:port the handler listens on
	relay   *hop.Client
	exit    worker.Exit // written before exited is closed
}

var (
	_ worker.Worker     = (*Worker)(nil)
	_ worker.HTTPServer = (*Worker)(nil)
)

// New makes a worker that is not started yet. A missing customHandler shows as
// an error of Start.
func New(cfg Config) *Worker {
	cfg = withDefaults(cfg)
	w := &Worker{cfg: cfg, client: newClient(), exited: make(chan struct{})}
	if cfg.App != nil && cfg.App.Host.CustomHandler != nil {
		w.handler = *cfg.App.Host.CustomHandler
	}
	return w
}

func withDefaults(cfg Config) Config {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.InitTimeout <= 0 {
		cfg.InitTimeout = DefaultInitTimeout
	}
	if cfg.MaxAnswerBytes <= 0 {
		cfg.MaxAnswerBytes = DefaultMaxAnswerBytes
	}
	if cfg.Logs == nil {
		cfg.Logs = func(worker.LogLine) {}
	}
	if cfg.ID == "" {
		cfg.ID = newGUID()
	}
	return cfg
}

// Start starts the process and waits until it answers HTTP. Errors are
// problem.Unavailable; after one the process is gone and Exited is closed.
func (w *Worker) Start(ctx context.Context) error {
	if err := w.launch(); err != nil {
		return err
	}
	if err := w.awaitReady(ctx); err != nil {
		w.proc.Kill()
		<-w.exited
		return err
	}
	return nil
}

// launch makes the process run and gives it an owner.
func (w *Worker) launch() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started || w.stopped {
		return problem.New(problem.Unavailable, "a custom handler is started only once")
	}
	w.started = true
	proc, err := w.spawn()
	if err != nil {
		w.exit = worker.Exit{Code: -1}
		close(w.exited)
		return err
	}
	w.proc = proc
	w.relay = hop.New(w.addr)
	go w.reap(proc)
	return nil
}

func (w *Worker) spawn() (*child.Process, error) {
	if w.cfg.App == nil || w.cfg.App.Host.CustomHandler == nil {
		return nil, problem.New(problem.Unavailable, "host.json has no customHandler section").
			WithNext("add customHandler.description.defaultExecutablePath to host.json")
	}
	command, err := resolve(w.cfg.App.Root, &w.handler, w.cfg.Env)
	if err != nil {
		return nil, err
	}
	port, err := choosePort(w.handler.Port)
	if err != nil {
		return nil, err
	}
	w.port, w.addr = port, loopback+":"+strconv.Itoa(port)
	command.Env, command.As = environ(w.cfg.Env, w.additions(port)), w.cfg.Credential
	p, err := child.Start(command, w.console)
	if err != nil {
		return nil, startError(command, err)
	}
	return p, nil
}

// additions are the variables a handler gets from its host.
func (w *Worker) additions(port int) map[string]string {
	p := strconv.Itoa(port)
	return map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT":      p,
		"FUNCTIONS_HTTPWORKER_PORT":         p,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID": w.cfg.ID,
		"FUNCTIONS_HTTPWORKER_ID":           w.cfg.ID,
		"FUNCTIONS_APP_ROOT_PATH":           w.cfg.App.Root,
	}
}

// reap waits for the end of the process and of its output, then publishes it.
func (w *Worker) reap(p *child.Process) {
	<-p.Done()
	p.FinishOutput(w.cfg.Clock)
	w.client.CloseIdleConnections()
	w.relay.Close()
	w.mu.Lock()
	w.exit = p.Exit()
	w.exit.LastLogs = w.errors.Lines()
	w.mu.Unlock()
	close(w.exited)
}

// Stop asks the process group to end (SIGTERM), waits until ctx ends, then kills
// it. Idempotent; a worker stopped before its start never starts.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	w.stopped = true
	p := w.proc
	w.mu.Unlock()
	if p == nil {
		return nil
	}
	p.Terminate()
	select {
	case <-w.exited:
	case <-ctx.Done():
		p.Kill()
		<-w.exited
	}
	return nil
}

// Exited is closed when the process and its output have ended, or when Start
// could not start it at all.
func (w *Worker) Exited() <-chan struct{} { return w.exited }

// Exit says how the process ended; the zero value before Exited is closed. A
// process that never ran has code -1 and no signal.
func (w *Worker) Exit() worker.Exit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exit
}

// PID gives the process id, 0 when there was no process.
func (w *Worker) PID() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proc == nil {
		return 0
	}
	return w.proc.PID()
}

// pathVariable gives the search path of a child with environment env.
func pathVariable(env map[string]string) string {
	if p, ok := env["PATH"]; ok {
		return p
	}
	return os.Getenv("PATH")
}
