package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/worker"
)

// launch has everything done that an instance waits for and nobody does yet.
func (w *works) launch(i *instances.Instance) {
	for id, task := range i.Tasks {
		f := flight{i.ID, i.Execution, id}
		if !w.claim(f) {
			continue
		}
		w.begin(i, id, &task, f)
	}
}

// begin has a task done when it is its turn, however many there are.
func (w *works) begin(i *instances.Instance, id int, task *instances.Task, f flight) {
	switch task.Kind {
	case instances.Timer:
		fired := instances.Event{EventType: instances.TimerFired, TimerId: &id, FireAt: &task.FireAt}
		w.timers.set(f, task.FireAt, func() {
			w.errands.run(func() { w.finish(f, fired, true) })
		})
	case instances.Activity:
		w.activities.run(func() {
			v, ok := w.activity(f, task)
			w.finish(f, v, ok)
		})
	case instances.Child:
		parent := &instances.Parent{ID: i.ID, Task: id}
		w.errands.run(func() {
			w.child(f, parent, task)
			w.land(f)
		})
	}
}

// finish writes the end of a task, if it came to one; else it can be begun again.
func (w *works) finish(f flight, v instances.Event, ok bool) {
	if !ok || !w.deliver(f, v) {
		w.land(f)
	}
}

// claim takes a task, unless somebody works on it or has done it: a task stays
// claimed until its instance has taken its end down, see [works.release].
func (w *works) claim(f flight) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, taken := w.flying[f]; taken {
		return false
	}
	w.flying[f] = struct{}{}
	return true
}

func (w *works) land(f flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flying, f)
	w.timers.forget(f)
}

// release lets go of the tasks that a turn has ended.
func (w *works) release(t *turn) {
	for id := range t.was.Tasks {
		if _, open := t.i.Tasks[id]; !open || t.i.Execution != t.was.Execution {
			w.land(flight{t.was.ID, t.was.Execution, id})
		}
	}
}

// deliver puts the end of a task into the inbox of the instance that waits for it,
// again until it is there. It is false when this host stops before, or the instance
// cannot be understood.
func (w *works) deliver(f flight, v instances.Event) bool {
	for w.ctx.Err() == nil {
		err := w.post(f, v)
		if errors.Is(err, problem.TooLarge) {
			v = failure(f.task, "a task", err.Error())
			v.EventType = instances.TaskFailed
			err = w.post(f, v)
		}
		if errors.Is(err, problem.TooLarge) {
			err = w.overfull(f, err)
		}
		if err == nil {
			return true
		}
		if errors.Is(err, problem.Undecryptable) {
			w.later(f.id) // whoever looks at it says so
			return false
		}
		w.cfg.Log.Warn("the end of a task cannot be written; trying again", "instance", f.id, "reason", err)
		w.sleep()
	}
	return false
}

// overfull fails an instance that has no room even for the news that a task has
// failed: it would wait for ever.
func (w *works) overfull(f flight, reason error) error {
	var t *turn
	_, err := w.cfg.Store.Update(w.ctx, f.id, func(old *instances.Instance) (*instances.Instance, error) {
		if t = nil; old == nil || old.Status.Final() || f.execution != "" && old.Execution != f.execution {
			return nil, instances.ErrKeep
		}
		t = newTurn(old, w.cfg.Clock.Now().UTC())
		t.tooLarge(reason)
		t.i.Inbox = nil
		return t.i, nil
	})
	if err == nil {
		if t != nil {
			w.release(t)
		}
		w.tell()
		w.nudge(f.id)
	}
	return err
}

func (w *works) sleep() {
	timer := w.cfg.Clock.NewTimer(retryTurn)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-w.ctx.Done():
	}
}

