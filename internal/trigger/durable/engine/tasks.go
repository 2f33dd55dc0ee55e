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
		w.all.Go(func() {
			if !w.do(i, id, &task, f) {
				w.land(f)
			}
		})
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
}

// release lets go of the tasks that a turn has ended.
func (w *works) release(t *turn) {
	for id := range t.was.Tasks {
		if _, open := t.i.Tasks[id]; !open || t.i.Execution != t.was.Execution {
			w.land(flight{t.was.ID, t.was.Execution, id})
		}
	}
}

// do does a task and reports whether its end was written.
func (w *works) do(i *instances.Instance, id int, task *instances.Task, f flight) bool {
	var v instances.Event
	ok := false
	switch task.Kind {
	case instances.Timer:
		v, ok = w.timer(id, task)
	case instances.Activity:
		v, ok = w.activity(i, id, task)
	case instances.Child:
		w.child(i, id, task)
	}
	return ok && w.deliver(f, v)
}

// deliver puts the end of a task into the inbox of the instance that waits for it,
// again until it is there. It is false when this host stops before.
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
		w.cfg.Log.Warn("the end of a task cannot be written; trying again", "instance", f.id, "reason", err)
		w.sleep()
	}
	return false
}

// overfull fails an instance that has no room even for the news that a task has
// failed: it would wait for ever.
func (w *works) overfull(f flight, reason error) error {
	_, err := w.cfg.Store.Update(w.ctx, f.id, func(old *instances.Instance) (*instances.Instance, error) {
		if old == nil || old.Status.Final() || f.execution != "" && old.Execution != f.execution {
			return nil, instances.ErrKeep
		}
		t := newTurn(old, w.cfg.Clock.Now().UTC())
		t.tooLarge(reason)
		t.i.Inbox = nil
		return t.i, nil
	})
	if err == nil {
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

func (w *works) timer(id int, task *instances.Task) (instances.Event, bool) {
	timer := w.cfg.Clock.NewTimer(task.FireAt.Sub(w.cfg.Clock.Now()))
	defer timer.Stop()
	select {
	case <-timer.C():
		return instances.Event{EventType: instances.TimerFired, TimerId: &id, FireAt: &task.FireAt}, true
	case <-w.ctx.Done():
		return instances.Event{}, false
	}
}

func (w *works) activity(i *instances.Instance, id int, task *instances.Task) (instances.Event, bool) {
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	case <-w.ctx.Done():
		return instances.Event{}, false
	}
	for {
		input := unpacked(task.Input)
		res, err := w.cfg.Invoke.Invoke(w.ctx, task.Name, trigger.Call{
			Input: input, NoRetry: true, Metadata: map[string]any{"instanceId": i.ID, "data": input},
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
func (w *works) child(i *instances.Instance, id int, task *instances.Task) {
	parent := &instances.Parent{ID: i.ID, Task: id}
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
		v := failure(id, "Orchestrator function '"+task.Name+"'", err.Error())
		v.EventType = instances.ChildFailed
		w.deliver(flight{i.ID, i.Execution, id}, v)
	case err != nil:
		w.later(i.ID)
	case have.Status.Final():
		w.deliver(flight{i.ID, i.Execution, id}, ended(have))
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
