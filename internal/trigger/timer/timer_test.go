package timer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// rig is a place for timers, with a clock that tests move.
type rig struct {
	t      *testing.T
	clock  *clock.Manual
	local  trigger.LocalLeases
	leases trigger.Leases
	memory trigger.Memory

	runs  chan input    // what the function got
	hold  chan struct{} // nil, or what a run waits for
	onRun func()

	mu  sync.Mutex
	err error // of runs
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, clock: clock.NewManual(start), memory: trigger.Folder(t.TempDir()), runs: make(chan input, 10_000)}
	r.leases = &r.local
	return r
}

func (r *rig) setup(name string, properties map[string]any) *trigger.Setup {
	f := &funcapp.Function{Name: name, Bindings: []funcapp.Binding{{Name: "timer", Type: "timerTrigger", Properties: properties}}}
	return &trigger.Setup{
		Function: f, Binding: &f.Bindings[0], Setting: func(string) string { return "" }, Clock: r.clock, Log: slog.New(slog.DiscardHandler),
		Leases: r.leases, Memory: r.memory, Invoke: r.invoke,
	}
}

func (r *rig) invoke(ctx context.Context, c trigger.Call) (*worker.Result, error) {
	var in input
	if err := json.Unmarshal(c.Input.(json.RawMessage), &in); err != nil {
		r.t.Error(err)
	}
	if c.Metadata["TimerTrigger"] == "" {
		r.t.Error("no metadata")
	}
	if r.onRun != nil {
		r.onRun()
	}
	r.runs <- in
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.err
}

// listen starts a timer and waits until it sleeps; the test's end stops it.
func (r *rig) listen(name string, properties map[string]any) (stop func()) {
	r.t.Helper()
	l, err := Source{}.Listener(r.setup(name, properties))
	if err == nil {
		err = l.Start(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			l.Stop(ctx)
		})
	}
	r.t.Cleanup(stop)
	return stop
}

// await waits until n timers sleep.
func (r *rig) await(n int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.clock.AwaitTimers(ctx, n); err != nil {
		r.t.Fatal("no timer waits")
	}
}

func (r *rig) run() input {
	r.t.Helper()
	select {
	case in := <-r.runs:
		return in
	case <-time.After(30 * time.Second):
		r.t.Fatal("the function does not run")
		return input{}
	}
}

func (r *rig) quiet() {
	r.t.Helper()
	select {
	case in := <-r.runs:
		r.t.Fatalf("an unexpected run at %s: %+v", r.clock.Now(), in)
	default:
	}
}

// forward moves the clock by what timers sleep at most, so that they follow.
func (r *rig) forward(d time.Duration) {
	r.t.Helper()
	for ; d > longest; d -= longest {
		r.clock.Advance(longest)
		r.await(1)
	}
	r.clock.Advance(d)
}

func hourly() map[string]any { return map[string]any{"schedule": "0 0 * * * *"} }

func TestATimerRunsAtItsTimes(t *testing.T) {
	r := newRig(t)
	r.listen("hourly", hourly())
	r.await(1)
	r.forward(time.Hour - time.Second)
	r.await(1)
	r.quiet()
	r.clock.Advance(time.Second)
	in := r.run()
	if in.IsPastDue || !in.Schedule.AdjustForDST || !in.ScheduleStatus.Last.IsZero() || !in.ScheduleStatus.Next.Equal(start.Add(time.Hour)) {
		t.Errorf("first run: %+v", in)
	}
	r.await(1)
	r.forward(time.Hour)
	if in := r.run(); !in.ScheduleStatus.Last.Equal(start.Add(time.Hour)) || !in.ScheduleStatus.Next.Equal(start.Add(2*time.Hour)) {
		t.Errorf("second run: %+v", in.ScheduleStatus)
	}
}

func TestAMissedRunIsMadeUpForOnce(t *testing.T) {
	r := newRig(t)
	stop := r.listen("hourly", hourly())
	r.await(1)
	stop()
	r.clock.Advance(150 * time.Minute)
	stop = r.listen("hourly", hourly())
	if in := r.run(); !in.IsPastDue {
		t.Errorf("not past due: %+v", in)
	}
	r.await(1)
	stop()
	r.listen("hourly", hourly())
	r.await(1)
	r.quiet()
	r.forward(30 * time.Minute)
	if in := r.run(); in.IsPastDue || !in.ScheduleStatus.Last.Equal(start.Add(150*time.Minute)) {
		t.Errorf("the next run: %+v", in)
	}
}

func TestAChangedScheduleIsNotPastDue(t *testing.T) {
	r := newRig(t)
	stop := r.listen("f", hourly())
	r.await(1)
	stop()
	r.clock.Advance(90 * time.Minute)
	r.listen("f", map[string]any{"schedule": "0 15 12 * * *"})
	r.await(1)
	r.quiet()
	r.forward(45 * time.Minute)
	if in := r.run(); in.IsPastDue {
		t.Errorf("past due: %+v", in)
	}
}

