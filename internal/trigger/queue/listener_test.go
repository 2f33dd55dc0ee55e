package queue_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/queue"
	"github.com/latchkey/latchkey/internal/worker"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// gate is a function whose runs wait until the test lets them go.
type gate struct {
	begun chan trigger.Call
	out   chan error
}

func newGate() *gate { return &gate{make(chan trigger.Call, 100), make(chan error)} }

func (g *gate) run(ctx context.Context, c trigger.Call) (*worker.Result, error) {
	g.begun <- c
	select {
	case err := <-g.out:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gate) await(t *testing.T) trigger.Call {
	t.Helper()
	select {
	case c := <-g.begun:
		return c
	case <-time.After(patience):
		t.Fatal("nothing ran")
		return trigger.Call{}
	}
}

func (g *gate) let(t *testing.T, err error) {
	t.Helper()
	select {
	case g.out <- err:
	case <-time.After(patience):
		t.Fatal("nothing waits")
	}
}

func gone(s []stored) bool { return len(s) == 0 }

// tick moves the clock in steps until something holds.
func tick(t *testing.T, c *clock.Manual, step time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
		c.Advance(step)
	}
	t.Fatal(what)
}

func TestTheLeaseIsRenewedAtHalfTimeWhileTheFunctionRuns(t *testing.T) {
	c := clock.NewManual(start)
	p, s := modelPlace(t, c)
	s.put("orders", "aGk=")
	g := newGate()
	p.start("orders", g.run)
	g.await(t)
	first := s.see("orders")[0]
	if !first.visible.Equal(start.Add(10 * time.Minute)) {
		t.Fatalf("out of sight until %s", first.visible)
	}
	for n := range 5 { // ten minutes' lease, function of half an hour
		if err := c.AwaitTimers(t.Context(), 3); err != nil { // the renewer, the poller and the measurer
			t.Fatal(err)
		}
		before := s.see("orders")[0].receipt
		c.Advance(5 * time.Minute)
		s.await(t, "not renewed", "orders", func(m []stored) bool {
			return m[0].receipt != before && m[0].visible.Equal(start.Add(time.Duration(n+3)*5*time.Minute))
		})
	}
	if m := s.see("orders")[0]; m.count != 1 || m.text != "aGk=" {
		t.Errorf("%+v", m)
	}
	g.let(t, nil)
	s.await(t, "not deleted with the latest receipt", "orders", gone)
	if len(g.begun) > 0 {
		t.Error("it ran twice")
	}
}

func TestNoMoreRunAtATimeThanBatchAndThreshold(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	p.options.BatchSize, p.options.NewBatchThreshold = 4, 2
	for range 40 {
		s.put("orders", "aGk=")
	}
	var now, most atomic.Int64
	g := newGate()
	p.start("orders", func(ctx context.Context, c trigger.Call) (*worker.Result, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		return g.run(ctx, c)
	})
	for range 4 {
		g.await(t)
	}
	for range 2 { // four run, two end, which leaves room for the next four
		g.let(t, nil)
	}
	for range 4 {
		g.await(t)
	}
	for range 38 {
		g.let(t, nil)
	}
	s.await(t, "not all done", "orders", gone)
	if most.Load() != 6 {
		t.Errorf("%d ran at a time, want 4 + 2", most.Load())
	}
}

func TestFailuresWaitForTheVisibilityTimeout(t *testing.T) {
	c := clock.NewManual(start)
	p, s := modelPlace(t, c)
	p.options.VisibilityTimeout, p.options.MaxDequeueCount = time.Minute, 2
	s.put("orders", "aGk=")
	g := newGate()
	p.start("orders", g.run)
	g.await(t)
	g.let(t, problem.New(problem.Internal, "no"))
	s.await(t, "not given back", "orders", func(m []stored) bool { return m[0].visible.Equal(start.Add(time.Minute)) })
	tick(t, c, 10*time.Second, "it does not run again", func() bool { return len(g.begun) > 0 })
	if at := c.Now().Sub(start); at < time.Minute {
		t.Errorf("it ran again after %s", at)
	}
	g.let(t, problem.New(problem.Internal, "no"))
	s.await(t, "no poison", "orders-poison", func(m []stored) bool { return len(m) == 1 && m[0].text == "aGk=" })
	s.await(t, "still there", "orders", gone)
}

