package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Start makes an instance that runs as soon as it can. An empty id makes one. It
// returns problem.Exists when there is one of that id that has not ended, and
// problem.Invalid for a bad id.
func (e *Engine) Start(ctx context.Context, id, function, version string, input json.RawMessage) (*instances.Instance, error) {
	if id == "" {
		id = newID()
	}
	return e.start(ctx, &instances.Instance{ID: id, Name: function, Version: version, Input: input})
}

func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

func (e *Engine) start(ctx context.Context, i *instances.Instance) (*instances.Instance, error) {
	now := e.cfg.Clock.Now().UTC()
	i.Execution, i.Status, i.Created, i.Updated = newID(), instances.Pending, now, now
	_, err := e.cfg.Store.Update(ctx, i.ID, func(old *instances.Instance) (*instances.Instance, error) {
		if old != nil && !old.Status.Final() {
			return nil, problem.New(problem.Exists, "an orchestration instance with ID "+i.ID+" already exists and has not ended")
		}
		return i, nil
	})
	if err != nil {
		return nil, err
	}
	e.tell()
	e.nudge(i.ID)
	return i, nil
}

// Get gives an instance; problem.NotFound when there is none.
func (e *Engine) Get(ctx context.Context, id string) (*instances.Instance, error) {
	return e.cfg.Store.Get(ctx, id)
}

// Wait waits until an instance has ended, at most for limit; it gives the instance
// as it is then. It looks at least once per interval, for other hosts run
// instances too.
func (e *Engine) Wait(ctx context.Context, id string, limit, interval time.Duration) (*instances.Instance, error) {
	deadline := e.cfg.Clock.NewTimer(limit)
	defer deadline.Stop()
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		i, err := e.cfg.Store.Get(ctx, id)
		if err != nil || i.Status.Final() {
			return i, err
		}
		look := e.cfg.Clock.NewTimer(max(interval, minInterval))
		select {
		case <-changed:
		case <-look.C():
		case <-deadline.C():
			look.Stop()
			return i, nil
		case <-ctx.Done():
			look.Stop()
			return i, nil
		}
		look.Stop()
	}
}

const minInterval = 100 * time.Millisecond

// maxPage bounds the values of the instances that List gives at once, in bytes.
const maxPage = 8 << 20

// List gives up to limit instances after one that a query means, without their
// histories and in order of their ids, fewer when they are large; more says that
// there may be others after the last one.
func (e *Engine) List(ctx context.Context, q instances.Query, after string, limit int) (list []*instances.Instance, more bool, err error) {
	more = true
	for size := 0; more; {
		var page []*instances.Instance
		if page, more, err = e.cfg.Store.List(ctx, after, 100); err != nil {
			return nil, false, err
		}
		for n, i := range page {
			after = i.ID
			if q.Matches(i) {
				i.History, i.Inbox, i.Tasks, i.Before = nil, nil, nil, nil
				size += len(i.Input) + len(i.Output) + len(i.CustomStatus)
				list = append(list, i)
			}
			if len(list) == limit || size > maxPage {
				return list, more || n < len(page)-1, nil
			}
		}
	}
	return list, false, nil
}

// Purge deletes an instance that has ended. It returns problem.NotFound when there
// is none, problem.Conflict for one that has not ended.
func (e *Engine) Purge(ctx context.Context, id string) error {
	_, err := e.cfg.Store.Update(ctx, id, func(old *instances.Instance) (*instances.Instance, error) {
		switch {
		case old == nil:
			return nil, errNoInstance()
		case !old.Status.Final():
			return nil, problem.New(problem.Conflict, "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID "+id+" has status "+string(old.Status))
		}
		return nil, nil
	})
	return err
}

// PurgeAll deletes the instances that have ended and that a query means, and gives
// their number.
func (e *Engine) PurgeAll(ctx context.Context, q instances.Query) (deleted int, err error) {
	for after, more := "", true; more; {
		var list []*instances.Instance
		if list, more, err = e.List(ctx, q, after, 100); err != nil {
			return deleted, err
		}
		for _, i := range list {
			after = i.ID
			switch err := e.Purge(ctx, i.ID); {
			case err == nil:
				deleted++
			case !errors.Is(err, problem.NotFound) && !errors.Is(err, problem.Conflict):
				return deleted, err
			}
		}
	}
	return deleted, nil
}

func errNoInstance() error { return problem.New(problem.NotFound, "there is no such instance") }

// ErrEnded says that an instance takes no more messages.
var ErrEnded = problem.New(problem.Conflict, "the instance has ended")

