package instance

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// fakeSource is a trigger that fires when a test says so, and an output that
// writes down what it gets.
type fakeSource struct {
	journal *journal
	setups  chan *trigger.Setup // of listeners that started
	fail    chan error          // for the next start; empty: it succeeds
}

func (s *fakeSource) Type() string                         { return "fakeTrigger" }
func (s *fakeSource) Check(*trigger.Setup) []funcapp.Fault { return nil }
func (s *fakeSource) Listener(setup *trigger.Setup) (trigger.Listener, error) {
	return &fakeListener{s, setup}, nil
}

type fakeListener struct {
	*fakeSource
	setup *trigger.Setup
}

func (l *fakeListener) Start(context.Context) error {
	select {
	case err := <-l.fail:
		return err
	default:
	}
	l.journal.add("listen %s", l.setup.Function.Name)
	l.setups <- l.setup
	return nil
}

func (l *fakeListener) Stop(context.Context) { l.journal.add("deaf %s", l.setup.Function.Name) }

type fakeSink struct{ *fakeSource }

func (s fakeSink) Type() string                                  { return "fake" }
func (s fakeSink) Output(*trigger.Setup) (trigger.Output, error) { return s, nil }
func (s fakeSink) Send(_ context.Context, inv *worker.Invocation, value json.RawMessage, b []byte) error {
	s.journal.add("sent %s%s by %s", value, b, inv.Function.Name)
	return nil
}

// listening is an environment whose app has a function with a fake trigger.
func listening(t *testing.T, host string, change ...func(*Config)) (*env, *fakeSource) {
	s := &fakeSource{setups: make(chan *trigger.Setup, 10), fail: make(chan error, 10)}
	e := newEnv(t, append(change, func(c *Config) {
		c.Triggers.Kinds = trigger.Kinds{Sources: []trigger.Source{s}, Sinks: []trigger.Sink{fakeSink{s}}}
	})...)
	s.journal = e.journal
	e.write("host.json", host)
	e.write("Ear/function.json", `{"bindings": [{"type": "fakeTrigger", "name": "in"}, {"type": "fake", "direction": "out", "name": "out"}]}`)
	e.write("Off/function.json", `{"disabled": true, "bindings": [{"type": "fakeTrigger", "name": "in"}]}`)
	return e, s
}

func (e *env) setup(s *fakeSource) *trigger.Setup {
	e.t.Helper()
	select {
	case setup := <-s.setups:
		return setup
	case <-e.ctx.Done():
		e.t.Fatalf("no listener starts: %q, %q", e.journal.list(), e.logs.list())
		return nil
	}
}

const retrying = `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}},
	"retry": {"strategy": "fixedDelay", "maxRetryCount": 2, "delayInterval": "00:00:13"}}`

func TestListenersFollowTheApp(t *testing.T) {
	e, s := listening(t, plainHost)
	e.run()
	e.setup(s)
	e.worker(1).end(worker.Exit{Code: 1}) // a crash leaves them alone
	e.serves(2)
	e.Restart("test")
	e.serves(3)
	e.setup(s)
	e.Drain()
	e.sawTimes("deaf Ear", 2)
	if err := e.Resume(); err != nil {
		t.Fatal(err)
	}
	e.serves(4)
	e.setup(s)
	e.cancel()
	e.ended()
	var got []string
	for _, entry := range e.journal.list() {
		if entry[:5] != "start" && entry[:4] != "stop" {
			got = append(got, entry)
		}
	}
	if diff := cmp.Diff([]string{"listen Ear", "deaf Ear", "listen Ear", "deaf Ear", "listen Ear", "deaf Ear"}, got); diff != "" {
		t.Error(diff)
	}
}

func (e *env) sawTimes(entry string, n int) {
	e.t.Helper()
	if !e.journal.await(e.ctx, entry, n) {
		e.t.Fatalf("not %d times %q: %q", n, entry, e.journal.list())
	}
}

