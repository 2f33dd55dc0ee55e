package scale_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
)

const patience = 60 * time.Second

var (
	start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday
	ref   = engine.Ref{App: "/subscriptions/s/apps/one", Revision: "one--a"}
)

// world is a Scaler with an engine and sources that tests choose.
type world struct {
	t      *testing.T
	clock  *clock.Manual
	scaler *scale.Scaler
	timers int // that run when nothing is to be done

	mu      sync.Mutex
	engine  map[engine.Ref]int // what the engine was told last
	told    int
	refuse  error
	load    scale.Load
	queue   int64
	asked   []scale.Queue
	broken  error // of the queue
	usage   []engine.Usage
	unusage error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: clock.NewManual(start), engine: map[engine.Ref]int{}}
	w.scaler = scale.New(scale.Config{Scale: w.scale, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Sources: scale.Sources{
			Load:  func(engine.Ref) scale.Load { return got(w, &w.load) },
			Queue: w.length,
			Usage: func(context.Context, engine.Ref) ([]engine.Usage, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return append([]engine.Usage(nil), w.usage...), w.unusage
			},
		}})
	return w
}

func got[T any](w *world, from *T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *from
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) scale(_ context.Context, r engine.Ref, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told++
	if w.refuse != nil {
		return w.refuse
	}
	w.engine[r] = n
	return nil
}

func (w *world) length(_ context.Context, q scale.Queue) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, q)
	return w.queue, w.broken
}

// run runs the Scaler until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.scaler.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			w.t.Error("Run did not end")
		}
	})
}

// set has one revision scaled, whose rules are given.
func (w *world) set(s containerapp.Scale, change func(*scale.Revision)) {
	w.t.Helper()
	r := scale.Revision{Ref: ref, App: ref.App, Ready: true, Template: containerapp.Template{Scale: &s,
		Containers: []containerapp.Container{{Resources: &containerapp.Resources{CPU: 0.5, Memory: "1Gi"}}}}}
	if change != nil {
		change(&r)
	}
	w.scaler.Set(r)
	w.timers = 2
	w.run()
	w.settle()
}

// settle waits until everybody waits for the clock.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.clock.AwaitTimers(ctx, w.timers); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets time pass, a second at a time.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for range int(d / time.Second) {
		w.clock.Advance(time.Second)
		w.settle()
	}
}

// await waits until the engine has so many replicas, without time passing.
func (w *world) await(n int) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		has, there := w.engine[ref]
		w.mu.Unlock()
		if there && has == n && w.scaler.Desired(ref) == n {
			return
		}
		if time.Now().After(end) {
			e, _ := w.scaler.Explain(ref)
			w.t.Fatalf("the engine has %d replicas (%v), not %d: %+v", has, there, n, e)
		}
	}
}

func (w *world) rule(i int) scale.Rule {
	w.t.Helper()
	e, ok := w.scaler.Explain(ref)
	if !ok || len(e.Rules) <= i {
		w.t.Fatalf("%+v", e)
	}
	return e.Rules[i]
}

func ptr(n int) *int { return &n }

func custom(kind string, metadata ...string) containerapp.ScaleRule {
	m := map[string]string{}
	for i := 0; i+1 < len(metadata); i += 2 {
		m[metadata[i]] = metadata[i+1]
	}
	return containerapp.ScaleRule{Name: "r", Custom: &containerapp.CustomRule{Type: kind, Metadata: m}}
}

func withIngress(r *scale.Revision) {
	r.Ingress = &containerapp.Ingress{TargetPort: 80, Transport: "auto"}
}

func TestRequestsDecide(t *testing.T) {
	w := newWorld(t)
	w.set(containerapp.Scale{}, withIngress)
	w.await(0)
	w.scaler.Activate(ref)
	w.await(1)
	w.change(func() { w.load = scale.Load{InFlight: 35, Total: 35} })
	w.pass(35 * time.Second) // the mean grows
	w.await(4)
	if r := w.rule(0); r.Type != "http" || r.Value != 35 || r.Target != 10 || r.Replicas != 4 || !r.Active || r.Error != "" {
		t.Errorf("%+v", r)
	}
	w.change(func() { w.load.InFlight = 0 })
	w.pass(330 * time.Second)
	w.await(0)
	w.change(func() { w.load.Total++ }) // short ones count although nobody saw them
	w.pass(15 * time.Second)
	w.await(1)
}

