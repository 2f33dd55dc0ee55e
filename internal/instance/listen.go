package instance

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// Triggers is what an instance needs to run functions that no request asks for.
// The zero value has no triggers.
type Triggers struct {
	Kinds   trigger.Kinds
	App     string // its name in logs and metrics
	HostID  string
	Leases  trigger.Leases
	Memory  trigger.Memory
	Metrics func(function string) trigger.Metrics
	// Begun and Done are told of every call of a function with data, when it begins
	// and when it has ended; they must not block. They may be nil.
	Begun func(function string)
	Done  func(Ran)
	// Inputs gives the values of a function's input bindings, nil when it has none;
	// see [worker.Invocation]. May be nil.
	Inputs func(context.Context, *funcapp.Function) (map[string]any, error)
}

// ears are the listeners of an instance, which outlive workers that crash. Those
// of another model start when the ones before have stopped.
type ears struct {
	mu  sync.Mutex
	set *listeners // the newest; nil before the first
	// closed says that the app ends: no more listeners.
	closed bool
}

// listeners are those of one model.
type listeners struct {
	i       *Instance
	model   *Model
	before  *listeners    // must have ended first; nil for none. Let go then
	halt    chan struct{} // closed: take no more work
	closing chan struct{} // closed: no more retries either, and work has its grace
	ended   chan struct{}
	once    [2]sync.Once

	mu     sync.Mutex
	faults map[string]string // by lower-cased function
}