// Raise sends an event to an instance; input is JSON. It returns problem.NotFound
// when there is no such instance and [ErrEnded] when it has ended.
func (e *Engine) Raise(ctx context.Context, id, name string, input json.RawMessage) error {
	return e.send(ctx, id, instances.Event{EventType: instances.EventRaised, Name: name, Input: instances.Text(string(input))})
}

// Terminate ends an instance, with the reason as its output. Errors as Raise's.
func (e *Engine) Terminate(ctx context.Context, id, reason string) error {
	text, err := json.Marshal(reason)
	if err != nil {
		return problem.Wrap(problem.Invalid, "the reason is no text", err)
	}
	return e.send(ctx, id, instances.Event{EventType: instances.ExecutionTerminated, Input: instances.Text(string(text))})
}

// Suspend keeps an instance from running until Resume. Errors as Raise's.
func (e *Engine) Suspend(ctx context.Context, id, reason string) error {
	return e.send(ctx, id, instances.Event{EventType: instances.ExecutionSuspended, Reason: &reason})
}

// Resume ends Suspend. Errors as Raise's.
func (e *Engine) Resume(ctx context.Context, id, reason string) error {
	return e.send(ctx, id, instances.Event{EventType: instances.ExecutionResumed, Reason: &reason})
}

func (e *Engine) send(ctx context.Context, id string, v instances.Event) error {
	v.EventId, v.Timestamp = -1, e.cfg.Clock.Now().UTC()
	_, err := e.cfg.Store.Update(ctx, id, func(old *instances.Instance) (*instances.Instance, error) {
		switch {
		case old == nil:
			return nil, errNoInstance()
		case old.Status.Final():
			return nil, ErrEnded
		}
		old.Inbox = append(old.Inbox, v)
		return old, fits(old, &v)
	})
	if err == nil {
		e.nudge(id)
	}
	return err
}

// reserve is the room, in bytes, that values from outside leave in an instance: it
// can always be told to end, and that a task has failed.
const reserve = 64 << 10

// fits returns problem.TooLarge when an event with a value would take of the
// reserve of its instance.
func fits(i *instances.Instance, v *instances.Event) error {
	switch v.EventType {
	case instances.EventRaised, instances.TaskCompleted, instances.ChildCompleted:
	default:
		return nil
	}
	data, err := instances.Encode(i)
	if err == nil && len(data) > instances.MaxBytes-reserve {
		err = problem.New(problem.TooLarge, "the instance has no room for another value; it is to take up those that wait first")
	}
	return err
}

// Restart starts an instance anew with its input, under a new id or its own. It
// returns problem.NotFound when there is none, problem.Exists when its own id is
// wanted and it has not ended.
func (e *Engine) Restart(ctx context.Context, id string, fresh bool) (*instances.Instance, error) {
	old, err := e.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if fresh {
		id = ""
	}
	return e.Start(ctx, id, old.Name, old.Version, old.Input)
}

// Rewind takes a failed instance back to before its last turn: tasks that failed
// in it are done again. It returns problem.NotFound when there is none,
// problem.Conflict when it has not failed, problem.Unsupported when it cannot.
func (e *Engine) Rewind(ctx context.Context, id, _ string) error {
	_, err := e.cfg.Store.Update(ctx, id, func(old *instances.Instance) (*instances.Instance, error) {
		switch {
		case old == nil:
			return nil, errNoInstance()
		case old.Status != instances.Failed:
			return nil, problem.New(problem.Conflict, "This orchestration has status "+string(old.Status)+`, but only orchestrations in the "Failed" state can be rewound.`)
		case old.Before == nil:
			return nil, problem.New(problem.Unsupported, "this orchestration cannot be rewound")
		}
		return rewound(old, e.cfg.Clock.Now().UTC()), nil
	})
	if err == nil {
		e.nudge(id)
	}
	return err
}

// rewound gives an instance before its last turn. The failures that the turn was
// shown are left out, so that their tasks are in progress again.
func rewound(i *instances.Instance, now time.Time) *instances.Instance {
	b := i.Before
	i.History, i.NextID, i.Assigned, i.Tasks = i.History[:b.History], b.NextID, i.Assigned[:b.Assigned], b.Tasks
	i.Inbox = slices.DeleteFunc(slices.Clone(b.Inbox), func(v instances.Event) bool {
		return v.EventType == instances.TaskFailed || v.EventType == instances.ChildFailed
	})
	i.Status, i.Output, i.Updated, i.Before = instances.Running, nil, now, nil
	if len(i.History) == 0 {
		i.Status = instances.Pending
	}
	return i
}
