// Package rpc owns language workers: processes in Node, Python, Java or another
// language that dial in over gRPC, say which functions an app has, load them and
// run them. It starts as many of one kind as an app wants, tells their streams
// from strangers', hands out invocations, and replaces single processes that
// crash or hang while others serve on.
//
// It deliberately does not know routes, keys, retries, concurrency limits or
// where invocations come from; when no process is left it ends, and whoever made
// it decides what comes next.
package rpc

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
)

// Config says what to run and how. App, Runtime and HostVersion are required.
type Config struct {
	App         *funcapp.App
	Runtime     *config.Worker    // the language worker
	Settings    map[string]string // of the app: what its functions refer to, and what disables them
	Env         map[string]string // the complete environment of the processes; what workers expect is added
	Credential  *child.Credential // the user they run as; nil is our own
	HostVersion string            // told to workers
	// Placeholder starts one process without an app; it gets one by Specialize. App
	// then says only where the process runs.
	Placeholder bool
	Logs        worker.LogSink
	Clock       clock.Clock // default the system clock
}

// Worker runs the functions of an app in the processes of one language worker.
// See [worker.Worker] for the promises.
type Worker struct {
	cfg  Config
	door *door // nil when the processes need none

	functions []funcapp.Function // as the worker described them; nil when it did not
	indexed   bool
	loads     []load            // what each process is told to load
	ids       map[string]string // function ids by lower-cased name

	life   context.Context // ends with Stop, or when no process is left
	end    context.CancelFunc
	tended sync.WaitGroup // the goroutines that look after processes
	exited chan struct{}
	pace   pacer // of restarts

	mu      sync.Mutex
	started bool
	stopped bool
	pids    map[*channel]int // processes, also those that start or end
	live    []*channel       // those that take work
	places  int              // processes that live or are being replaced on purpose
	changed chan struct{}    // closed and replaced when live changes
	turn    int              // whose turn it is among equals
	choose  func(live []*channel, turn int) *channel
	exit    worker.Exit // written before exited is closed
	over    bool        // exited is closed
}

var (
	_ worker.Worker     = (*Worker)(nil)
	_ worker.HTTPServer = (*Worker)(nil)
	_ worker.Indexer    = (*Worker)(nil)
	_ worker.Patient    = (*Worker)(nil)
	_ worker.Drainer    = (*Worker)(nil)
	_ worker.Group      = (*Worker)(nil)
	_ worker.Scripted   = (*Worker)(nil)
)

// Bounds of a message in bytes: what workers expect, and what those of other users
// may send. Their messages are read into memory that all apps share.
const (
	maxMessage       = math.MaxInt32
	maxOthersMessage = 256 << 20
)

// maxReceived bounds a message of the worker.
func maxReceived(as *child.Credential) int {
	if as != nil {
		return maxOthersMessage
	}
	return maxMessage
}

// New makes a worker that is not started yet.
func New(cfg Config) *Worker {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Logs == nil {
		cfg.Logs = func(worker.LogLine) {}
	}
	w := &Worker{cfg: cfg, exited: make(chan struct{}), changed: make(chan struct{}), pids: map[*channel]int{}, choose: leastBusy}
	w.life, w.end = context.WithCancel(context.Background())
	w.pace = pacer{clock: cfg.Clock, interval: cfg.Runtime.Process.RestartInterval}
	return w
}

// Start starts the first process and waits until it has loaded the functions;
// further ones follow in the background. Errors are problem.Unavailable and carry
// the process's last lines; after one no process is left and Exited is closed.
func (w *Worker) Start(ctx context.Context) error {
	if err := w.begin(); err != nil {
		return err
	}
	first, err := w.open(ctx)
	if err != nil {
		w.finish(worker.Exit{Code: -1})
		return err
	}
	w.reserve()
	w.serveWith(first)
	if !w.keep(func() { w.tend(first) }) {
		w.remove(first)
		return errStopping
	}
	if !w.cfg.Placeholder {
		w.growToCount()
	}
	return nil
}

// keep runs f in a goroutine that Stop waits for; not when the worker is being
// stopped already.
func (w *Worker) keep(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || w.over {
		return false
	}
	w.tended.Go(f)
	return true
}

// begin opens the door for workers, if they are of the kind that dials in.
func (w *Worker) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started || w.stopped {
		return problem.New(problem.Unavailable, "a language worker is started only once")
	}
	w.started = true
	if w.cfg.Runtime.Frames {
		return nil
	}
	var err error
	w.door, err = openDoor(w.cfg.Credential, func(text string) { w.say("warn", text) })
	if err != nil {
		w.over = true
		close(w.exited)
	}
	return err
}

// open starts the first process and learns from it which functions there are.
func (w *Worker) open(ctx context.Context) (*channel, error) {
	c, err := w.launch(ctx)
	if err != nil {
		return nil, err
	}
	if w.cfg.Placeholder {
		c.warmUp(ctx)
		return c, nil
	}
	if err = w.adopt(ctx, c); err == nil {
		return c, nil
	}
	err = c.explain(err)
	w.remove(c)
	return nil, err
}

// index finds out which functions there are: from the worker if it knows, else
// from the app's files.
func (w *Worker) index(ctx context.Context, c *channel) error {
	var found []described
	if w.cfg.Runtime.Indexes {
		var err error
		if found, w.indexed, err = c.metadata(ctx); err != nil {
			return err
		}
	}
	list := w.cfg.App.Functions
	if w.indexed {
		list = w.cfg.App.Describe(w.cfg.Settings, descriptions(found))
		w.functions = list
	}
	w.loads = loadsOf(list, found, w.cfg.Runtime.Language)
	w.ids = make(map[string]string, len(w.loads))
	for _, l := range w.loads {
		w.ids[strings.ToLower(l.name)] = l.id
	}
	return nil
}

// Indexed gives the functions the worker described.
func (w *Worker) Indexed() ([]funcapp.Function, bool) { return w.functions, w.indexed }

// Extensions gives those of the language's scripts.
func (w *Worker) Extensions() []string { return w.cfg.Runtime.Extensions }

// StartTimeout says how long a start may take: that of the process, of its answer
// to the first request, and of loading the app.
func (w *Worker) StartTimeout() time.Duration {
	p := w.cfg.Runtime.Process
	return p.StartupTimeout + p.InitTimeout + 2*w.loadTimeout()
}

func (w *Worker) loadTimeout() time.Duration { return max(time.Minute, w.cfg.App.Host.FunctionTimeout) }

// DrainTimeout gives the worker's processShutdownTimeout.
func (w *Worker) DrainTimeout() time.Duration { return w.cfg.Runtime.Process.ShutdownTimeout }

// Exited is closed when no process is left and none will be started.
func (w *Worker) Exited() <-chan struct{} { return w.exited }

// Exit says how the last process ended.
func (w *Worker) Exit() worker.Exit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exit
}

// PID gives the id of one of the processes, 0 when there is none.
func (w *Worker) PID() int {
	if ids := w.PIDs(); len(ids) > 0 {
		return ids[0]
	}
	return 0
}

// PIDs gives the ids of the processes that run, lowest first.
func (w *Worker) PIDs() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]int, 0, len(w.pids))
	for _, pid := range w.pids {
		ids = append(ids, pid)
	}
	slices.Sort(ids)
	return ids
}

// say logs a line of our own.
func (w *Worker) say(level, text string) {
	w.cfg.Logs(worker.LogLine{Level: level, Message: text, Source: "worker", Category: "host"})
}
