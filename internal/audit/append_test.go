package audit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// flaky loses answers of writes: some happened, some did not.
type flaky struct {
	state.Store
	mu     sync.Mutex
	count  int
	writes int // that went through
}

func (f *flaky) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	f.mu.Lock()
	f.count++
	n := f.count
	f.mu.Unlock()
	if n%5 == 1 {
		return 0, problem.New(problem.Unavailable, "lost before it was written")
	}
	rev, err := f.Store.Write(ctx, ops...)
	if err == nil {
		f.mu.Lock()
		f.writes++
		f.mu.Unlock()
	}
	if n%5 == 3 {
		return 0, problem.New(problem.Unavailable, "written, and the answer lost")
	}
	return rev, err
}

// Whatever happens to single writes, an event whose Append succeeded is in the
// chain once, and one whose Append failed at most once.
func TestLostAnswersLoseNoEvents(t *testing.T) {
	e := newEnv(t)
	store := &flaky{Store: e.store}
	l := e.open(store, "node-2")
	want := map[string]bool{}
	failed := 0
	for i := range 100 {
		action := fmt.Sprintf("x/%d", i)
		err := l.Append(e.ctx, audit.Event{Action: action})
		if err != nil && !errors.Is(err, problem.Unavailable) {
			t.Fatal(err)
		}
		if want[action] = err == nil; err != nil {
			failed++
		}
	}
	seen := map[string]int{}
	for _, entry := range e.all() {
		seen[entry.Action]++
	}
	for action, ok := range want {
		if seen[action] > 1 || ok && seen[action] != 1 || !ok && seen[action] != 0 {
			t.Errorf("%s: appended %v, %d times there", action, ok, seen[action])
		}
	}
	if failed == 0 || failed > 50 {
		t.Errorf("%d failed: the test tests nothing", failed)
	}
	if r := e.report(); !r.Intact {
		t.Errorf("%+v", r)
	}
}

// A node that dies between two appends leaves a chain that another goes on with.
func TestAnotherNodeGoesOnAfterACrash(t *testing.T) {
	e := newEnv(t)
	e.add(3)
	dead, cancel := context.WithCancel(e.ctx)
	cancel()
	_ = e.Close(dead) // nothing more is written
	if err := e.Append(e.ctx, audit.Event{Action: "late"}); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
	e.Log = e.open(e.store, "node-2")
	e.add(3)
	if r := e.report(); !r.Intact || r.Events != 6 {
		t.Errorf("%+v", r)
	}
}

