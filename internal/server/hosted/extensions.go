package hosted

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable"
	"github.com/latchkey/latchkey/internal/trigger/durable/engine"
	"github.com/latchkey/latchkey/internal/trigger/eventgrid"
)

// extensions are the webhooks of an app and what runs behind them.
type extensions struct {
	app    *App
	events *eventgrid.Endpoint
	hub    *durable.Hub   // nil when the app has no place for orchestrations
	engine *engine.Engine // likewise

	once sync.Once
	made atomic.Bool   // the hub has its key, or had it in this run
	need chan struct{} // closed: the app has functions that need the hub
}

func newExtensions(a *App) *extensions {
	x := &extensions{app: a, need: make(chan struct{})}
	x.events = eventgrid.New(eventgrid.Config{
		Clock: a.cfg.Clock, Log: a.cfg.Log, Prepare: x.prepareEvents, Expected: x.expected,
	})
	return x
}

// openHub makes the hub; the instance is there by then.
func (x *extensions) openHub() {
	a := x.app
	if a.cfg.Orchestrations == nil {
		return
	}
	x.engine = engine.New(engine.Config{
		Store: a.cfg.Orchestrations, Invoke: a.instance, Clock: a.cfg.Clock, Log: a.cfg.Log, Leases: a.cfg.Leases,
	})
	x.hub = durable.New(durable.Config{
		Engine: x.engine, Clock: a.cfg.Clock, Log: a.cfg.Log, Name: x.hubName, Orchestrators: x.orchestrators,
		Key: x.hubKey,
	})
}

// hubKey gives the system key of the hub. It is made once in a run of the app: one
// that somebody deletes after that stays deleted until the next start.
func (x *extensions) hubKey(ctx context.Context) (string, error) {
	keys := x.app.cfg.Keys
	if !x.made.Load() {
		k, _, err := keys.EnsureSystemKey(ctx, durable.Extension)
		x.made.Store(err == nil)
		return k.Value, err
	}
	name := strings.ToLower(durable.Extension) + "_extension"
	k, err := keys.Get(ctx, keyring.SystemKeys(), name)
	if problem.KindOf(err) == problem.NotFound {
		return "", problem.New(problem.Unavailable, "the system key "+name+" was deleted").
			WithNext("set one with latchkey keys set " + name + " --kind system, or restart the app, which makes one")
	}
	return k.Value, err
}

// hubName gives the hub's name as host.json has it.
func (x *extensions) hubName() string {
	var host map[string]any
	if m := x.app.instance.Model(); m != nil && json.Unmarshal(m.App.Host.Raw, &host) == nil {
		return durable.HubName(host)
	}
	return durable.DefaultHub
}

// prepareEvents serves the webhook of Event Grid, with its key.
func (x *extensions) prepareEvents(ctx context.Context) error {
	return x.register(ctx, eventgrid.Extension)
}

func (x *extensions) register(ctx context.Context, extension string) (err error) {
	if extension == eventgrid.Extension {
		_, _, err = x.app.webhooks.Register(ctx, extension, x.events)
	} else {
		_, _, err = x.app.webhooks.Register(ctx, extension, x.hub)
	}
	if err == nil {
		return nil
	}
	next := problem.NextOf(err)
	if problem.KindOf(err) == problem.ReadOnly {
		next = "add a system key named " + extension + "_extension to the store, or make the store writable"
	}
	return problem.Wrap(problem.KindOf(err), "the webhook of "+extension+" has no system key", err).WithNext(next)
}

// expected reports whether the app has a function that takes events.
func (x *extensions) expected(name string) bool {
	m := x.app.instance.Model()
	if m == nil || x.app.instance.Draining() {
		return false
	}
	f := m.Function(name)
	return f != nil && f.Runnable() && !f.Disabled && hasTrigger(f, eventgrid.Type)
}

func hasTrigger(f *funcapp.Function, kind string) bool {
	t := f.Trigger()
	return t != nil && strings.EqualFold(t.Type, kind)
}

func (x *extensions) orchestrators() []string {
	m := x.app.instance.Model()
	if m == nil {
		return nil
	}
	var names []string
	for i := range m.Functions {
		if f := &m.Functions[i]; f.Runnable() && !f.Disabled && hasTrigger(f, durable.OrchestrationTrigger) {
			names = append(names, f.Name)
		}
	}
	return names
}

// look sees whether a model needs the hub.
func (x *extensions) look(m *instance.Model) {
	if x.hub != nil && slices.ContainsFunc(m.Functions, func(f funcapp.Function) bool { return durable.Uses(&f) }) {
		x.once.Do(func() { close(x.need) })
	}
}

// run runs orchestrations once the app needs that, until ctx ends.
func (x *extensions) run(ctx context.Context) {
	select {
	case <-x.need:
	case <-ctx.Done():
		return
	}
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		err := x.register(ctx, durable.Extension)
		if err == nil {
			break
		}
		x.app.cfg.Log.Error("orchestrations are not run", "reason", err, "next", problem.NextOf(err), "next_try_in", wait.String())
		_ = clock.Sleep(ctx, x.app.cfg.Clock, wait)
	}
	x.engine.Run(ctx)
}

// root gives the address under which the app's worker reaches its host.
func (x *extensions) root() string {
	if x.app.cfg.LocalURL != "" {
		return x.app.cfg.LocalURL
	}
	return "http://" + x.app.cfg.Hostname
}

// inputs gives the values of a function's input bindings; nil when it has none.
func (x *extensions) inputs(ctx context.Context, f *funcapp.Function) (map[string]any, error) {
	var values map[string]any
	for i := range f.Bindings {
		b := &f.Bindings[i]
		if !durable.IsClient(b) {
			continue
		}
		if x.hub == nil {
			return nil, problem.New(problem.Unsupported, "this host has no place for orchestrations")
		}
		v, err := x.hub.Client(ctx, x.root(), x.app.cfg.LocalQuery)
		if err != nil {
			return nil, problem.Wrap(problem.KindOf(err), "input "+b.Name, err)
		}
		if values == nil {
			values = map[string]any{}
		}
		values[b.Name] = v
	}
	return values, nil
}