func TestWithoutAMonitorNothingIsRemembered(t *testing.T) {
	r := newRig(t)
	for _, properties := range []map[string]any{
		{"schedule": "0 0 * * * *", "usemonitor": false},
		{"schedule": "*/10 * * * * *"}, // more often than once a minute
	} {
		stop := r.listen("f", properties)
		r.await(1)
		stop()
		r.clock.Advance(5*time.Hour + time.Second)
		stop = r.listen("f", properties)
		r.await(1)
		r.quiet()
		stop()
	}
	if doc, err := r.memory.Get(t.Context(), "timer.f"); doc != nil || err != nil {
		t.Errorf("remembered: %s, %v", doc, err)
	}
}

func TestRunOnStartup(t *testing.T) {
	r := newRig(t)
	r.listen("f", map[string]any{"schedule": "0 0 * * * *", "runonstartup": true})
	if in := r.run(); in.IsPastDue {
		t.Errorf("past due: %+v", in)
	}
	r.await(1)
	r.forward(time.Hour)
	r.run()
}

func TestRunsNeverOverlap(t *testing.T) {
	r := newRig(t)
	r.hold = make(chan struct{})
	r.listen("f", map[string]any{"schedule": "00:01:00"})
	r.await(1)
	r.clock.Advance(time.Minute)
	r.run()
	r.clock.Advance(10 * time.Minute)
	r.quiet()
	r.hold <- struct{}{}
	r.await(1)
	r.quiet() // what was missed during the run is not made up for
	r.clock.Advance(time.Minute)
	r.run()
	close(r.hold)
}

func TestOnlyTheHolderOfTheLeaseRuns(t *testing.T) {
	r := newRig(t)
	first := r.listen("f", hourly())
	r.await(1)
	r.listen("f", hourly()) // another host of the app
	r.forward(time.Hour)
	r.run()
	r.await(1)
	first()
	r.await(1) // the other one took over
	r.forward(time.Hour)
	r.run()
	r.await(1)
	r.quiet()
}

// frail hands out leases that a test can lose, silently or openly.
type frail struct {
	trigger.Leases
	given chan *frailLease
}

type frailLease struct {
	trigger.Lease
	lost chan struct{}
	gone atomic.Bool // known only to who asks
}

func (f *frail) Acquire(ctx context.Context, name string) (trigger.Lease, error) {
	l, err := f.Leases.Acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	lease := &frailLease{Lease: l, lost: make(chan struct{})}
	f.given <- lease
	return lease, nil
}

func (l *frailLease) Lost() <-chan struct{} { return l.lost }
func (l *frailLease) Held() bool            { return !l.gone.Load() }

func (r *rig) frail() *frail {
	f := &frail{Leases: &r.local, given: make(chan *frailLease, 100)}
	r.leases = f
	return f
}

func (f *frail) next(t *testing.T) *frailLease {
	t.Helper()
	select {
	case l := <-f.given:
		return l
	case <-time.After(30 * time.Second):
		t.Fatal("no lease is asked for")
		return nil
	}
}

func TestNoRunBeginsWithALeaseThatIsGone(t *testing.T) {
	r := newRig(t)
	f := r.frail()
	r.listen("f", map[string]any{"schedule": "00:01:00"})
	lease := f.next(t)
	r.await(1)
	lease.gone.Store(true) // as after a pause of the machine: nobody has noticed
	var ran atomic.Int64
	r.onRun = func() { ran.Store(int64(len(f.given))) }
	r.clock.Advance(time.Minute)
	r.run()
	if ran.Load() != 1 {
		t.Error("the function ran before there was another lease")
	}
	r.await(1)
	r.quiet()
}

func TestARunThatOutlivesItsLeaseEndsByItself(t *testing.T) {
	for _, other := range []bool{false, true} {
		t.Run(fmt.Sprintf("another host wrote=%v", other), func(t *testing.T) {
			r := newRig(t)
			f := r.frail()
			r.hold = make(chan struct{})
			r.listen("f", map[string]any{"schedule": "00:01:00"})
			lease := f.next(t)
			r.await(1)
			r.clock.Advance(time.Minute)
			r.run()
			close(lease.lost)
			r.clock.Advance(90 * time.Second) // more comes due meanwhile
			r.quiet()
			next, left := start.Add(2*time.Minute), time.Minute // an interval counts from the run
			if other {                                          // it has run what came due
				next, left = start.Add(3*time.Minute), 30*time.Second
				data, _ := json.Marshal(status{Last: moment{start.Add(2 * time.Minute)}, Next: moment{next}, LastUpdated: moment{start.Add(2 * time.Minute)}})
				if err := r.memory.Put(t.Context(), "timer.f", data); err != nil {
					t.Fatal(err)
				}
			}
			r.hold <- struct{}{}
			f.next(t)
			if !other {
				in := r.run() // the occurrence that was missed, not again the one that ran
				if !in.IsPastDue || in.ScheduleStatus == nil || !in.ScheduleStatus.Last.Equal(start.Add(time.Minute)) || !in.ScheduleStatus.Next.Equal(next) {
					t.Errorf("%+v %+v", in, in.ScheduleStatus)
				}
				r.hold <- struct{}{}
			}
			r.await(1)
			r.quiet()
			r.clock.Advance(left)
			if in := r.run(); in.IsPastDue {
				t.Errorf("past due: %+v", in)
			}
			close(r.hold)
		})
	}
}