func TestShortRequestsKeepARevision(t *testing.T) {
	w := newWorld(t)
	w.set(containerapp.Scale{CooldownPeriod: ptr(60)}, func(r *scale.Revision) { withIngress(r); r.Replicas = 1 })
	for range 30 {
		w.change(func() { w.load.Total++ })
		w.pass(14 * time.Second)
	}
	w.await(1)
	w.change(func() { w.load.Total += 600 })
	w.pass(16 * time.Second)
	w.await(4) // 40 in each second
}

func TestAQueueDecides(t *testing.T) {
	w := newWorld(t)
	w.queue = 0
	rule := containerapp.ScaleRule{Name: "q", AzureQueue: &containerapp.QueueRule{QueueName: "orders", QueueLength: 5,
		Auth: []containerapp.ScaleAuth{{SecretRef: "store", TriggerParameter: "connection"}}}}
	var secret error
	w.set(containerapp.Scale{Rules: []containerapp.ScaleRule{rule}}, func(r *scale.Revision) {
		r.Secret = func(_ context.Context, name string) (string, error) { return "the value of " + name, got(w, &secret) }
	})
	w.await(0)
	w.change(func() { w.queue = 23 })
	w.pass(20 * time.Second)
	w.await(0) // it is looked at every 30 s
	w.pass(11 * time.Second)
	w.await(1)
	w.pass(35 * time.Second)
	w.await(5)
	if q := got(w, &w.asked)[0]; q != (scale.Queue{App: ref.App, Rule: "q", Name: "orders", Connection: "the value of store"}) {
		t.Errorf("%+v", q)
	}
	w.change(func() { w.broken = problem.New(problem.Denied, "no").WithNext("give a role"); w.queue = 0 })
	w.pass(20 * time.Minute)
	w.await(5) // never fewer while it cannot be read
	if r := w.rule(0); r.Error != "no: give a role" || r.Value != 23 {
		t.Errorf("%+v", r)
	}
	w.change(func() { w.broken, secret = nil, errors.New("no such secret") })
	w.pass(30 * time.Second)
	if r := w.rule(0); r.Error != "no such secret" {
		t.Errorf("%+v", r)
	}
	w.change(func() { secret = nil })
	w.pass(30 * time.Second)
	if r := w.rule(0); r.Error != "" || r.Value != 0 {
		t.Errorf("%+v", r)
	}
	w.pass(330 * time.Second)
	w.await(0)
}

func TestAQueueByConnectionFromEnv(t *testing.T) {
	w := newWorld(t)
	rule := custom("azure-queue", "queueName", "orders", "connectionFromEnv", "STORE", "activationQueueLength", "3")
	w.queue = 3
	w.set(containerapp.Scale{PollingInterval: ptr(5), Rules: []containerapp.ScaleRule{rule}}, func(r *scale.Revision) {
		r.Template.Containers[0].Env = []containerapp.EnvVar{{Name: "STORE", SecretRef: "store"}}
		r.Secret = func(_ context.Context, name string) (string, error) { return "the value of " + name, nil }
	})
	w.pass(30 * time.Second)
	w.await(0)
	w.change(func() { w.queue = 4 })
	w.pass(6 * time.Second)
	w.await(1)
	if q := got(w, &w.asked)[0]; q.Connection != "the value of store" {
		t.Errorf("%+v", q)
	}
}

func TestCronDecides(t *testing.T) {
	w := newWorld(t)
	rule := custom("cron", "timezone", "Europe/Berlin", "start", "5 13 * * *", "end", "20 13 * * *", "desiredReplicas", "3") // UTC+1
	w.set(containerapp.Scale{CooldownPeriod: ptr(60), Rules: []containerapp.ScaleRule{rule}}, nil)
	w.pass(4 * time.Minute)
	w.await(0)
	w.pass(2 * time.Minute)
	w.await(3)
	w.pass(13 * time.Minute)
	w.await(3)
	w.pass(3 * time.Minute)
	w.await(0)
}

