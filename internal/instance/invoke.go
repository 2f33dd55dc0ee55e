package instance

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// Ran is a run of a function that no request asked for, all attempts of its retry
// policy together.
type Ran struct {
	Function   string
	Invocation string // id of the last attempt
	Attempts   int    // 0 when it was not started
	Started    time.Time
	Took       time.Duration
	Err        error // nil when it succeeded
}

var _ trigger.Invoker = (*Instance)(nil)

// invokePatience is how long a call waits for a worker that is being replaced.
const invokePatience = 2 * time.Minute

// Invoke implements [trigger.Invoker].
func (i *Instance) Invoke(ctx context.Context, function string, call trigger.Call) (*worker.Result, error) {
	return i.invoke(ctx, nil, function, call)
}

// Ask runs a function of any trigger type for an administrator, with the input
// given as text; see [Instance.Invoke].
func (i *Instance) Ask(ctx context.Context, function, input string) error {
	call := trigger.Call{Input: input}
	if m := i.Model(); m != nil {
		if f := m.Function(function); f != nil && f.Trigger() != nil {
			if a, ok := i.cfg.Triggers.Kinds.Source(f.Trigger().Type).(trigger.Asker); ok {
				s := i.setup(m, f)
				s.Binding = f.Trigger()
				call = a.Asked(ctx, &s, input)
			}
		}
	}
	call.NewIDs, call.Level = true, "Admin"
	_, err := i.Invoke(ctx, function, call)
	return err
}

// invoke runs a function. Between attempts, closing ends the run.
func (i *Instance) invoke(ctx context.Context, closing <-chan struct{}, function string, call trigger.Call) (*worker.Result, error) {
	if m := i.Model(); m != nil && !m.Unindexed { // names of nobody's choosing are counted nowhere
		f := m.Function(function)
		if f == nil {
			return nil, notRun(noFunction(function))
		}
		function = f.Name
	}
	i.calls.Add(1)
	defer i.calls.Add(-1)
	if i.cfg.Triggers.Begun != nil {
		i.cfg.Triggers.Begun(function)
	}
	c := &calling{Instance: i, call: call, name: function, ran: Ran{Function: function, Invocation: call.ID, Started: i.cfg.Clock.Now()}}
	res, err := c.run(ctx, closing)
	c.ran.Err, c.ran.Took = err, i.cfg.Clock.Now().Sub(c.ran.Started)
	if i.cfg.Triggers.Done != nil {
		i.cfg.Triggers.Done(c.ran)
	}
	return res, err
}

// calling is one call of a function with data.
type calling struct {
	*Instance
	call   trigger.Call
	name   string
	policy *funcapp.Retry // of the attempt before
	last   string         // what that failed with
	ran    Ran
}

func (c *calling) run(ctx context.Context, closing <-chan struct{}) (*worker.Result, error) {
	for {
		res, err := c.attempt(ctx)
		if err == nil || !c.mayRetry(ctx, err) {
			return res, err
		}
		delay := trigger.RetryDelay(c.policy, c.ran.Attempts-1)
		c.cfg.Log.Warn("retrying", "function", c.name, "invocation", c.ran.Invocation, "attempt", c.ran.Attempts, "delay", delay.String(), "reason", err)
		if !c.pause(ctx, closing, delay) {
			return nil, err
		}
		c.last = err.Error()
	}
}

func (c *calling) mayRetry(ctx context.Context, err error) bool {
	p := c.policy
	return p != nil && !c.call.NoRetry && ctx.Err() == nil && !errors.Is(err, trigger.ErrNotRun) &&
		(p.MaxRetryCount < 0 || c.ran.Attempts <= p.MaxRetryCount)
}

// pause waits for the next attempt, counted as an outstanding retry.
func (c *calling) pause(ctx context.Context, closing <-chan struct{}, d time.Duration) bool {
	c.retries.Add(1)
	defer c.retries.Add(-1)
	timer := c.cfg.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-closing:
	case <-ctx.Done():
	}
	return false
}

// attempt runs the function once on the worker that serves.
func (c *calling) attempt(ctx context.Context) (*worker.Result, error) {
	live, err := c.Enter(ctx, invokePatience)
	if err != nil {
		return nil, notRun(err)
	}
	defer live.Leave()
	f := live.Function(c.name)
	if f == nil || !f.Runnable() {
		return nil, notRun(noFunction(c.name))
	}
	inv := c.invocation(f)
	if inv.Inputs, err = c.Inputs(ctx, f); err != nil {
		return nil, err
	}
	if t := live.App.Host.FunctionTimeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	res, err := live.Worker.Invoke(ctx, inv)
	if err != nil {
		return nil, err
	}
	return res, live.Deliver(ctx, inv, res)
}

func (c *calling) invocation(f *funcapp.Function) *worker.Invocation {
	if c.ran.Invocation == "" || c.call.NewIDs && c.ran.Attempts > 0 {
		c.ran.Invocation = uuid.NewString()
	}
	inv := &worker.Invocation{
		ID: c.ran.Invocation, Function: f, Input: c.call.Input, Metadata: c.call.Metadata, Trace: c.call.Trace,
		KeyLevel: c.call.Level, LastError: c.last, RetryCount: c.ran.Attempts, Started: c.cfg.Clock.Now(),
	}
	if c.policy = f.Retry; f.Retry != nil && !c.call.NoRetry {
		inv.HasRetry, inv.MaxRetries = true, f.Retry.MaxRetryCount
	}
	c.ran.Attempts++
	return inv
}

func noFunction(name string) error {
	return problem.New(problem.NotFound, "the app has no function "+name+" that can run")
}

// notRun marks an error of a call that did not reach the function.
func notRun(err error) error { return &notRunError{err} }

type notRunError struct{ err error }

func (e *notRunError) Error() string   { return trigger.ErrNotRun.Error() + ": " + e.err.Error() }
func (e *notRunError) Unwrap() []error { return []error{trigger.ErrNotRun, e.err} }
