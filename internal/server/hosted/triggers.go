package hosted

import (
	"context"
	"errors"
	"log/slog"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable"
	"github.com/latchkey/latchkey/internal/trigger/eventgrid"
	"github.com/latchkey/latchkey/internal/trigger/queue"
	"github.com/latchkey/latchkey/internal/trigger/timer"
)

// kinds are the bindings that this host has besides HTTP.
func kinds(q queue.Config, events trigger.Source) trigger.Kinds {
	messages, sender := queue.Bindings(q)
	return trigger.Kinds{
		Sources: append(durable.Sources(), timer.Source{}, messages, events, trigger.Passive("warmupTrigger"), trigger.Passive("manualTrigger")),
		Sinks:   []trigger.Sink{sender},
		Inputs:  durable.Inputs(),
	}
}

// Listens reports whether a function is to be listened for: its app has to run
// although nobody asks. What is wrong with it may be repaired by then.
func Listens(f *funcapp.Function) bool {
	t := f.Trigger()
	if t == nil || t.HTTP != nil || f.Excluded || f.Disabled {
		return false
	}
	if durable.Uses(f) { // orchestrations go on by themselves
		return true
	}
	k := kinds(queue.Config{}, eventgrid.New(eventgrid.Config{}))
	source := k.Source(t.Type)
	_, passive := source.(trigger.Passive)
	return source != nil && !passive
}

// Indexed reports whether an app's functions are found by its worker: its files
// do not name any.
func Indexed(m *instance.Model) bool {
	return m.App.Host.CustomHandler == nil && len(m.Functions) == 0
}

// checkBindings adds what is wrong with bindings to the faults of functions. What
// is wrong with a function already is enough to know.
func checkBindings(m *instance.Model, s Settings) {
	k := kinds(queue.Config{}, eventgrid.New(eventgrid.Config{}))
	for i := range m.Functions {
		f := &m.Functions[i]
		if len(f.Faults) == 0 {
			f.Faults = k.Check(trigger.Setup{Function: f, Host: &m.App.Host, Setting: s.Get})
		}
	}
}

func (a *App) triggers() instance.Triggers {
	return instance.Triggers{
		Kinds: kinds(queue.Config{Credential: a.cfg.Identities, Transport: a.cfg.Outbound}, a.extras.events), App: a.cfg.Name, HostID: a.cfg.HostID, Leases: a.cfg.Leases, Memory: a.cfg.Memory,
		Metrics: func(function string) trigger.Metrics { return a.cfg.Stats.Trigger(function) },
		Begun:   func(function string) { a.cfg.Stats.Trigger(function).Begin() },
		Done:    a.ran,
		Inputs:  a.extras.inputs,
	}
}

// ran counts a run that no request asked for and writes its line.
func (a *App) ran(r instance.Ran) {
	outcome, level, msg := telemetry.RunSucceeded, slog.LevelInfo, "the function ran"
	switch {
	case errors.Is(r.Err, trigger.ErrNotRun):
		outcome, level, msg = telemetry.RunSkipped, slog.LevelWarn, "the function was not started"
	case r.Err != nil:
		outcome, level, msg = telemetry.RunFailed, slog.LevelError, "the function failed"
	}
	a.cfg.Stats.Trigger(r.Function).End(outcome, r.Took)
	attrs := []any{"function", r.Function, "invocation", r.Invocation, "took", r.Took.String()}
	if r.Attempts > 1 {
		attrs = append(attrs, "attempts", r.Attempts)
	}
	if r.Err != nil {
		attrs = append(attrs, "reason", r.Err)
		if next := problem.NextOf(r.Err); next != "" {
			attrs = append(attrs, "next", next)
		}
	}
	a.cfg.Log.Log(context.Background(), level, msg, attrs...)
}