func TestAListenerThatCannotStartIsTriedAgain(t *testing.T) {
	e, s := listening(t, plainHost)
	s.fail <- errors.New("no such place")
	e.run()
	e.serves(1)
	e.timer(listenFirst, 1)
	if got := e.Deaf("ear"); got != "no such place" {
		t.Errorf("the function's error is %q", got)
	}
	if e.Status().State != Running {
		t.Errorf("the app is %+v", e.Status())
	}
	e.clock.Advance(listenFirst)
	e.setup(s)
	for e.Deaf("ear") != "" && e.ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

func TestRetriesHaveOneIDAndHandOnTheirOutputs(t *testing.T) {
	var ran []Ran
	e, s := listening(t, retrying, func(c *Config) { c.Triggers.Done = func(r Ran) { ran = append(ran, r) } })
	var seen []*worker.Invocation
	e.next(func(w *fakeWorker) error {
		w.invoke = func(_ context.Context, inv *worker.Invocation) (*worker.Result, error) {
			if seen = append(seen, inv); len(seen) < 3 {
				return nil, problem.New(problem.Internal, "it failed")
			}
			return &worker.Result{Outputs: map[string]json.RawMessage{"out": json.RawMessage(`"x"`), "none": json.RawMessage(`1`)}}, nil
		}
		return nil
	})
	e.run()
	setup := e.setup(s)
	done := make(chan error)
	go func() {
		_, err := setup.Invoke(e.ctx, trigger.Call{Input: "hello", Metadata: map[string]any{"N": 1}})
		done <- err
	}()
	for n := range 2 {
		e.timer(13*time.Second, n+1)
		if e.Retries() != 1 || e.Outstanding() != 0 || e.Calls() != 1 {
			t.Errorf("%d retries, %d outstanding, %d calls", e.Retries(), e.Outstanding(), e.Calls())
		}
		e.clock.Advance(13 * time.Second)
	}
	if err := <-done; err != nil || len(seen) != 3 {
		t.Fatalf("%v after %d attempts", err, len(seen))
	}
	e.saw(`sent "x" by Ear`)
	for n, inv := range seen {
		if inv.ID != seen[0].ID || inv.RetryCount != n || inv.MaxRetries != 2 || !inv.HasRetry || inv.Input != "hello" || (inv.LastError != "") != (n > 0) {
			t.Errorf("attempt %d: %+v", n, inv)
		}
	}
	if len(ran) != 1 || ran[0].Attempts != 3 || ran[0].Err != nil || e.Retries()+e.Calls() != 0 {
		t.Errorf("told %+v", ran)
	}
}

func TestStoppingEndsRetries(t *testing.T) {
	e, s := listening(t, retrying)
	e.next(func(w *fakeWorker) error {
		w.invoke = func(context.Context, *worker.Invocation) (*worker.Result, error) { return nil, errors.New("it failed") }
		return nil
	})
	e.run()
	setup := e.setup(s)
	done := make(chan error)
	go func() {
		_, err := setup.Invoke(e.ctx, trigger.Call{})
		done <- err
	}()
	e.timer(13*time.Second, 1)
	e.cancel()
	if err := <-done; err == nil || errors.Is(err, trigger.ErrNotRun) {
		t.Errorf("the run ended with %v", err)
	}
	e.ended()
	if _, err := e.Invoke(e.ctx, "Ear", trigger.Call{}); !errors.Is(err, trigger.ErrNotRun) {
		t.Errorf("a call of a stopped app: %v", err)
	}
}

func TestAskedFunctionsGetNewIDsAndTheirText(t *testing.T) {
	e, s := listening(t, retrying)
	var ids []string
	e.next(func(w *fakeWorker) error {
		w.invoke = func(_ context.Context, inv *worker.Invocation) (*worker.Result, error) {
			ids = append(ids, inv.ID)
			if inv.Input != "text" || inv.KeyLevel != "Admin" {
				t.Errorf("invoked with %+v", inv)
			}
			return nil, errors.New("it failed")
		}
		return nil
	})
	e.run()
	e.setup(s)
	done := make(chan error)
	go func() { done <- e.Ask(e.ctx, "off", "text") }() // disabled, and for administrators there
	for n := range 2 {
		e.timer(13*time.Second, n+1)
		e.clock.Advance(13 * time.Second)
	}
	if err := <-done; err == nil || len(ids) != 3 || ids[0] == ids[1] || ids[1] == ids[2] {
		t.Errorf("%v, ids %q", err, ids)
	}
	if err := e.Ask(e.ctx, "nobody", ""); !errors.Is(err, trigger.ErrNotRun) {
		t.Errorf("an unknown function: %v", err)
	}
}