func (w *works) post(f flight, v instances.Event) error {
	v.EventId, v.Timestamp = -1, w.cfg.Clock.Now().UTC()
	_, err := w.cfg.Store.Update(w.ctx, f.id, func(old *instances.Instance) (*instances.Instance, error) {
		if old == nil || old.Status.Final() || f.execution != "" && old.Execution != f.execution {
			return nil, instances.ErrKeep
		}
		if _, open := old.Tasks[f.task]; !open {
			return nil, instances.ErrKeep
		}
		for n := range old.Inbox {
			if id, ends := old.Inbox[n].Task(); ends && id == f.task {
				return nil, instances.ErrKeep
			}
		}
		old.Inbox = append(old.Inbox, v)
		return old, fits(old, &v)
	})
	if err == nil {
		w.nudge(f.id)
	}
	return err
}

// activity does one; ok is false when this host stops before.
func (w *works) activity(f flight, task *instances.Task) (v instances.Event, ok bool) {
	if w.ctx.Err() != nil { // it waited for its turn
		return v, false
	}
	id := f.task
	for {
		input := unpacked(task.Input)
		res, err := w.cfg.Invoke.Invoke(w.ctx, task.Name, trigger.Call{
			Input: input, NoRetry: true, Metadata: map[string]any{"instanceId": f.id, "data": input},
		})
		switch {
		case w.ctx.Err() != nil:
			return instances.Event{}, false
		case err == nil:
			return instances.Event{EventType: instances.TaskCompleted, TaskScheduledId: &id, Result: instances.Text(result(res))}, true
		case errors.Is(err, trigger.ErrNotRun) && !errors.Is(err, problem.NotFound):
			w.sleep() // the app comes back
			continue
		}
		return failure(id, "Activity function '"+task.Name+"'", err.Error()), true
	}
}

func failure(id int, what, text string) instances.Event {
	text = strings.TrimSpace(text)
	return instances.Event{
		EventType: instances.TaskFailed, TaskScheduledId: &id,
		Reason: instances.Text(what + " failed: " + text), Details: instances.Text(text),
	}
}

// result is what an activity returned, as JSON.
func result(res *worker.Result) string {
	if res == nil {
		return "null"
	}
	if b, ok := res.Binary[worker.Return]; ok {
		return `"` + base64.StdEncoding.EncodeToString(b) + `"`
	}
	return string(orNull(res.Return))
}

// child makes sure that an orchestration that another waits for is there, and
// reports its end if it has ended.
func (w *works) child(f flight, parent *instances.Parent, task *instances.Task) {
	have, err := w.cfg.Store.Get(w.ctx, task.Instance)
	if errors.Is(err, problem.NotFound) || err == nil && have.Status.Final() && !sameParent(have.Parent, parent) {
		have, err = w.start(w.ctx, &instances.Instance{
			ID: task.Instance, Name: task.Name, Version: task.Version, Input: task.Input, Parent: parent,
		})
	}
	switch {
	case err == nil && !sameParent(have.Parent, parent):
		err = problem.New(problem.Exists, "an orchestration instance with ID "+task.Instance+" already exists")
		fallthrough
	case errors.Is(err, problem.Invalid) || errors.Is(err, problem.Exists) || errors.Is(err, problem.TooLarge):
		v := failure(f.task, "Orchestrator function '"+task.Name+"'", err.Error())
		v.EventType = instances.ChildFailed
		w.deliver(f, v)
	case err != nil:
		w.later(f.id)
	case have.Status.Final():
		w.deliver(f, ended(have))
	default:
		w.nudge(have.ID)
	}
}

func sameParent(a, b *instances.Parent) bool { return a != nil && *a == *b }

// report tells the parent of an instance that it has ended.
func (w *works) report(i *instances.Instance) error {
	if i.Parent == nil {
		return nil
	}
	return w.post(flight{id: i.Parent.ID, task: i.Parent.Task}, ended(i))
}

// ended is the end of an orchestration as its parent sees it.
func ended(i *instances.Instance) instances.Event {
	if i.Status == instances.Completed {
		return instances.Event{EventType: instances.ChildCompleted, TaskScheduledId: &i.Parent.Task, Result: instances.Text(string(orNull(i.Output)))}
	}
	var text string
	if json.Unmarshal(i.Output, &text) != nil {
		text = string(i.Output)
	}
	v := failure(i.Parent.Task, "Orchestrator function '"+i.Name+"'", text)
	v.EventType = instances.ChildFailed
	return v
}