func TestAppendWithoutAStore(t *testing.T) {
	e := newEnv(t)
	e.add(1)
	e.store.SetUnavailable(true)
	if err := e.Append(e.ctx, audit.Event{Action: "lost"}); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
	e.store.SetUnavailable(false)
	e.add(1)
	if all := e.all(); len(all) != 2 || !e.report().Intact {
		t.Errorf("%+v", all)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	e := newEnv(t)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	for range 1000 { // far more than the queue takes
		if err := e.Append(ctx, audit.Event{}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func denial(action string) audit.Event {
	return audit.Event{Category: audit.Denied, Action: action, Source: "10.0.0.1", Reason: "no role"}
}

func TestRepeatedDenialsAreMerged(t *testing.T) {
	e := newEnv(t)
	e.Record(denial("d/1"))
	e.await(1, "d/1") // the first is written at once
	for range 1000 {
		e.Record(denial("d/1"))
		e.Record(denial("d/2"))
	}
	e.await(1, "d/2")
	e.clock.Advance(10 * time.Second)
	e.Record(denial("d/1"))
	e.clock.Advance(time.Minute)
	got := e.await(2, "d/1")
	if m := got[1]; m.Count != 1001 || !m.Time.Equal(start) || !m.Until.Equal(start.Add(10*time.Second)) {
		t.Errorf("%+v", m)
	}
	if got := e.await(2, "d/2"); got[1].Count != 999 {
		t.Errorf("%+v", got[1])
	}
	e.Record(denial("d/1")) // a new minute begins with an event of its own
	if got := e.await(3, "d/1"); got[2].Count != 0 {
		t.Errorf("%+v", got[2])
	}
	if r := e.report(); !r.Intact || r.Events != 5 {
		t.Errorf("%+v", r)
	}
}

func TestWhichDenialsAreTheSame(t *testing.T) {
	base := audit.Event{Category: audit.Denied, Action: "a", Scope: "/s", Reason: "r", Source: "10.0.0.1"}
	known := base
	known.Principal.ObjectID = "o"
	tests := []struct {
		name   string
		first  audit.Event
		change func(*audit.Event)
		same   bool
	}{
		{"identical", base, func(*audit.Event) {}, true},
		{"another action", base, func(e *audit.Event) { e.Action = "b" }, false},
		{"another scope", base, func(e *audit.Event) { e.Scope = "/t" }, false},
		{"another reason", base, func(e *audit.Event) { e.Reason = "q" }, false},
		{"another source", base, func(e *audit.Event) { e.Source = "10.0.0.2" }, false},
		{"a known principal from elsewhere", known, func(e *audit.Event) { e.Source = "10.0.0.2" }, true},
		{"another port of the source", base, func(e *audit.Event) { e.Source = "10.0.0.1:4711" }, true},
		{"another address of an IPv6 network", func() audit.Event { e := base; e.Source = "[2001:db8::1]:1"; return e }(), func(e *audit.Event) { e.Source = "[2001:db8::2]:2" }, true},
		{"another app id that somebody claims", base, func(e *audit.Event) { e.Principal.AppID = "p" }, false},
		{"another principal", known, func(e *audit.Event) { e.Principal.ObjectID = "p" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			second := tt.first
			tt.change(&second)
			e.Record(tt.first)
			e.Record(second)
			if err := e.Close(e.ctx); err != nil {
				t.Fatal(err)
			}
			all := e.all()
			if merged := len(all) == 2 && all[0].Count+all[1].Count == 1; merged != tt.same || len(all) != 2 {
				t.Errorf("%+v", all)
			}
		})
	}
}

// A stranger chooses what is refused: it must neither fill the record nor keep
// out what others are refused.
func TestOneStrangerFillsNothing(t *testing.T) {
	e := newEnv(t)
	const n = 5000
	for i := range n {
		d := denial("d")
		d.Scope, d.Principal.AppID, d.Source = fmt.Sprintf("/s/%d", i), fmt.Sprintf("app-%d", i), fmt.Sprintf("192.0.2.1:%d", i+1)
		e.Record(d)
	}
	other := denial("other")
	other.Principal.ObjectID = "o"
	e.Record(other)
	if err := e.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	counted, rest := 0, 0
	for _, entry := range e.all() {
		if entry.Source == "192.0.2.1" {
			counted += max(1, entry.Count)
			if entry.Action == "Latchkey.Audit/various" && entry.Count > 0 {
				rest = entry.Count
			}
		}
	}
	if all := e.all(); len(all) > 30 || counted != n || rest < n/2 {
		t.Errorf("%d events stand for %d denials of %d, one of them for %d", len(all), counted, n, rest)
	}
	if got := e.await(1, "other"); got[0].Principal.ObjectID != "o" {
		t.Errorf("%+v", got)
	}
}

// Somebody who reads very much is told apart from others, and leaves them their
// places; nothing is left uncounted.
func TestMuchReadingHidesNothingElse(t *testing.T) {
	e := newEnv(t)
	const n = 5000
	read := func(who string, i int) audit.Event {
		return audit.Event{
			Category: audit.SecretRead, Action: "read", Scope: fmt.Sprintf("/s/%d", i), Outcome: "Succeeded", Principal: audit.Principal{ObjectID: who},
		}
	}
	for i := range n {
		e.Record(read("greedy", i))
	}
	e.Record(read("modest", 1))
	e.Record(denial("d"))
	if err := e.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	of, rest := map[string]int{}, 0
	for _, entry := range e.all() {
		of[entry.Principal.ObjectID+string(entry.Category)] += max(1, entry.Count)
		if entry.Action == "Latchkey.Audit/various" && entry.Details["action"] == "read" {
			rest += max(1, entry.Count)
		}
	}
	if len(e.all()) > 300 || of["greedySecretRead"] != n || of["modestSecretRead"] != 1 || of["Denied"] != 1 || rest < n/2 {
		t.Errorf("%d events, by whose they are: %v, of many kinds: %d", len(e.all()), of, rest)
	}
}

// When many principals do many different things, each still has its own count.
func TestManyReadersAreKeptApart(t *testing.T) {
	e := newEnv(t)
	const readers, each = 500, 20
	for i := range readers * each {
		e.Record(audit.Event{
			Category: audit.SecretRead, Action: "read", Scope: fmt.Sprintf("/s/%d", i), Principal: audit.Principal{ObjectID: fmt.Sprint(i % readers)},
		})
	}
	e.Record(denial("d"))
	if err := e.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	of := map[string]int{}
	for _, entry := range e.all() {
		of[entry.Principal.ObjectID+string(entry.Category)] += max(1, entry.Count)
	}
	for i := range readers {
		if got := of[fmt.Sprint(i)+"SecretRead"]; got != each {
			t.Fatalf("%d events of reader %d, want %d", got, i, each)
		}
	}
	if of["Denied"] != 1 {
		t.Error("a denial was dropped")
	}
}

func TestTooManyDenialsAreCounted(t *testing.T) {
	e := newEnv(t)
	e.store.SetUnavailable(true)
	const n = 5000
	for i := range n {
		d := denial("d")
		d.Principal.ObjectID = fmt.Sprintf("o-%d", i)
		e.Record(d)
	}
	e.store.SetUnavailable(false)
	for {
		e.clock.Advance(time.Second) // it tries again
		list, _, err := e.List(e.ctx, audit.Filter{Action: "Latchkey.Audit/dropped"})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			break
		}
	}
	if err := e.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	kept, dropped := 0, 0
	for _, entry := range e.all() {
		if entry.Category == audit.Denied {
			kept++
		} else {
			dropped += entry.Count
		}
	}
	if kept+dropped != n || kept == 0 || dropped == 0 {
		t.Errorf("%d kept and %d dropped of %d", kept, dropped, n)
	}
}

func TestCloseWritesWhatIsWaiting(t *testing.T) {
	e := newEnv(t)
	for i := range 130 {
		d := denial(fmt.Sprintf("d/%d", i))
		d.Principal.ObjectID = "o"
		e.Record(d)
		e.Record(d)
	}
	if err := e.Close(e.ctx); err != nil {
		t.Fatal(err)
	}
	if r := e.report(); !r.Intact || r.Events != 260 {
		t.Errorf("%+v", r)
	}
	if err := e.Append(e.ctx, audit.Event{}); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
	e.Record(denial("late"))
	if err := e.Close(e.ctx); err != nil {
		t.Error(err)
	}
}

func TestVerifyWhileOthersAppend(t *testing.T) {
	e := newEnv(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			if err := e.Append(e.ctx, audit.Event{Action: "x"}); err != nil {
				t.Error(err)
			}
		}
	}()
	for appending := true; appending; {
		select {
		case <-done:
			appending = false
		default:
		}
		if r := e.report(); !r.Intact {
			t.Errorf("%+v", r)
			break
		}
	}
	<-done
	calls := 0
	if _, err := e.Verify(e.ctx, func(done, total uint64) { calls++; _ = total >= done }); err != nil || calls == 0 {
		t.Error(calls, err)
	}
}