// use has every replica use so many cores for the next seconds.
func (w *world) use(cores float64, d time.Duration) {
	w.t.Helper()
	for range int(d / time.Second) {
		w.change(func() {
			for i := range w.usage {
				w.usage[i].CPU += time.Duration(cores * float64(time.Second))
			}
		})
		w.pass(time.Second)
	}
}

func TestUseOfProcessorsDecides(t *testing.T) {
	w := newWorld(t)
	w.usage = []engine.Usage{{Replica: "a", Container: "main"}}
	w.set(containerapp.Scale{Rules: []containerapp.ScaleRule{custom("cpu", "type", "Utilization", "value", "50")}}, nil)
	w.await(1) // never zero
	w.use(0.26, 2*time.Minute)
	w.await(1) // near enough to half of half a core
	w.use(0.5, 45*time.Second)
	w.await(2)
	w.change(func() { w.usage = append(w.usage, engine.Usage{Replica: "b", Container: "main"}) })
	w.use(0.25, 20*time.Minute)
	w.await(2)
	w.change(func() { w.unusage = errors.New("no engine") })
	w.use(0, 20*time.Minute)
	w.await(2)
	if r := w.rule(0); r.Error != "no engine" || r.Unit != "cores" || r.Target != 0.25 {
		t.Errorf("%+v", r)
	}
	w.change(func() { w.unusage = nil })
	w.use(0, 6*time.Minute)
	w.await(1)
}

func TestUseOfMemoryDecides(t *testing.T) {
	w := newWorld(t)
	w.usage = []engine.Usage{{Replica: "a", Container: "main", Memory: 600 << 20}, {Replica: "a", Container: "other", Memory: 100 << 20}}
	w.set(containerapp.Scale{Rules: []containerapp.ScaleRule{custom("memory", "type", "AverageValue", "value", "350Mi")}}, nil)
	w.pass(35 * time.Second)
	w.await(2)
}

