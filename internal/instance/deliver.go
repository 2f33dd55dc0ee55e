package instance

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// Inputs gives the values of a function's input bindings, nil when it has none.
// Errors are those of what makes them.
func (i *Instance) Inputs(ctx context.Context, f *funcapp.Function) (map[string]any, error) {
	if i.cfg.Triggers.Inputs == nil {
		return nil, nil
	}
	return i.cfg.Triggers.Inputs(ctx, f)
}

// outputs are the opened output bindings of the functions of one model.
type outputs struct {
	setup func(*funcapp.Function) trigger.Setup
	kinds *trigger.Kinds

	mu   sync.Mutex
	open map[*funcapp.Binding]trigger.Output
}

func (i *Instance) newOutputs(m *Model) *outputs {
	kinds := &i.cfg.Triggers.Kinds
	if len(kinds.Sinks) == 0 {
		return nil
	}
	return &outputs{
		setup: func(f *funcapp.Function) trigger.Setup { return i.setup(m, f) },
		kinds: kinds, open: map[*funcapp.Binding]trigger.Output{},
	}
}

// Delivers reports whether f has output bindings that Deliver serves.
func (l *Live) Delivers(f *funcapp.Function) bool {
	return l.outputs != nil && slices.ContainsFunc(f.Bindings, delivered)
}

func delivered(b funcapp.Binding) bool {
	return b.Direction != funcapp.In && !strings.EqualFold(b.Type, "http")
}

// Deliver hands what a function returned to its output bindings other than http,
// in the order of the bindings. It returns the first error; those after it got
// nothing.
func (l *Live) Deliver(ctx context.Context, inv *worker.Invocation, res *worker.Result) error {
	if l.outputs == nil || res == nil {
		return nil
	}
	f := inv.Function
	for n := range f.Bindings {
		b := &f.Bindings[n]
		if !delivered(*b) {
			continue
		}
		value, data, ok := res.Output(b.Name)
		if !ok || data == nil && string(bytes.TrimSpace(value)) == "null" {
			continue
		}
		out, err := l.outputs.get(f, b)
		if err == nil && out != nil {
			err = out.Send(ctx, inv, value, data)
		}
		if err != nil {
			return problem.Wrap(problem.KindOf(err), fmt.Sprintf("output %s of function %s", b.Name, f.Name), err)
		}
	}
	return nil
}

// get opens an output the first time it is used; nil for a type nobody has.
func (o *outputs) get(f *funcapp.Function, b *funcapp.Binding) (trigger.Output, error) {
	sink := o.kinds.Sink(b.Type)
	if sink == nil {
		return nil, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if out := o.open[b]; out != nil {
		return out, nil
	}
	s := o.setup(f)
	s.Binding = b
	out, err := sink.Output(&s)
	if err != nil {
		return nil, err
	}
	o.open[b] = out
	return out, nil
}
