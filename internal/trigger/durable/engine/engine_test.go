package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/filestore"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/worker"
)

// app is the functions of an app, in place of a worker.
type app struct {
	mu         sync.Mutex
	activities map[string]func(input string) (string, error)
	// orchestrators answer with actions, given what has happened.
	orchestrators map[string]func(h *history) string
	ran           map[string]int
}

// history is what an orchestrator sees.
type history struct {
	Events   []instances.Event `json:"history"`
	Input    json.RawMessage   `json:"input"`
	ID       string            `json:"instanceId"`
	Replays  bool              `json:"isReplaying"`
	ParentID *string           `json:"parentInstanceId"`
}

// done gives the result of a task; ok is false while there is none.
func (h *history) done(id int) (result string, ok bool) {
	for _, v := range h.Events {
		if task, ends := v.Task(); ends && task == id {
			switch {
			case v.Result != nil:
				return *v.Result, true
			case v.Details != nil:
				return "failed " + *v.Details, true
			}
			return "fired", true
		}
	}
	return "", false
}

func (h *history) raised(name string) []string {
	var inputs []string
	for _, v := range h.Events {
		if v.EventType == instances.EventRaised && v.Name == name {
			inputs = append(inputs, *v.Input)
		}
	}
	return inputs
}

func (a *app) Invoke(ctx context.Context, function string, c trigger.Call) (*worker.Result, error) {
	input := c.Input.(json.RawMessage)
	a.mu.Lock()
	a.ran[function]++
	activity, orchestrator := a.activities[function], a.orchestrators[function]
	a.mu.Unlock()
	switch {
	case activity != nil:
		out, err := activity(string(input))
		if err != nil {
			return nil, err
		}
		return &worker.Result{Return: json.RawMessage(out)}, nil
	case orchestrator != nil:
		var h history
		if err := json.Unmarshal(input, &h); err != nil {
			return nil, err
		}
		out := orchestrator(&h)
		if strings.Contains(out, failureMark) {
			return nil, errors.New(out)
		}
		return &worker.Result{Return: json.RawMessage(out)}, nil
	}
	return nil, fmt.Errorf("%w: %w", trigger.ErrNotRun, problem.New(problem.NotFound, "no function "+function))
}

func (a *app) count(function string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ran[function]
}

type bench struct {
	*Engine
	app   *app
	clock *clock.Manual
	stop  func()
}