func TestWhatIsNotSupportedKeepsOneAndSaysSo(t *testing.T) {
	tests := map[string]struct {
		rule containerapp.ScaleRule
		says string
	}{
		"another type":     {custom("kafka", "topic", "x"), `rule "r" of type "kafka" is not supported by the docker engine; supported: http, tcp, cpu, memory, azure-queue, cron; on kubernetes KEDA runs it`},
		"no number":        {custom("cron", "timezone", "UTC", "start", "0 6 * * *", "end", "0 7 * * *"), `rule "r" of type "cron" cannot be followed: desiredReplicas of the rule must be more than 0`},
		"no zone":          {custom("cron", "timezone", "Mars", "start", "0 6 * * *", "end", "0 7 * * *", "desiredReplicas", "1"), "timezone"},
		"the same times":   {custom("cron", "timezone", "UTC", "start", "0 6 * * *", "end", "0  6 * * *", "desiredReplicas", "1"), "end of the rule"},
		"no such time":     {custom("cron", "timezone", "UTC", "start", "0 99 * * *", "end", "0 6 * * *", "desiredReplicas", "1"), "start of the rule"},
		"visible messages": {custom("azure-queue", "queueName", "q", "connectionFromEnv", "X", "queueLengthStrategy", "visibleonly"), "queueLengthStrategy"},
		"no way in":        {custom("azure-queue", "queueName", "q"), "auth of the rule"},
		"one container":    {custom("cpu", "value", "50", "containerName", "main"), "containerName"},
		"no amount":        {custom("memory", "type", "AverageValue", "value", "lots"), "value of the rule"},
		"no share":         {custom("cpu", "value", "0"), "value of the rule"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.set(containerapp.Scale{CooldownPeriod: ptr(0), Rules: []containerapp.ScaleRule{tt.rule}}, func(r *scale.Revision) { r.Replicas = 1 })
			w.pass(time.Minute)
			w.await(1)
			if r := w.rule(0); !strings.Contains(r.Error, tt.says) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestWithoutIngressAndRulesTheMinimumStays(t *testing.T) {
	for least, ends := range map[int]int{0: 0, 2: 2} {
		w := newWorld(t)
		w.set(containerapp.Scale{MinReplicas: ptr(least)}, func(r *scale.Revision) { r.Ready = false })
		w.await(max(least, 1))
		w.pass(20 * time.Minute)
		w.await(max(least, 1)) // it never became ready
		r := scale.Revision{Ref: ref, Ready: true, Template: containerapp.Template{Scale: &containerapp.Scale{MinReplicas: ptr(least)},
			Containers: []containerapp.Container{{Resources: &containerapp.Resources{CPU: 0.5, Memory: "1Gi"}}}}}
		w.scaler.Set(r)
		w.pass(4 * time.Minute)
		w.await(max(least, 1))
		w.pass(2 * time.Minute)
		w.await(ends)
	}
}

func TestAnEngineThatRefusesIsToldAgain(t *testing.T) {
	w := newWorld(t)
	w.refuse = problem.New(problem.NotFound, "it is not placed")
	w.set(containerapp.Scale{MinReplicas: ptr(2)}, nil)
	w.pass(10 * time.Second)
	if e, _ := w.scaler.Explain(ref); e.Error != "it is not placed" || e.Desired != 2 {
		t.Errorf("%+v", e)
	}
	w.change(func() { w.refuse = nil })
	w.pass(30 * time.Second)
	w.await(2)
	if e, _ := w.scaler.Explain(ref); e.Error != "" || e.Reason == "" || e.Min != 2 || e.Max != 10 {
		t.Errorf("%+v", e)
	}
	w.change(func() { w.engine[ref] = 7 }) // somebody placed an older wish
	w.pass(35 * time.Second)
	w.await(2)
}

// TestWhatFailedBeforeARevisionWasThereIsForgotten: secrets of it could not be read
// for a while, so that there was nothing to scale.
func TestWhatFailedBeforeARevisionWasThereIsForgotten(t *testing.T) {
	w := newWorld(t)
	var r scale.Revision
	w.refuse = problem.New(problem.NotFound, "it is not placed")
	w.set(containerapp.Scale{MinReplicas: ptr(2)}, func(is *scale.Revision) { is.Ready, r = false, *is; r.Ready = false })
	w.pass(2 * time.Minute)
	if e, _ := w.scaler.Explain(ref); e.Error == "" {
		t.Errorf("while it is not there: %+v", e)
	}
	w.change(func() { w.refuse = nil })
	r.Ready = true
	w.scaler.Set(r)
	if e, _ := w.scaler.Explain(ref); e.Error != "" {
		t.Errorf("once it is there: %+v", e)
	}
	w.await(2)
}

func TestAForgottenRevisionIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.set(containerapp.Scale{MinReplicas: ptr(1)}, nil)
	w.await(1)
	w.scaler.Forget(ref)
	w.scaler.Activate(ref)
	if _, ok := w.scaler.Explain(ref); ok || w.scaler.Desired(ref) != 0 {
		t.Error("it is still known")
	}
	w.scaler.Set(scale.Revision{Ref: ref, Ready: true, Template: containerapp.Template{Scale: &containerapp.Scale{MinReplicas: ptr(3)}}})
	w.await(3)
}

func TestAnEngineThatScalesIsToldTheRules(t *testing.T) {
	w := newWorld(t)
	var told []*engine.AutoScale
	answers := []error{problem.New(problem.NotFound, "not placed"), nil}
	cfg := scale.Config{Scale: w.scale, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		HandOver: func(_ context.Context, r engine.Ref, by *engine.AutoScale) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			told = append(told, by)
			return answers[min(len(told), len(answers))-1]
		}}
	w.scaler = scale.New(cfg)
	queue := containerapp.ScaleRule{Name: "q", AzureQueue: &containerapp.QueueRule{AccountName: "orders", QueueName: "work", QueueLength: 5,
		Auth: []containerapp.ScaleAuth{{SecretRef: "store", TriggerParameter: "connection"}}}}
	w.set(containerapp.Scale{MaxReplicas: ptr(7), Rules: []containerapp.ScaleRule{queue, custom("kafka", "topic", "t")}}, func(r *scale.Revision) {
		r.Secret = func(_ context.Context, name string) (string, error) { return "the value of " + name, nil }
	})
	w.pass(20 * time.Second)
	want := &engine.AutoScale{Max: 7, Polling: 30 * time.Second, Cooldown: 300 * time.Second, Rules: []engine.AutoScaleRule{
		{Name: "q", Type: "azure-queue", Metadata: map[string]string{"accountName": "orders", "queueName": "work", "queueLength": "5"},
			Auth: []engine.AutoScaleAuth{{Parameter: "connection", Value: "the value of store"}}},
		{Name: "r", Type: "kafka", Metadata: map[string]string{"topic": "t"}}}}
	w.mu.Lock()
	if diff := cmp.Diff([]*engine.AutoScale{want, want}, told); diff != "" {
		t.Error(diff)
	}
	calls := w.told
	w.mu.Unlock()
	if e, _ := w.scaler.Explain(ref); e.Reason != "the engine scales it by its rules" || e.Rules[1].Error != "" {
		t.Errorf("%+v", e)
	}
	w.pass(10 * time.Minute)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told != calls || len(told) < 3 {
		t.Errorf("scaled %d times beside the engine, which was told %d times", w.told-calls, len(told))
	}
}

func TestAnEngineThatHasNobodyForARuleSaysSo(t *testing.T) {
	for says, refusal := range map[string]error{
		"KEDA is not there": problem.New(problem.Unsupported, "KEDA is not there"),
		"is not supported":  scale.ErrByItself,
	} {
		w := newWorld(t)
		w.scaler = scale.New(scale.Config{Scale: w.scale, Clock: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			HandOver: func(context.Context, engine.Ref, *engine.AutoScale) error { return refusal }})
		w.set(containerapp.Scale{Rules: []containerapp.ScaleRule{custom("kafka", "topic", "t")}}, func(r *scale.Revision) { r.Replicas = 1 })
		w.pass(time.Minute)
		w.await(1)
		if r := w.rule(0); !strings.Contains(r.Error, says) {
			t.Errorf("%+v", r)
		}
	}
}

func TestAnAppKeepsTheRevisionsThatAreNamed(t *testing.T) {
	w := newWorld(t)
	other := engine.Ref{App: "/apps/other", Revision: ref.Revision}
	second := engine.Ref{App: strings.ToUpper(ref.App), Revision: "one--b"}
	for _, r := range []engine.Ref{ref, second, other} {
		w.scaler.Set(scale.Revision{Ref: r, Ready: true, Template: containerapp.Template{Scale: &containerapp.Scale{MinReplicas: ptr(1)}}})
	}
	w.scaler.Keep(ref.App, second)
	got := []int{w.scaler.Desired(ref), w.scaler.Desired(second), w.scaler.Desired(other)}
	if diff := cmp.Diff([]int{0, 1, 1}, got); diff != "" {
		t.Error(diff)
	}
}

func TestManyAtATime(t *testing.T) {
	w := newWorld(t)
	w.run()
	refs := make([]engine.Ref, 20)
	for i := range refs {
		refs[i] = engine.Ref{App: fmt.Sprint("/apps/", i), Revision: "r"}
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 400 {
				r := refs[(i*7+n)%len(refs)]
				switch (i + n) % 6 {
				case 0:
					w.scaler.Set(scale.Revision{Ref: r, Ready: i%2 == 0, Ingress: &containerapp.Ingress{},
						Template: containerapp.Template{Scale: &containerapp.Scale{MaxReplicas: ptr(1 + i%9)}}})
				case 1:
					w.scaler.Activate(r)
				case 2:
					w.scaler.Desired(r)
				case 3:
					w.scaler.Explain(r)
				case 4:
					w.clock.Advance(time.Second)
				case 5:
					if i%5 == 0 {
						w.scaler.Forget(r)
					}
				}
			}
		})
	}
	all.Wait()
	for _, r := range refs {
		w.scaler.Set(scale.Revision{Ref: r, Ready: true, Template: containerapp.Template{Scale: &containerapp.Scale{MinReplicas: ptr(2), MaxReplicas: ptr(2)}}})
	}
	want := map[engine.Ref]int{}
	for _, r := range refs {
		want[r] = 2
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		w.clock.Advance(time.Second)
		w.mu.Lock()
		diff := cmp.Diff(want, w.engine)
		w.mu.Unlock()
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(diff)
		}
	}
}
