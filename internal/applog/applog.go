// Package applog owns the last lines of the logs of apps, in memory, and telling those
// who follow them of new ones. It takes them from a node's logger, by the app they are
// about. Lines that were overwritten before somebody read them are counted, never
// waited for: an app that writes a lot costs no more memory than one that writes little,
// whoever listens. It does not know who may read, or how lines get to a reader.
package applog

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// Bounds of what is kept.
const (
	maxBytes = 48 << 10 // of an app
	minBytes = 8 << 10  // of an app, when there are many
	budget   = 32 << 20 // of all apps, as long as that leaves each the least
	maxLines = 400      // of an app
	maxText  = 8 << 10  // of a line
	overhead = 160      // bytes that a line takes besides its texts
)

// Host is the source of lines that the app's host wrote, not the app itself. Others are
// those of workers: "function", "console", "worker", "metric".
const Host = "host"

// Line is one entry of an app's log. Its texts have no control characters but line ends
// and tabs, and no secrets that can be told by their form.
type Line struct {
	Seq        uint64 // grows with every line of an app on this node, also over restarts of the node
	Time       time.Time
	Level      slog.Level
	Source     string
	Function   string // "" when it is about no function, or nobody knows which
	Invocation string
	Message    string // may have several lines
}

// LevelName names a level as the functions host does in its log files.
func LevelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "Error"
	case l >= slog.LevelWarn:
		return "Warning"
	case l >= slog.LevelInfo:
		return "Information"
	}
	return "Debug"
}

func (l *Line) size() int {
	return overhead + len(l.Source) + len(l.Function) + len(l.Invocation) + len(l.Message)
}

// Logs are the logs of all apps on this node. It is safe for concurrent use.
type Logs struct {
	clock  clock.Clock
	limit  atomic.Int64  // bytes of an app
	closed chan struct{} // nobody is made to wait any more
	once   sync.Once

	mu   sync.RWMutex
	apps map[string]*Log // by name in lower case
}

// New makes Logs of no apps.
func New(c clock.Clock) *Logs {
	l := &Logs{clock: c, apps: map[string]*Log{}, closed: make(chan struct{})}
	l.limit.Store(maxBytes)
	return l
}

// Close ends the waiting of all who follow a log, before the node ends. It can be called
// again.
func (l *Logs) Close() { l.once.Do(func() { close(l.closed) }) }

// Open gives the log of an app in one of its lives, an empty one if there is none yet.
// Lines of a life before are gone with that.
func (l *Logs) Open(name, uid string) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := strings.ToLower(name)
	if have := l.apps[key]; have != nil && have.uid == uid {
		return have
	}
	l.drop(key)
	// The count begins above all that an earlier process can have given.
	start := uint64(max(l.clock.Now().UnixMicro(), 0))
	made := &Log{uid: uid, logs: l, start: start, last: start}
	l.apps[key] = made
	l.share()
	return made
}

// Forget drops the log of an app; those who follow it are told that it has ended.
func (l *Logs) Forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(strings.ToLower(name))
	l.share()
}

func (l *Logs) drop(key string) {
	if have := l.apps[key]; have != nil {
		have.end()
		delete(l.apps, key)
	}
}

// share gives each app its part of the budget.
func (l *Logs) share() {
	l.limit.Store(int64(min(maxBytes, max(minBytes, budget/max(len(l.apps), 1)))))
}

// of finds the log of an app; nil if nobody opened one.
func (l *Logs) of(name string) *Log {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if have := l.apps[name]; have != nil { // mostly it is spelled so
		return have
	}
	return l.apps[strings.ToLower(name)]
}
