package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestAWrongKeyCausesOneReadPerMinute(t *testing.T) {
	e := standard(t)
	e.expect("wrong", "function1", keyring.Anonymous, "", keyring.Unknown) // first need of function1, re-read of the host
	e.put("function1", accesskey.Set{Keys: []accesskey.Key{key("f1key1", "rotated")}})
	e.expect("rotated", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
	e.expect("f1value1", "function1", keyring.Anonymous, "", keyring.Unknown) // revoked with it
	e.put("function1", accesskey.Set{Keys: []accesskey.Key{key("f1key1", "rotated again")}})
	before := e.tap.loads.Load()
	for range 5 {
		e.expect("rotated again", "function1", keyring.Anonymous, "", keyring.Unknown)
		e.clock.Advance(12 * time.Second)
	}
	if got := e.tap.loads.Load() - before; got != 0 {
		t.Errorf("%d reads within the minute", got)
	}
	e.clock.Advance(time.Millisecond)
	e.expect("rotated again", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
	if got := e.tap.loads.Load() - before; got != 2 {
		t.Errorf("%d reads after the minute, want the host's and the function's", got)
	}
}

func TestWrongKeysForOneFunctionDoNotStarveAnother(t *testing.T) {
	e := standard(t)
	if err := e.Ensure(e.ctx, []string{"function1", "function2"}); err != nil {
		t.Fatal(err)
	}
	e.ask("wrong", "function1") // uses up the re-read of the host and function1
	e.put("function2", accesskey.Set{Keys: []accesskey.Key{key("k", "rotated")}})
	e.expect("rotated", "function2", keyring.FunctionLevel, "k", keyring.Matched)
}

func TestOnlyTheCallerThatCausesARereadWaits(t *testing.T) {
	e := standard(t)
	if err := e.Ensure(e.ctx, []string{"function1"}); err != nil {
		t.Fatal(err)
	}
	e.put("function1", accesskey.Set{Keys: []accesskey.Key{key("k", "rotated")}})
	begun, release := e.slow()
	first := make(chan keyring.Decision, 1)
	go func() { first <- e.ask("rotated", "function1") }()
	<-begun
	<-begun // the host's and the function's
	for range 50 {
		e.expect("rotated", "function1", keyring.Anonymous, "", keyring.Unknown) // does not block
	}
	e.expect("hostvalue1", "function1", keyring.FunctionLevel, "hostkey1", keyring.Matched)
	release()
	if d := <-first; d.Name != "k" {
		t.Errorf("decision %+v", d)
	}
	if len(begun) != 0 {
		t.Error("more than one read")
	}
}

func TestARereadIsWaitedForNoLongerThanTheCaller(t *testing.T) {
	e := standard(t)
	_, release := e.slow()
	defer release()
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	d := e.Authorize(ctx, keyring.Request{Key: "wrong", Source: source})
	if d.Reason != keyring.Unknown {
		t.Errorf("decision %+v", d)
	}
}

// started is an env whose ring follows a store that can watch.
func started(t *testing.T, mem *memory.Store, options ...func(*keyring.Config)) *env {
	t.Helper()
	e := newEnvOn(t, mem, append([]func(*keyring.Config){on(mem)}, options...)...)
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

func isChange(cause keyring.Cause, function string) func(keyring.Event) bool {
	return func(e keyring.Event) bool {
		return e.Type == keyring.KeysChanged && e.Cause == cause && e.Function == function
	}
}

// healthIs accepts events of which the last about health says s.
func healthIs(s keyring.State) func([]keyring.Event) bool {
	return func(all []keyring.Event) bool {
		for _, e := range slices.Backward(all) {
			if e.Type == keyring.HealthChanged {
				return e.Health.State == s
			}
		}
		return false
	}
}

// has accepts events that include one that ok accepts.
func has(ok func(keyring.Event) bool) func([]keyring.Event) bool {
	return func(all []keyring.Event) bool { return slices.ContainsFunc(all, ok) }
}

// patient keeps a moving clock from ending reads under way.
func patient(c *keyring.Config) { c.Limits.LoadTimeout = 10_000 * time.Hour }

func TestChangesByOthersAreAppliedAtOnce(t *testing.T) {
	mem := memory.New()
	here, there := started(t, mem), started(t, mem)
	if err := errors.Join(here.Ensure(here.ctx, []string{"Fn"}), there.Ensure(there.ctx, []string{"Fn"})); err != nil {
		t.Fatal(err)
	}
	k, _, err := there.Renew(there.ctx, keyring.FunctionKeys("Fn"), "default")
	if err != nil {
		t.Fatal(err)
	}
	here.events.await(t, "the function's keys changed", isChange(keyring.Outside, "Fn"))
	if d := here.Match(k.Value, here.Function("Fn")); d.Name != "default" {
		t.Errorf("decision %+v", d)
	}
	master, _, err := there.Renew(there.ctx, keyring.MasterKey(), "_master")
	if err != nil {
		t.Fatal(err)
	}
	here.events.await(t, "the host's keys changed", isChange(keyring.Outside, ""))
	if d := here.Match(master.Value, nil); d.Level != keyring.AdminLevel {
		t.Errorf("decision %+v", d)
	}
	for _, e := range there.events.of(keyring.KeysChanged) {
		if e.Cause != keyring.Local {
			t.Errorf("own changes came back as %v", e.Cause)
		}
	}
}

// advanceUntil moves the clock a second at a time, each time somebody waits,
// until an event comes.
func (e *env) advanceUntil(what string, ok func([]keyring.Event) bool) {
	e.t.Helper()
	ctx, stop := context.WithTimeout(e.ctx, 20*time.Second)
	moved := make(chan struct{})
	defer func() { <-moved }()
	defer stop()
	go func() {
		defer close(moved)
		for e.clock.AwaitTimers(ctx, 1) == nil && ctx.Err() == nil {
			e.clock.Advance(time.Second)
		}
	}()
	e.events.awaitAll(e.t, what, ok)
}

func TestAFailedReloadIsRetriedUntilItWorks(t *testing.T) {
	e := started(t, memory.New(), patient)
	if err := e.Ensure(e.ctx, []string{"f"}); err != nil {
		t.Fatal(err)
	}
	good := e.stored("f").Keys[0].Value
	e.mem.SetUnavailable(true)
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("changed", "v")}})
	e.events.awaitAll(t, "degraded", healthIs(keyring.Degraded))
	h := e.Health()
	if !h.RetryAt.After(e.clock.Now()) || !h.Since.Equal(e.clock.Now()) {
		t.Errorf("health %+v", h)
	}
	e.expect(good, "f", keyring.FunctionLevel, "default", keyring.Matched)
	e.advanceUntil("a failed retry", has(func(ev keyring.Event) bool {
		return ev.Type == keyring.DocumentFailed && ev.Cause == keyring.Retry
	}))
	e.mem.SetUnavailable(false) // watchers are not told: only the retry can notice
	e.advanceUntil("health", healthIs(keyring.OK))
	e.expect("v", "f", keyring.FunctionLevel, "changed", keyring.Matched)
	logged := slices.DeleteFunc(e.events.of(keyring.DocumentFailed), func(ev keyring.Event) bool {
		return ev.Function != "f" || ev.Level < slog.LevelInfo
	})
	if len(logged) != 1 {
		t.Errorf("%d failures logged, want the first only", len(logged))
	}
}