func TestMessagesReceivedTooOftenDoNotRun(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	s.put("orders", "aGk=")
	s.change("orders", func(m *stored) { m.count = 5 })
	p.start("orders", func(context.Context, trigger.Call) (*worker.Result, error) { t.Error("it ran"); return nil, nil })
	s.await(t, "no poison", "orders-poison", func(m []stored) bool { return len(m) == 1 })
	s.await(t, "still there", "orders", gone)
	p.log.want(t, "poison", "received 6 times")
}

func TestPoisonQueuesHaveNoPoisonQueue(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	p.options.MaxDequeueCount = 1
	s.put("orders-poison", "aGk=")
	s.put("orders-poison", "eA==")
	s.change("orders-poison", func(m *stored) {
		if m.text == "eA==" {
			m.count = 1
		}
	})
	ran := make(chan struct{}, 8)
	stop := p.start("orders-poison", func(context.Context, trigger.Call) (*worker.Result, error) {
		ran <- struct{}{}
		return nil, errors.New("no")
	})
	receive(t, ran)
	p.log.want(t, "there is no poison queue", "dequeue_count=1")
	p.log.want(t, "there is no poison queue", "dequeue_count=2")
	stop()
	if len(s.see("orders-poison")) != 2 || len(s.see("orders-poison-poison")) != 0 || len(ran) > 0 {
		t.Error(s.see("orders-poison"))
	}
}

func TestALostLeaseIsToldAndNobodyElsesMessageIsTouched(t *testing.T) {
	for name, outcome := range map[string]error{"success": nil, "failure": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			p, s := modelPlace(t, clock.Real{})
			p.options.MaxDequeueCount = 1
			s.put("orders", "aGk=")
			g := newGate()
			p.start("orders", g.run)
			g.await(t)
			s.change("orders", func(m *stored) { m.receipt = "another's" })
			g.let(t, outcome)
			if outcome == nil {
				p.log.want(t, "no longer this host's")
				if m := s.see("orders"); len(m) != 1 || m[0].receipt != "another's" {
					t.Errorf("%+v", m)
				}
				return
			}
			s.await(t, "no poison", "orders-poison", func(m []stored) bool { return len(m) == 1 })
			p.log.want(t, "no longer this host's")
		})
	}
}

func TestALeaseLostWhileTheFunctionRuns(t *testing.T) {
	c := clock.NewManual(start)
	p, s := modelPlace(t, c)
	p.options.MaxDequeueCount = 1
	s.put("orders", "aGk=")
	g := newGate()
	p.start("orders", g.run)
	g.await(t)
	s.change("orders", func(m *stored) { m.receipt, m.visible = "another's", start.Add(time.Hour) })
	if err := c.AwaitTimers(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	c.Advance(5 * time.Minute)
	p.log.want(t, "no longer held")
	g.let(t, errors.New("no"))
	stopped := s.asked("GET orders")
	tick(t, c, time.Minute, "polling ended", func() bool { return s.asked("GET orders") > stopped+4 })
	if len(s.see("orders-poison")) > 0 || s.see("orders")[0].receipt != "another's" {
		t.Error("another's message was touched")
	}
}

func TestStopWaitsForWhatRunsAndGivesTheRestBack(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	s.put("orders", "aGk=")
	g := newGate()
	l := p.listener("orders", g)
	g.await(t)
	// The next batch is on its way when Stop is called.
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func(r *http.Request, done bool) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/messages") && done {
			once.Do(func() {
				close(asked)
				s.mu.Unlock()
				<-answer
				s.mu.Lock()
			})
		}
		return nil, nil
	}
	s.mu.Lock()
	s.fault = hold
	s.add("orders", "eA==")
	s.mu.Unlock()
	<-asked
	stopped, halting := make(chan struct{}), noticed{t.Context(), new(sync.Once), make(chan struct{})}
	go func() { l.Stop(halting); close(stopped) }()
	<-halting.asked
	close(answer)
	s.await(t, "not given back", "orders", func(m []stored) bool {
		return len(m) == 2 && !m[1].visible.After(time.Now()) && m[1].receipt != ""
	})
	select {
	case <-stopped:
		t.Fatal("Stop did not wait for the function")
	default:
	}
	g.let(t, nil)
	<-stopped
	if m := s.see("orders"); len(m) != 1 || m[0].text != "eA==" || len(g.begun) > 0 {
		t.Errorf("%+v", m)
	}
}

