package instance

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/worker"
)

// Model is what a load of the app folder gives: the app, its routes, and the
// settings it was read with. It does not change after Load.
type Model struct {
	App       *funcapp.App
	Functions []funcapp.Function // App.Functions with route conflicts added to their faults
	Routes    *route.Table
	Settings  map[string]string // environment merged with local settings
	// Unindexed says that the worker is yet to tell the functions: that one is not
	// among them does not say that the app has none of that name.
	Unindexed bool
	// Found says that the worker told the functions, not the app's files.
	Found bool
	// FoundAt is when it told them, if that was in an earlier run of the app; else
	// the zero time.
	FoundAt time.Time
}

// Names gives the names of all functions, those with faults too.
func (m *Model) Names() []string {
	names := make([]string, len(m.Functions))
	for i := range m.Functions {
		names[i] = m.Functions[i].Name
	}
	return names
}

// Function finds a function by name, ignoring case; nil when there is none.
func (m *Model) Function(name string) *funcapp.Function {
	for i := range m.Functions {
		if strings.EqualFold(m.Functions[i].Name, name) {
			return &m.Functions[i]
		}
	}
	return nil
}

// Live is a worker that takes work, with the model it was started for.
type Live struct {
	*Model
	Worker worker.Worker
	HTTP   worker.HTTPServer // nil when the worker takes no requests as they are

	outputs *outputs // nil when there are none
	work    gate
}

// gate counts work in progress and can be closed. Its zero value is open.
type gate struct {
	n    atomic.Int64
	once sync.Once
	done chan struct{}
}

const gateClosed = -1 << 40

func newLive(m *Model, w worker.Worker) *Live {
	l := &Live{Model: m, Worker: w, work: gate{done: make(chan struct{})}}
	l.HTTP, _ = w.(worker.HTTPServer)
	return l
}

// enter counts one piece of work in; false when no more is taken.
func (l *Live) enter() bool {
	if l.work.n.Add(1) > 0 {
		return true
	}
	l.Leave()
	return false
}

// Leave counts one piece of work out.
func (l *Live) Leave() {
	if l.work.n.Add(-1) == gateClosed {
		l.work.once.Do(func() { close(l.work.done) })
	}
}

// close takes no more work; drained is closed when the last piece has left.
func (l *Live) close() {
	if l.work.n.Add(gateClosed) == gateClosed {
		l.work.once.Do(func() { close(l.work.done) })
	}
}

// Outstanding gives the number of invocations in progress.
func (l *Live) Outstanding() int {
	n := l.work.n.Load()
	if n < 0 {
		n -= gateClosed
	}
	return int(n)
}

func (l *Live) drained() <-chan struct{} { return l.work.done }