// listen starts the listeners of a model, unless the app drains. With keep, those
// of an equal model go on.
func (i *Instance) listen(m *Model, keep bool) {
	i.ears.mu.Lock()
	defer i.ears.mu.Unlock()
	old := i.ears.set
	if i.ears.closed || i.draining.Load() || keep && old != nil && old.on() && sameTriggers(old.model, m) {
		return
	}
	if old != nil {
		old.stop()
	}
	l := &listeners{
		i: i, model: m, before: old, faults: map[string]string{},
		halt: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	i.ears.set = l
	go l.run()
}

// hush stops the listeners: nothing is started any more, work in progress gets
// the stop timeout. It does not wait.
func (i *Instance) hush() {
	i.ears.mu.Lock()
	defer i.ears.mu.Unlock()
	if i.ears.set != nil {
		i.ears.set.stop()
	}
}

// deafen is hush for good; it gives what is closed when the last listener ended.
func (i *Instance) deafen() <-chan struct{} {
	i.ears.mu.Lock()
	defer i.ears.mu.Unlock()
	i.ears.closed = true
	if l := i.ears.set; l != nil {
		l.stop()
		return l.ended
	}
	none := make(chan struct{})
	close(none)
	return none
}

// sameTriggers reports whether the listeners of two models would be the same.
func sameTriggers(a, b *Model) bool {
	return reflect.DeepEqual(a.Functions, b.Functions) && reflect.DeepEqual(a.Settings, b.Settings) &&
		reflect.DeepEqual(a.App.Host, b.App.Host)
}

// pause takes no more work, and lets the work in progress and its retries end in
// their own time.
func (l *listeners) pause() { l.once[0].Do(func() { close(l.halt) }) }

// stop is pause, with the grace of the stop timeout.
func (l *listeners) stop() {
	l.once[1].Do(func() { close(l.closing) })
	l.pause()
}

func (l *listeners) on() bool {
	select {
	case <-l.halt:
		return false
	default:
		return true
	}
}

// run runs the listeners until they have stopped.
func (l *listeners) run() {
	defer close(l.ended)
	if l.before != nil {
		<-l.before.ended
		l.before = nil
	}
	grace, cancel := context.WithCancel(context.Background())
	defer cancel()
	var work sync.WaitGroup
	none := true
	for n := range l.model.Functions {
		f := &l.model.Functions[n]
		if s := l.source(f); s != nil && l.on() {
			none = false
			work.Go(func() { l.tend(grace, s, f) })
		}
	}
	if none {
		return // there is nothing to give a grace to
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	select {
	case <-done: // also when the app drains for long
		return
	case <-l.closing:
	}
	timer := l.i.cfg.Clock.NewTimer(l.i.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C():
		cancel()
		<-done
	}
}

// source gives what makes the listener of a function; nil when it has none.
func (l *listeners) source(f *funcapp.Function) trigger.Source {
	t := f.Trigger()
	if t == nil || t.HTTP != nil || !f.Runnable() || f.Disabled {
		return nil
	}
	return l.i.cfg.Triggers.Kinds.Source(t.Type)
}

// Waits before a listener is tried again that could not start.
const (
	listenFirst = time.Second
	listenMost  = time.Minute
)

// tend runs the listener of one function, trying again if it cannot start.
func (l *listeners) tend(grace context.Context, s trigger.Source, f *funcapp.Function) {
	starting, cancel := context.WithCancel(grace)
	defer cancel()
	go func() {
		select {
		case <-l.halt:
			cancel()
		case <-starting.Done():
		}
	}()
	for wait := listenFirst; l.on(); wait = min(2*wait, listenMost) {
		ear, err := l.start(starting, s, f)
		switch {
		case err == nil && ear == nil:
			return
		case err == nil:
			l.blame(f, "")
			<-l.halt
			ear.Stop(grace)
			return
		case !l.on():
			return
		}
		l.blame(f, err.Error())
		l.i.cfg.Log.Error("a function does not listen", "function", f.Name, "reason", err, "next", problem.NextOf(err), "next_try_in", wait.String())
		if clock.Sleep(starting, l.i.cfg.Clock, wait) != nil {
			return
		}
	}
}

func (l *listeners) start(ctx context.Context, s trigger.Source, f *funcapp.Function) (trigger.Listener, error) {
	setup := l.i.setup(l.model, f)
	setup.Binding = f.Trigger()
	setup.Invoke = func(ctx context.Context, c trigger.Call) (*worker.Result, error) {
		return l.i.invoke(ctx, l.closing, f.Name, c)
	}
	ear, err := s.Listener(&setup)
	if err != nil || ear == nil {
		return nil, err
	}
	return ear, ear.Start(ctx)
}

func (l *listeners) blame(f *funcapp.Function, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text == "" {
		delete(l.faults, strings.ToLower(f.Name))
		return
	}
	l.faults[strings.ToLower(f.Name)] = text
}

// setup gives what a function's listener and outputs share.
func (i *Instance) setup(m *Model, f *funcapp.Function) trigger.Setup {
	t := &i.cfg.Triggers
	s := trigger.Setup{
		App: t.App, HostID: t.HostID, Function: f, Host: &m.App.Host, Setting: m.setting, Clock: i.cfg.Clock,
		Log: i.cfg.Log.With("function", f.Name), Leases: t.Leases, Memory: t.Memory, Metrics: noMetrics{},
	}
	if t.Metrics != nil {
		s.Metrics = t.Metrics(f.Name)
	}
	return s
}

type noMetrics struct{}

func (noMetrics) Backlog(int64) {}

// setting looks a setting up, exactly, then ignoring case.
func (m *Model) setting(name string) string {
	if v, ok := m.Settings[name]; ok {
		return v
	}
	for n, v := range m.Settings {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

// Deaf says why a function, found by name ignoring case, does not listen
// although it should; "" when it does or need not.
func (i *Instance) Deaf(function string) string {
	i.ears.mu.Lock()
	l := i.ears.set
	i.ears.mu.Unlock()
	if l == nil || !l.on() {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults[strings.ToLower(function)]
}

// Retries gives the number of functions that wait for the next attempt of their
// retry policy.
func (i *Instance) Retries() int { return int(i.retries.Load()) }

// Calls gives the number of calls of functions with data in progress, those that
// wait for a worker or a retry included.
func (i *Instance) Calls() int { return int(i.calls.Load()) }