// noticed is a context that tells when somebody asks for its end, which Stop does
// once it takes no more messages.
type noticed struct {
	context.Context
	once  *sync.Once
	asked chan struct{}
}

func (n noticed) Done() <-chan struct{} {
	n.once.Do(func() { close(n.asked) })
	return n.Context.Done()
}

// listener gives a listener of a queue that has been started.
func (p *place) listener(name string, g *gate) trigger.Listener {
	p.t.Helper()
	src, _ := queue.Bindings(p.cfg)
	l, err := src.Listener(p.setup(name, g.run))
	if err == nil {
		err = l.Start(p.t.Context())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

func TestStopCancelsWhatRunsWhenItsTimeIsOver(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	p.options.MaxDequeueCount = 1
	s.put("orders", "aGk=")
	g := newGate()
	l := p.listener("orders", g)
	g.await(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	l.Stop(over)
	m := s.see("orders")
	if len(m) != 1 || m[0].visible.After(time.Now()) || len(s.see("orders-poison")) > 0 {
		t.Errorf("%+v", m)
	}
}

func TestMessagesAreHeldWhileTheAppCannotRun(t *testing.T) {
	c := clock.NewManual(start)
	p, s := modelPlace(t, c)
	p.options.MaxDequeueCount = 1
	s.put("orders", "aGk=")
	var tries atomic.Int64
	stop := p.start("orders", func(context.Context, trigger.Call) (*worker.Result, error) {
		if tries.Add(1) < 10 {
			return nil, trigger.ErrNotRun
		}
		return nil, nil
	})
	tick(t, c, time.Second, "not run", func() bool { return gone(s.see("orders")) })
	if tries.Load() != 10 || s.asked("POST orders-poison") > 0 {
		t.Errorf("%d tries", tries.Load())
	}
	stop()
}

func TestMessagesThatDidNotRunAreGivenBackByStop(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	p.options.MaxDequeueCount = 1
	s.put("orders", "aGk=")
	asked := make(chan struct{}, 100)
	stop := p.start("orders", func(context.Context, trigger.Call) (*worker.Result, error) {
		asked <- struct{}{}
		return nil, trigger.ErrNotRun
	})
	<-asked
	stop()
	if m := s.see("orders"); len(m) != 1 || m[0].visible.After(time.Now()) || len(s.see("orders-poison")) > 0 {
		t.Errorf("%+v", m)
	}
}

func TestFaultsOfTheServiceLoseNothing(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	p.options.MaxDequeueCount = 1000
	p.options.MaxPollingInterval = 100 * time.Millisecond
	p.cfg.Lease, p.cfg.Retry = 2*time.Second, time.Millisecond // what a lost answer hides is seen again soon
	var n int
	s.fault = func(r *http.Request, done bool) (*http.Response, error) {
		n++
		switch {
		case n%7 == 0 && !done:
			a := refusal(r, 503, "ServerBusy")
			a.Header.Set("Retry-After", "0")
			return a, nil
		case n%11 == 0:
			return refusal(r, 500, "InternalError"), nil
		case n%13 == 0:
			return nil, errors.New("connection reset by peer")
		case n%17 == 0 && !done:
			return refusal(r, 429, "TooManyRequests"), nil
		case n%19 == 0:
			return answerOf(r, 200, "<html>a proxy</html>"), nil
		}
		return nil, nil
	}
	var mu sync.Mutex
	ran := map[string]int{}
	for i := range 100 {
		s.put("orders", encoded(i))
	}
	// A first look that fails is an error of Start, which is tried again.
	s.mu.Lock()
	n = 1
	s.mu.Unlock()
	p.start("orders", func(_ context.Context, c trigger.Call) (*worker.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		ran[c.Input.(string)]++
		if len(ran)%10 == 0 && ran[c.Input.(string)] == 1 {
			return nil, errors.New("no")
		}
		return nil, nil
	})
	s.await(t, "not all done", "orders", gone)
	mu.Lock()
	defer mu.Unlock()
	if len(ran) != 100 || s.asked("POST orders-poison") > 0 {
		t.Errorf("%d of 100 ran", len(ran))
	}
}

// encoded gives a message's text.
func encoded(n int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "message %d", n))
}

func TestPollingGrowsSeldomUpToTheMostAndStartsAgainAfterAMessage(t *testing.T) {
	c := clock.NewManual(start)
	p, s := modelPlace(t, c)
	p.options.MaxPollingInterval = time.Minute
	s.mu.Lock()
	s.queues["orders"] = nil
	s.mu.Unlock()
	ran := make(chan struct{}, 1)
	p.start("orders", func(context.Context, trigger.Call) (*worker.Result, error) { ran <- struct{}{}; return nil, nil })
	polls := func(d time.Duration) int {
		before := s.asked("GET orders/messages")
		for range d / (50 * time.Millisecond) {
			if err := c.AwaitTimers(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			c.Advance(50 * time.Millisecond)
		}
		_ = c.AwaitTimers(t.Context(), 2)
		return s.asked("GET orders/messages") - before
	}
	early := polls(2 * time.Second)
	if early < 3 || early > 6 { // about 0.1, 0.3, 0.7 and 1.5 s
		t.Errorf("%d looks in the first 2 s", early)
	}
	polls(3 * time.Minute)
	if late := polls(4 * time.Minute); late < 3 || late > 5 {
		t.Errorf("%d looks in 4 minutes", late)
	}
	s.put("orders", "aGk=")
	tick(t, c, time.Second, "not run", func() bool { return len(ran) > 0 })
	s.await(t, "not deleted", "orders", gone)
	_ = c.AwaitTimers(t.Context(), 2)
	if again := polls(2 * time.Second); again < 3 {
		t.Errorf("%d looks in 2 s after a message", again)
	}
}

func TestConnectionsThatDoNotWorkShowAtStart(t *testing.T) {
	p, s := modelPlace(t, clock.Real{})
	s.fault = func(r *http.Request, _ bool) (*http.Response, error) {
		return refusal(r, 403, "AuthenticationFailed"), nil
	}
	src, _ := queue.Bindings(p.cfg)
	l, err := src.Listener(p.setup("orders", nil))
	if err != nil {
		t.Fatal(err)
	}
	err = l.Start(t.Context())
	if !errors.Is(err, problem.Denied) || !strings.Contains(problem.NextOf(err), "AzureWebJobsAzureWebJobsStorage") && !strings.Contains(problem.NextOf(err), "AzureWebJobsStorage") {
		t.Error(err, problem.NextOf(err))
	}
}

func TestChecksNameTheMember(t *testing.T) {
	for name, tt := range map[string]struct {
		properties map[string]any
		setting    string
		output     bool
		want       string
	}{
		"no name":            {map[string]any{}, "UseDevelopmentStorage=true", false, "queueName"},
		"a bad name":         {map[string]any{"queuename": "no_good"}, "UseDevelopmentStorage=true", false, "queueName"},
		"an expression":      {map[string]any{"queuename": "{x}-orders"}, "UseDevelopmentStorage=true", false, "queueName"},
		"half an expression": {map[string]any{"queuename": "{x-orders"}, "UseDevelopmentStorage=true", true, "queueName"},
		"no connection":      {map[string]any{"queuename": "orders"}, "", true, "connection"},
	} {
		t.Run(name, func(t *testing.T) {
			src, sink := queue.Bindings(queue.Config{})
			b := &funcapp.Binding{Name: "item", Type: "queue", Properties: tt.properties}
			s := &trigger.Setup{Function: &funcapp.Function{Name: "Work"}, Binding: b, Setting: func(string) string { return tt.setting }}
			check := src.Check
			if tt.output {
				check = sink.Check
			}
			faults := check(s)
			if len(faults) != 1 || !strings.HasPrefix(faults[0].Message, tt.want+` of binding "item"`) || faults[0].Next == "" {
				t.Errorf("%+v", faults)
			}
		})
	}
}

// receive takes a value from a channel, or finds it closed; it does not wait for ever.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