func TestARunThatDidNotBeginIsDueAgain(t *testing.T) {
	r := newRig(t)
	r.err = trigger.ErrNotRun
	stop := r.listen("f", hourly())
	r.await(1)
	r.forward(time.Hour)
	r.run()
	r.await(1)
	stop()
	r.mu.Lock()
	r.err = errors.New("failed") // which is a run
	r.mu.Unlock()
	r.clock.Advance(time.Minute)
	stop = r.listen("f", hourly())
	if in := r.run(); !in.IsPastDue {
		t.Errorf("not past due: %+v", in)
	}
	r.await(1)
	stop()
	r.listen("f", hourly())
	r.await(1)
	r.quiet()
}

func TestStopWaitsForTheRunThenEndsIt(t *testing.T) {
	r := newRig(t)
	r.hold = make(chan struct{})
	l, err := Source{}.Listener(r.setup("f", map[string]any{"schedule": "00:01:00"}))
	if err == nil {
		err = l.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.await(1)
	r.clock.Advance(time.Minute)
	r.run()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { l.Stop(ctx); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("Stop did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	select {
	case <-stopped:
	case <-time.After(30 * time.Second):
		t.Fatal("Stop does not end")
	}
}

func TestADrillFiresTimers(t *testing.T) {
	r := newRig(t)
	drill := clock.NewDrill()
	s := r.setup("f", map[string]any{"schedule": "0 0 0 1 1 *"})
	s.Clock = drill
	l, err := Source{}.Listener(s)
	if err == nil {
		err = l.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop(t.Context())
	for doc := json.RawMessage(nil); doc == nil; { // until it has begun
		if doc, err = r.memory.Get(t.Context(), "timer.f"); err != nil {
			t.Fatal(err)
		}
	}
	drill.Set(367 * 24 * time.Hour)
	if in := r.run(); !in.IsPastDue {
		t.Errorf("long past due: %+v", in)
	}
}

func TestBadTimersAreFaults(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		properties map[string]any
		zone, want string
	}{
		{map[string]any{}, "", "no schedule"},
		{map[string]any{"schedule": "0 61 * * * *"}, "", "field minute"},
		{map[string]any{"schedule": "0 0 * * * *", "usemonitor": "maybe"}, "", "useMonitor"},
		{map[string]any{"schedule": "0 0 * * * *"}, "Nowhere/Land", "WEBSITE_TIME_ZONE"},
	} {
		s := r.setup("f", tt.properties)
		s.Setting = func(string) string { return tt.zone }
		faults := Source{}.Check(s)
		if len(faults) != 1 || !strings.Contains(faults[0].Message, tt.want) {
			t.Errorf("%v: %+v, want %s", tt.properties, faults, tt.want)
		}
	}
}

func TestAskedTimersGetTheirState(t *testing.T) {
	r := newRig(t)
	stop := r.listen("f", hourly())
	r.await(1)
	stop()
	call := Source{}.Asked(t.Context(), r.setup("f", hourly()), "anything")
	want := `{"Schedule":{"AdjustForDST":true},"ScheduleStatus":{"Last":"0001-01-01T00:00:00","Next":"2026-01-01T11:00:00+00:00","LastUpdated":"2026-01-01T10:00:00+00:00"},"IsPastDue":false}`
	if got := string(call.Input.(json.RawMessage)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// BenchmarkThousandTimers runs a thousand timers through one minute: its time per
// operation, divided by a minute, is the share of a core they cost.
func BenchmarkThousandTimers(b *testing.B) {
	const timers = 1000
	m := clock.NewManual(start)
	var done sync.WaitGroup
	var leases trigger.LocalLeases
	for n := range timers {
		f := &funcapp.Function{Name: fmt.Sprint("f", n), Bindings: []funcapp.Binding{{Type: "timerTrigger", Properties: map[string]any{"schedule": "0 * * * * *"}}}}
		s := &trigger.Setup{Function: f, Binding: &f.Bindings[0], Setting: func(string) string { return "" }, Clock: m, Log: slog.New(slog.DiscardHandler),
			Leases: &leases, Memory: forgetful{}, Invoke: func(context.Context, trigger.Call) (*worker.Result, error) { done.Done(); return nil, nil }}
		l, _ := Source{}.Listener(s)
		if err := l.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer l.Stop(context.Background())
	}
	for b.Loop() {
		if err := m.AwaitTimers(b.Context(), timers); err != nil {
			b.Fatal(err)
		}
		done.Add(timers)
		m.Advance(time.Minute)
		done.Wait()
	}
}

type forgetful struct{}

func (forgetful) Get(context.Context, string) (json.RawMessage, error) { return nil, nil }
func (forgetful) Put(context.Context, string, json.RawMessage) error   { return nil }