func TestAStartWithoutTheStoreRecoversByItself(t *testing.T) {
	e := newEnv(t, patient)
	e.put(keystore.HostDoc, hostSet("m", nil, nil))
	e.mem.SetUnavailable(true)
	if err := e.Start(e.ctx); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("error %v", err)
	}
	if d := e.ask("m", ""); !d.Unavailable() {
		t.Errorf("decision %+v", d)
	}
	e.mem.SetUnavailable(false)
	e.advanceUntil("health", healthIs(keyring.OK))
	e.expect("m", "", keyring.AdminLevel, "master", keyring.Matched)
}

func TestRetriesBackOff(t *testing.T) {
	e := newEnv(t)
	e.mem.SetUnavailable(true)
	var waits []time.Duration
	for range 9 {
		if e.Open(e.ctx) == nil {
			t.Fatal("opened")
		}
		waits = append(waits, e.Health().RetryAt.Sub(e.clock.Now()))
	}
	s := time.Second
	if diff := cmp.Diff([]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}, waits); diff != "" {
		t.Error(diff)
	}
}

func TestStartingTwiceIsRefused(t *testing.T) {
	e := started(t, memory.New())
	if err := e.Start(e.ctx); !errors.Is(err, problem.Conflict) {
		t.Errorf("error %v", err)
	}
}

// flakyWatch is a store whose watch ends or fails as told.
type flakyWatch struct {
	*memory.Store
	fail atomic.Bool
	stop atomic.Pointer[context.CancelFunc] // ends the present watch
}

func (s *flakyWatch) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if s.fail.Load() {
		return nil, problem.New(problem.Unavailable, "too many watches")
	}
	ctx, cancel := context.WithCancel(ctx)
	s.stop.Store(&cancel)
	return s.Store.Watch(ctx, changed)
}

func TestALostWatchIsReportedAndTakenUpAgain(t *testing.T) {
	s := &flakyWatch{Store: memory.New()}
	e := newEnvOn(t, s.Store, on(s), patient)
	e.put(keystore.HostDoc, hostSet("m", nil, nil)) // so that no news of our own is under way
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	s.fail.Store(true)
	(*s.stop.Load())()
	e.events.awaitAll(t, "degraded", healthIs(keyring.Degraded))
	e.put(keystore.HostDoc, hostSet("changed meanwhile", nil, nil))
	s.fail.Store(false)
	e.advanceUntil("the change made meanwhile", has(isChange(keyring.Outside, "")))
	e.advanceUntil("health", healthIs(keyring.OK))
	e.expect("changed meanwhile", "", keyring.AdminLevel, "master", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

// noWatch has the method but not the power, as a decorator has.
type noWatch struct{ *memory.Store }

func (noWatch) Watch(context.Context, func(keystore.Doc)) (<-chan struct{}, error) {
	return nil, problem.New(problem.Unsupported, "no watching here")
}

func TestAStoreThatCannotWatchIsNoFault(t *testing.T) {
	s := noWatch{memory.New()}
	e := newEnvOn(t, s.Store, on(s))
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

func TestNamesAreText(t *testing.T) {
	for _, s := range []fmt.Stringer{
		keyring.AdminLevel, keyring.StoreUnavailable, keyring.SourceThrottled, keyring.HealthChanged, keyring.Asked, keyring.Unavailable,
	} {
		if s.String() == "" {
			t.Errorf("%T %#v has no name", s, s)
		}
	}
}
