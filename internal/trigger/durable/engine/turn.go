package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/worker"
)

// retryTurn is the wait before a turn that could not be done is tried again.
const retryTurn = 5 * time.Second

// work takes an instance as far as it goes.
func (w *works) work(id string) {
	for w.ctx.Err() == nil {
		more, err := w.step(id)
		if err != nil && w.ctx.Err() == nil {
			w.cfg.Log.Warn("an orchestration does not go on; trying again", "instance", id, "reason", err)
			w.later(id)
		}
		if !more || err != nil {
			return
		}
	}
}

// later has an instance looked at again after a while.
func (w *works) later(id string) {
	w.timers.set(flight{id: id}, w.cfg.Clock.Now().Add(retryTurn), func() { w.nudge(id) })
}

// step does one turn of an instance; more says that there may be another.
func (w *works) step(id string) (more bool, err error) {
	i, err := w.cfg.Store.Get(w.ctx, id)
	if err != nil {
		if errors.Is(err, problem.NotFound) {
			err = nil
		}
		return false, err
	}
	if i.Status.Final() {
		return false, w.report(i)
	}
	t := newTurn(i, w.cfg.Clock.Now().UTC())
	switch {
	case t.controls():
	case i.Status == instances.Suspended || !t.due():
		w.launch(i)
		return false, nil
	default:
		if err := w.ask(t); err != nil {
			return false, err
		}
	}
	if err := w.save(t); err != nil {
		return false, err
	}
	w.release(t)
	w.tell()
	return true, nil
}

// ask shows the orchestrator its history and takes down what it wants.
func (w *works) ask(t *turn) error {
	t.begin()
	payload, err := t.payload()
	if err != nil {
		return err
	}
	res, err := w.cfg.Invoke.Invoke(w.ctx, t.i.Name, trigger.Call{
		Input: json.RawMessage(payload), NoRetry: true,
		Metadata: map[string]any{"instanceId": t.i.ID},
	})
	switch {
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	case errors.Is(err, trigger.ErrNotRun) && !errors.Is(err, problem.NotFound):
		return err
	}
	t.end(res, err)
	return nil
}

// save writes a turn, unless somebody else has changed the instance's history.
func (w *works) save(t *turn) error {
	keep := func(old *instances.Instance) (*instances.Instance, error) {
		if old == nil || old.Status.Final() || old.Execution != t.was.Execution || len(old.History) != len(t.was.History) {
			return nil, instances.ErrKeep
		}
		i := *t.i
		i.Inbox = append(slices.Clone(t.rest), old.Inbox[min(len(t.was.Inbox), len(old.Inbox)):]...)
		return &i, nil
	}
	_, err := w.cfg.Store.Update(w.ctx, t.was.ID, keep)
	if errors.Is(err, problem.TooLarge) {
		t.tooLarge(err)
		_, err = w.cfg.Store.Update(w.ctx, t.was.ID, keep)
	}
	return err
}

// turn is one look of the orchestrator at an instance.
type turn struct {
	was  *instances.Instance // as it was read
	i    *instances.Instance // as it becomes
	rest []instances.Event   // of its inbox, for later
	now  time.Time
	// had is how much of the history the orchestrator saw before.
	had int
}

func newTurn(i *instances.Instance, now time.Time) *turn {
	c := *i
	c.History, c.Tasks, c.Assigned = slices.Clone(i.History), maps.Clone(i.Tasks), slices.Clone(i.Assigned)
	if c.Tasks == nil {
		c.Tasks = map[int]instances.Task{}
	}
	c.Updated = now
	return &turn{was: i, i: &c, rest: slices.Clone(i.Inbox), now: now, had: len(i.History)}
}

// controls obeys what was told from outside: to end, to wait, to go on. It reports
// whether there was any of it.
func (t *turn) controls() bool {
	found := false
	t.rest = slices.DeleteFunc(t.rest, func(v instances.Event) bool {
		switch v.EventType {
		case instances.ExecutionTerminated:
			t.add(v)
			if !t.i.Status.Final() {
				t.finish(instances.Terminated, json.RawMessage(*v.Input))
			}
		case instances.ExecutionSuspended, instances.ExecutionResumed:
			t.suspend(v)
		default:
			return false
		}
		found = true
		return true
	})
	if t.i.Status.Final() {
		t.rest = nil
	}
	return found
}

func (t *turn) suspend(v instances.Event) {
	if t.i.Status.Final() {
		return
	}
	t.i.Status = instances.Suspended
	if v.EventType == instances.ExecutionResumed {
		t.i.Status = instances.Running
	}
	if len(t.was.History) > 0 { // an orchestrator's first turn has its own beginning
		t.add(v)
	}
}

// due reports whether there is anything to show to the orchestrator.
func (t *turn) due() bool { return len(t.i.History) == 0 || len(t.rest) > 0 }