// begin runs an engine over a folder until stop.
func begin(t *testing.T, dir string, a *app, c *clock.Manual) *bench {
	t.Helper()
	e := New(Config{Store: filestore.New(dir), Invoke: a, Clock: c, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	b := &bench{e, a, c, sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(b.stop)
	for e.mu.Lock(); !e.driving; e.mu.Lock() {
		e.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	e.mu.Unlock()
	return b
}

func newApp() *app {
	return &app{ran: map[string]int{}, activities: map[string]func(string) (string, error){}, orchestrators: map[string]func(*history) string{}}
}

func newBench(t *testing.T, a *app) *bench {
	t.Helper()
	return begin(t, t.TempDir(), a, clock.NewManual(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)))
}

func (b *bench) run(t *testing.T, id, name, input string) *instances.Instance {
	t.Helper()
	if _, err := b.Start(t.Context(), id, name, "", json.RawMessage(input)); err != nil {
		t.Fatal(err)
	}
	return b.await(t, id, func(i *instances.Instance) bool { return i.Status.Final() })
}

// await waits until an instance is as wanted.
func (b *bench) await(t *testing.T, id string, want func(*instances.Instance) bool) *instances.Instance {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		i, err := b.Get(t.Context(), id)
		if err == nil && want(i) {
			return i
		}
		if time.Now().After(deadline) {
			t.Fatalf("instance %s: %s %.500s, %v", id, i.Status, i.Output, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func call(name, input string) string {
	return fmt.Sprintf(`{"actionType":0,"functionName":%q,"input":%s}`, name, input)
}

func state(done bool, output string, actions ...string) string {
	return fmt.Sprintf(`{"isDone":%t,"output":%s,"actions":[[%s]]}`, done, output, strings.Join(actions, ","))
}

// sequence calls an activity with each input, one after the other.
func sequence(inputs ...string) func(*history) string {
	return func(h *history) string {
		var actions, results []string
		for n, in := range inputs {
			actions = append(actions, call("hello", in))
			r, ok := h.done(n)
			if !ok {
				return state(false, "null", actions...)
			}
			results = append(results, r)
		}
		return state(true, "["+strings.Join(results, ",")+"]", actions...)
	}
}

func greet(in string) (string, error) { return `"Hello ` + strings.Trim(in, `"`) + `"`, nil }

func TestActivitiesRunOneAfterTheOther(t *testing.T) {
	a := newApp()
	a.activities["hello"], a.orchestrators["cities"] = greet, sequence(`"Tokyo"`, `"\"Seattle\""`, `"London"`)
	i := newBench(t, a).run(t, "one", "cities", `null`)
	if i.Status != instances.Completed || string(i.Output) != `["Hello Tokyo","Hello Seattle","Hello London"]` {
		t.Errorf("%s %s", i.Status, i.Output)
	}
	if n := a.count("hello"); n != 3 {
		t.Errorf("%d activities ran, want 3", n)
	}
}

func TestManyActivitiesRunAtOnce(t *testing.T) {
	const n = 50
	a := newApp()
	a.activities["hello"] = greet
	a.orchestrators["fan"] = func(h *history) string {
		var calls []string
		done := 0
		for i := range n {
			calls = append(calls, call("hello", fmt.Sprint(i)))
			if _, ok := h.done(i); ok {
				done++
			}
		}
		return state(done == n, fmt.Sprint(done), `{"actionType":12,"compoundActions":[`+strings.Join(calls, ",")+`]}`)
	}
	if i := newBench(t, a).run(t, "one", "fan", `1`); string(i.Output) != fmt.Sprint(n) || a.count("hello") != n {
		t.Errorf("%s %s, %d activities", i.Status, i.Output, a.count("hello"))
	}
}

func TestATimerFiresWhenItIsDue(t *testing.T) {
	a := newApp()
	a.orchestrators["timer"] = func(h *history) string {
		_, ok := h.done(0)
		return state(ok, `"late"`, `{"actionType":5,"fireAt":"2026-11-20T11:00:00Z"}`)
	}
	b := newBench(t, a)
	if _, err := b.Start(t.Context(), "one", "timer", "", nil); err != nil {
		t.Fatal(err)
	}
	b.await(t, "one", func(i *instances.Instance) bool { return len(i.Tasks) == 1 })
	if err := b.clock.AwaitTimers(t.Context(), 2); err != nil { // its own and the look at all
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	if i := b.await(t, "one", func(i *instances.Instance) bool { return i.Status.Final() }); string(i.Output) != `"late"` {
		t.Errorf("output %s", i.Output)
	}
}

func TestFailedTasksAreTriedAgain(t *testing.T) {
	for attempts, want := range map[int]instances.Status{3: instances.Completed, 2: instances.Failed} {
		t.Run(fmt.Sprint(attempts), func(t *testing.T) {
			a, tries := newApp(), 0
			a.activities["hello"] = func(string) (string, error) {
				if tries++; tries < 3 {
					return "", errors.New("not yet")
				}
				return `"ok"`, nil
			}
			a.orchestrators["retry"] = func(h *history) string {
				act := fmt.Sprintf(`{"actionType":1,"functionName":"hello","input":"x","retryOptions":{"firstRetryIntervalInMilliseconds":1000,"maxNumberOfAttempts":%d}}`, attempts)
				for id := 0; id <= 4; id += 2 { // timers have the odd ids
					if r, ok := h.done(id); ok && !strings.HasPrefix(r, "failed") {
						return state(true, r, act)
					}
				}
				if _, ok := h.done(3); ok && attempts == 2 {
					return `Error: x` + failureMark + `{"isDone":false,"actions":[[` + act + `]],"error":"gave up"}` + "\n at stack"
				}
				return state(false, "null", act)
			}
			b := newBench(t, a)
			if _, err := b.Start(t.Context(), "one", "retry", "", nil); err != nil {
				t.Fatal(err)
			}
			i := b.await(t, "one", func(i *instances.Instance) bool { b.clock.Advance(time.Second); return i.Status.Final() })
			if i.Status != want {
				t.Errorf("%s %s, want %s", i.Status, i.Output, want)
			}
			if n := a.count("hello"); n != attempts {
				t.Errorf("%d attempts, want %d", n, attempts)
			}
		})
	}
}

// approval waits for the event go.
func approval(h *history) string {
	got := h.raised("go")
	if len(got) == 0 {
		return state(false, "null", `{"actionType":6,"externalEventName":"go"}`)
	}
	return state(true, got[0], `{"actionType":6,"externalEventName":"go"}`)
}

func TestEventsControlAnInstance(t *testing.T) {
	a := newApp()
	a.orchestrators["approval"] = approval
	b := newBench(t, a)
	waits := func(i *instances.Instance) bool { return i.Status == instances.Running && len(i.History) > 2 }
	for _, id := range []string{"raised", "ended", "paused"} {
		if _, err := b.Start(t.Context(), id, "approval", "", nil); err != nil {
			t.Fatal(err)
		}
		b.await(t, id, waits)
	}
	if _, err := b.Start(t.Context(), "paused", "approval", "", nil); !errors.Is(err, problem.Exists) {
		t.Errorf("starting one that runs: %v", err)
	}
	if err := b.Raise(t.Context(), "raised", "go", json.RawMessage(`{"a":1}`)); err != nil {
		t.Error(err)
	}
	if i := b.await(t, "raised", func(i *instances.Instance) bool { return i.Status.Final() }); string(i.Output) != `{"a":1}` {
		t.Errorf("raised: %s", i.Output)
	}
	if err := b.Raise(t.Context(), "raised", "go", json.RawMessage(`1`)); !errors.Is(err, ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
	if err := b.Terminate(t.Context(), "ended", "enough"); err != nil {
		t.Error(err)
	}
	if i := b.await(t, "ended", func(i *instances.Instance) bool { return i.Status.Final() }); i.Status != instances.Terminated || string(i.Output) != `"enough"` {
		t.Errorf("terminated: %s %s", i.Status, i.Output)
	}
	if err := b.Suspend(t.Context(), "paused", "wait"); err != nil {
		t.Error(err)
	}
	b.await(t, "paused", func(i *instances.Instance) bool { return i.Status == instances.Suspended })
	if err := b.Raise(t.Context(), "paused", "go", json.RawMessage(`2`)); err != nil {
		t.Error(err)
	}
	if err := b.Resume(t.Context(), "paused", ""); err != nil {
		t.Error(err)
	}
	if i := b.await(t, "paused", func(i *instances.Instance) bool { return i.Status.Final() }); string(i.Output) != `2` {
		t.Errorf("paused: %s", i.Output)
	}
	if err := b.Raise(t.Context(), "nobody", "go", nil); !errors.Is(err, problem.NotFound) {
		t.Errorf("unknown instance: %v", err)
	}
}

func TestOrchestrationsStartOthersAndThemselvesAnew(t *testing.T) {
	a := newApp()
	a.orchestrators["parent"] = func(h *history) string {
		r, ok := h.done(0)
		if !ok {
			r = "null"
		}
		return state(ok, r, `{"actionType":2,"functionName":"loop","input":0}`)
	}
	a.orchestrators["loop"] = func(h *history) string {
		if string(h.Input) == "3" {
			return state(true, `"child `+*h.ParentID+`"`)
		}
		next := map[string]string{"0": "1", "1": "2", "2": "3"}[string(h.Input)]
		return state(true, "null", `{"actionType":4,"input":`+next+`}`)
	}
	if i := newBench(t, a).run(t, "p", "parent", `null`); string(i.Output) != `"child p"` {
		t.Errorf("%s %s", i.Status, i.Output)
	}
	if n := a.count("loop"); n != 4 {
		t.Errorf("the child ran %d times, want 4", n)
	}
}

func TestWhatIsInProgressGoesOnAfterARestart(t *testing.T) {
	dir, c, a := t.TempDir(), clock.NewManual(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)), newApp()
	started, hold := make(chan struct{}, 8), make(chan struct{})
	a.activities["hello"] = func(in string) (string, error) {
		if in == `2` {
			started <- struct{}{}
			<-hold
		}
		return in, nil
	}
	a.orchestrators["cities"] = sequence(`1`, `2`, `3`)
	b := begin(t, dir, a, c)
	if _, err := b.Start(t.Context(), "one", "cities", "", nil); err != nil {
		t.Fatal(err)
	}
	<-started
	go func() { time.Sleep(10 * time.Millisecond); close(hold) }()
	b.stop() // its result is lost
	b = begin(t, dir, a, c)
	if i := b.await(t, "one", func(i *instances.Instance) bool { return i.Status.Final() }); string(i.Output) != `[1,2,3]` {
		t.Errorf("%s %s", i.Status, i.Output)
	}
	if n := a.count("hello"); n != 4 {
		t.Errorf("%d activities ran, want 4: only the one that was cut off twice", n)
	}
}

func TestAFailedInstanceIsRewound(t *testing.T) {
	a, broken := newApp(), true
	a.activities["hello"] = func(in string) (string, error) {
		if in == `2` && broken {
			return "", errors.New("down")
		}
		return in, nil
	}
	inner := sequence(`1`, `2`, `3`)
	a.orchestrators["cities"] = func(h *history) string {
		if r, _ := h.done(1); strings.HasPrefix(r, "failed") {
			return "Error: " + failureMark + `{"isDone":false,"actions":[[` + call("hello", "1") + "," + call("hello", "2") + `]],"error":"down"}`
		}
		return inner(h)
	}
	b := newBench(t, a)
	if i := b.run(t, "one", "cities", `null`); i.Status != instances.Failed || !strings.Contains(string(i.Output), "down") {
		t.Fatalf("%s %s", i.Status, i.Output)
	}
	broken = false
	if err := b.Rewind(t.Context(), "one", ""); err != nil {
		t.Fatal(err)
	}
	if i := b.await(t, "one", func(i *instances.Instance) bool { return i.Status.Final() }); string(i.Output) != `[1,2,3]` {
		t.Errorf("%s %s", i.Status, i.Output)
	}
	if n := a.count("hello"); n != 4 {
		t.Errorf("%d activities ran, want 4: the one that had succeeded is not done again", n)
	}
	if err := b.Rewind(t.Context(), "one", ""); !errors.Is(err, problem.Conflict) {
		t.Errorf("rewinding one that succeeded: %v", err)
	}
}

func TestWhatFailsAnInstance(t *testing.T) {
	a := newApp()
	a.orchestrators["entity"] = func(*history) string { return state(false, "null", `{"actionType":7}`) }
	a.orchestrators["nonsense"] = func(*history) string { return `7` }
	a.orchestrators["missing"] = func(h *history) string { r, ok := h.done(0); return state(ok, fmt.Sprintf("%q", r), call("gone", "1")) }
	a.activities["big"] = func(string) (string, error) { return `"` + strings.Repeat("x", instances.MaxBytes) + `"`, nil }
	a.orchestrators["large"] = func(h *history) string { r, ok := h.done(0); return state(ok, fmt.Sprintf("%q", r), call("big", "1")) }
	b := newBench(t, a)
	for name, want := range map[string]string{
		"entity": "which this host does not have", "nonsense": "not that of an orchestrator", "nobody": "no function nobody",
		"missing": "no function gone", "large": "larger than 900 KiB",
	} {
		if i := b.run(t, name, name, `null`); !strings.Contains(string(i.Output), want) {
			t.Errorf("%s: %s %s, want %q", name, i.Status, i.Output, want)
		}
	}
}

func TestInstancesAreListedAndPurged(t *testing.T) {
	a := newApp()
	a.orchestrators["approval"], a.orchestrators["done"] = approval, func(*history) string { return state(true, "1") }
	b := newBench(t, a)
	for n := range 5 {
		b.run(t, fmt.Sprintf("d%d", n), "done", `null`)
	}
	if _, err := b.Start(t.Context(), "w", "approval", "", nil); err != nil {
		t.Fatal(err)
	}
	list, more, err := b.List(t.Context(), instances.Query{Prefix: "d"}, "d0", 2)
	if err != nil || len(list) != 2 || list[0].ID != "d1" || !more {
		t.Errorf("%v, %t, %v", list, more, err)
	}
	if err := b.Purge(t.Context(), "w"); !errors.Is(err, problem.Conflict) {
		t.Errorf("purging one that runs: %v", err)
	}
	if n, err := b.PurgeAll(t.Context(), instances.Query{}); n != 5 || err != nil {
		t.Errorf("%d purged, %v", n, err)
	}
	if err := b.Purge(t.Context(), "d0"); !errors.Is(err, problem.NotFound) {
		t.Errorf("purging one that is gone: %v", err)
	}
}

func TestTasksNamedTwiceAreDoneOnce(t *testing.T) {
	a := newApp()
	a.activities["hello"] = func(in string) (string, error) { return in, nil }
	a.orchestrators["any"] = func(h *history) string {
		all := []string{call("hello", "0"), call("hello", "1")}
		actions := []string{`{"actionType":11,"compoundActions":[` + strings.Join(all, ",") + `]}`}
		var first = -1
		for _, v := range h.Events {
			if id, ends := v.Task(); ends {
				if first >= 0 {
					return state(true, fmt.Sprintf("[%d,%d]", first, id), append(actions, `{"actionType":11,"compoundActions":[`+all[1-first]+`]}`)...)
				}
				first = id
			}
		}
		if first >= 0 {
			actions = append(actions, `{"actionType":11,"compoundActions":[`+all[1-first]+`]}`)
		}
		return state(false, "null", actions...)
	}
	b := newBench(t, a)
	if i := b.run(t, "one", "any", `null`); i.Status != instances.Completed || i.NextID != 2 || a.count("hello") != 2 {
		t.Errorf("%s %s, %d ids, %d runs", i.Status, i.Output, i.NextID, a.count("hello"))
	}
}