func (t *turn) add(v instances.Event) {
	v.Timestamp = t.now
	t.i.History = append(t.i.History, v)
}

// begin adds what happened to the history: to begin with the start alone, then one
// event or all that wait.
func (t *turn) begin() {
	t.i.Before = &instances.Mark{
		History: len(t.was.History), NextID: t.was.NextID, Assigned: len(t.was.Assigned), Tasks: t.was.Tasks,
	}
	t.add(instances.Event{EventType: instances.OrchestratorStarted, EventId: -1})
	if t.had == 0 {
		t.i.Status = instances.Running
		t.add(instances.Event{
			EventType: instances.ExecutionStarted, EventId: -1, Name: t.i.Name, InstanceId: t.i.ID, Version: t.i.Version,
			Input: instances.Text(string(orNull(t.i.Input))),
		})
		return
	}
	n := len(t.rest)
	if t.i.Single {
		n = 1
	}
	t.i.Before.Inbox = t.rest[:n]
	for _, v := range t.rest[:n] {
		t.take(v)
	}
	t.rest = t.rest[n:]
}

// take adds what happened, unless it is about a task that is not in progress.
func (t *turn) take(v instances.Event) {
	id, ends := v.Task()
	task, open := t.i.Tasks[id]
	if ends && !open {
		return
	}
	v.EventId = -1
	t.add(v)
	if !ends {
		return
	}
	delete(t.i.Tasks, id)
	failed := v.EventType == instances.TaskFailed || v.EventType == instances.ChildFailed
	switch {
	case failed && task.Retry != nil:
		next := task
		next.Attempt++
		t.schedule(instances.Task{Kind: instances.Timer, FireAt: t.now.Add(retryDelay(&task)), Again: &next})
	case task.Again != nil && task.Again.Attempt <= task.Again.Retry.Attempts:
		t.schedule(*task.Again)
	}
}

// retryDelay is the wait before a task that failed is tried again.
func retryDelay(t *instances.Task) time.Duration {
	ms := t.Retry.First
	for n := 1; n < t.Attempt && t.Retry.Backoff > 1 && ms < maxDelay; n++ {
		ms *= t.Retry.Backoff
	}
	if t.Retry.Most > 0 {
		ms = min(ms, t.Retry.Most)
	}
	return time.Duration(min(max(ms, 1), maxDelay)) * time.Millisecond
}

const maxDelay = float64(6 * 24 * time.Hour / time.Millisecond)

// schedule makes a task with the next id.
func (t *turn) schedule(task instances.Task) int {
	id := t.i.NextID
	t.i.NextID++
	v := instances.Event{EventType: instances.TaskScheduled, EventId: id, Name: task.Name}
	switch task.Kind {
	case instances.Timer:
		v.EventType, v.FireAt = instances.TimerCreated, &task.FireAt
	case instances.Child:
		if task.Instance == "" || task.Attempt > 1 {
			task.Instance = fmt.Sprintf("%s:%04x", t.i.Execution, id)
		}
		v.EventType, v.InstanceId, v.Version = instances.ChildCreated, task.Instance, task.Version
		v.Input = instances.Text(string(orNull(task.Input)))
	case instances.Activity:
		v.Input = instances.Text(string(orNull(task.Input)))
	}
	t.i.Tasks[id] = task
	t.add(v)
	return id
}

// payload is the orchestrator's input.
func (t *turn) payload() ([]byte, error) {
	history := slices.Clone(t.i.History)
	for n := range history[:t.had] {
		history[n].IsPlayed = true
	}
	var parent *string
	if t.i.Parent != nil {
		parent = &t.i.Parent.ID
	}
	return json.Marshal(map[string]any{
		"history": history, "input": orNull(t.i.Input), "instanceId": t.i.ID, "isReplaying": t.had > 0,
		"parentInstanceId": parent, "upperSchemaVersion": schema, "upperSchemaVersionNew": schema,
		"longRunningTimerIntervalDuration": "3.00:00:00", "maximumShortTimerDuration": "6.00:00:00",
		"defaultHttpAsyncRequestSleepTimeMillseconds": 30000,
	})
}

// schema is the second version of replay: actions of several tasks are nested, and
// timers may be of any length.
const schema = 1

func orNull(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("null")
	}
	return v
}

// end takes down what the orchestrator answered.
func (t *turn) end(res *worker.Result, err error) {
	a := new(answer)
	if err != nil {
		if a = failedAnswer(err.Error()); a == nil {
			a = &answer{Error: err.Error()}
		}
	} else if res == nil || json.Unmarshal(orNull(res.Return), a) != nil || res.Return == nil {
		a.Error = "the function's answer is not that of an orchestrator"
	}
	if len(a.CustomStatus) > 0 {
		t.i.CustomStatus = a.CustomStatus
	}
	if a.Error == "" && err != nil {
		a.Error = "the orchestrator failed"
	}
	t.obey(a)
}

func (t *turn) obey(a *answer) {
	steps := flatten(a)
	err := t.assign(steps)
	t.i.Single = t.i.Single || careful(a)
	t.add(instances.Event{EventType: instances.OrchestratorEnded, EventId: -1})
	last := len(steps) - 1
	switch {
	case a.Error != "":
		t.fail("Orchestrator function '" + t.i.Name + "' failed: " + a.Error)
	case err != nil:
		t.fail("Orchestrator function '" + t.i.Name + "' failed: " + err.Error())
	case a.IsDone && last >= 0 && steps[last].Type == continueAsNew:
		t.startOver(steps)
	case a.IsDone:
		t.finish(instances.Completed, orNull(a.Output))
	}
}

// assign gives ids to what the orchestrator asks for and has none yet.
func (t *turn) assign(steps []step) error {
	if len(steps) < len(t.i.Assigned) {
		return problem.New(problem.Invalid, "the orchestrator asked for less than before: its code is not deterministic, or has changed")
	}
	fresh := len(t.i.Assigned)
	for n := range steps {
		s := &steps[n]
		if n < fresh {
			if s.Type == createTimer && s.Canceled && t.i.Assigned[n] >= 0 {
				delete(t.i.Tasks, t.i.Assigned[n])
			}
			continue
		}
		task, asks, err := s.task()
		if err != nil {
			return err
		}
		id := -1
		if asks {
			if id = t.same(steps[fresh:n], fresh, s, &task); id < 0 {
				id = t.schedule(task)
			}
		}
		t.i.Assigned = append(t.i.Assigned, id)
	}
	return nil
}

// same finds the task in progress that an action, as a part of several, names once
// more; -1 when there is none. Actions have no identity, so that it goes by what
// they ask for. before are the actions that got their ids in this turn.
func (t *turn) same(before []step, fresh int, s *step, want *instances.Task) int {
	if !s.inside {
		return -1
	}
	for n, id := range t.i.Assigned {
		task, open := t.i.Tasks[id]
		if open && n < fresh && likeTask(&task, want) && !t.taken(before, fresh, s.top, id) {
			return id
		}
	}
	return -1
}

// taken reports whether another part of the same action has the id already.
func (t *turn) taken(before []step, fresh, top, id int) bool {
	for n := range before {
		if before[n].top == top && t.i.Assigned[fresh+n] == id {
			return true
		}
	}
	return false
}

func likeTask(a, b *instances.Task) bool {
	if a.Kind == instances.Timer {
		return b.Kind == instances.Timer && a.FireAt.Equal(b.FireAt)
	}
	return a.Kind == b.Kind && a.Name == b.Name && string(a.Input) == string(b.Input) && (b.Instance == "" || a.Instance == b.Instance)
}

func (t *turn) fail(text string) {
	out, err := json.Marshal(text)
	if err != nil { // a string always can be
		out = json.RawMessage(`"failed"`)
	}
	t.finish(instances.Failed, out)
}

func (t *turn) finish(s instances.Status, output json.RawMessage) {
	t.i.Status, t.i.Output, t.i.Tasks = s, output, nil
	t.add(instances.Event{EventType: instances.ExecutionCompleted, EventId: t.i.NextID, Result: instances.Text(string(output))})
	t.rest = nil
	if s != instances.Failed {
		t.i.Before = nil
	}
}

// tooLarge fails an instance that cannot be kept as it became.
func (t *turn) tooLarge(err error) {
	now := t.now
	*t = *newTurn(t.was, now)
	text := err.Error()
	if next := problem.NextOf(err); next != "" {
		text += "; " + next
	}
	t.i.History, t.i.Before = t.i.History[:min(len(t.i.History), 2)], nil
	t.fail("Orchestrator function '" + t.i.Name + "' failed: " + text)
}

// startOver begins the orchestration anew with the input that it gave last. Events
// that nobody waited for stay.
func (t *turn) startOver(steps []step) {
	waited := map[string]int{}
	for n := range steps {
		if steps[n].Type == waitForEvent {
			waited[steps[n].Event]++
		}
	}
	var kept []instances.Event
	for _, v := range t.i.History {
		if v.EventType == instances.EventRaised {
			if waited[v.Name]--; waited[v.Name] < 0 {
				kept = append(kept, v)
			}
		}
	}
	for _, v := range t.rest { // of tasks that there are no more
		if v.EventType == instances.EventRaised {
			kept = append(kept, v)
		}
	}
	t.rest = kept
	i := t.i
	i.Execution, i.Input = newID(), unpacked(steps[len(steps)-1].Input)
	i.History, i.Tasks, i.Assigned, i.NextID, i.Single, i.Before = nil, nil, nil, 0, false, nil
}
