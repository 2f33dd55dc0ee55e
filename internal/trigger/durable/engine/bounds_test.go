package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/statestore"
)

func TestAPoolBoundsWhatRunsAtATime(t *testing.T) {
	var all sync.WaitGroup
	p := pool{most: 3, all: &all}
	var now, most atomic.Int64
	var done atomic.Int64
	full, gate := make(chan struct{}, 100), make(chan struct{})
	for range 100 {
		p.run(func() {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			full <- struct{}{}
			<-gate
			now.Add(-1)
			done.Add(1)
		})
	}
	for range 3 {
		<-full
	}
	if n := now.Load(); n != 3 {
		t.Errorf("%d run at a time", n)
	}
	close(gate)
	all.Wait()
	if done.Load() != 100 || most.Load() > 3 {
		t.Errorf("%d done, up to %d at a time", done.Load(), most.Load())
	}
}

func TestTimersRingInOrderWithOneTimerOfTheClock(t *testing.T) {
	c := clock.NewManual(time.Unix(0, 0))
	ts := newTimers(c)
	rang := make(chan int, 2000)
	owner := func(n int) flight { return flight{"i", "e", n} }
	for n := range 1000 {
		ts.set(owner(n), c.Now().Add(time.Duration(1000-n)*time.Second), func() { rang <- n })
	}
	ts.set(owner(5), c.Now().Add(time.Hour), func() { t.Error("a later moment took the place of an earlier one") })
	for n := range 10 {
		ts.forget(owner(n))
	}
	ts.forget(owner(5000))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); ts.run(ctx) }()
	defer func() { cancel(); <-ended }()
	if err := c.AwaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	var got []int
	for range 990 {
		got = append(got, <-rang)
	}
	if got[0] != 999 || got[989] != 10 || !slices.IsSortedFunc(got, func(a, b int) int { return b - a }) {
		t.Errorf("they rang in the order %v", got)
	}
	ts.set(owner(1), c.Now().Add(time.Hour), func() { rang <- 1 })
	ts.set(owner(2), c.Now().Add(time.Minute), func() { rang <- 2 }) // earlier than what is waited for
	for n := 0; n != 2; {
		select {
		case n = <-rang:
		case <-time.After(time.Millisecond):
			c.Advance(time.Second)
		}
		if n == 1 {
			t.Fatal("the later one rang first")
		}
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.heap) != 1 || len(ts.byOwner) != 1 {
		t.Errorf("%d and %d are kept", len(ts.heap), len(ts.byOwner))
	}
}

// An app that has used up its budget does not hang: what cannot grow fails, and says
// why.
func TestAnOrchestrationThatOutgrowsTheBudgetFailsWithTheLimit(t *testing.T) {
	a := newApp()
	a.activities["big"] = func(string) (string, error) { return `"` + strings.Repeat("x", 30_000) + `"`, nil }
	a.orchestrators["many"] = func(h *history) string {
		acts := make([]string, 20)
		for n := range acts {
			acts[n] = fmt.Sprintf(`{"actionType":0,"functionName":"big","input":"%d"}`, n)
			// As the library does: the first activity that fails ends it. Whether one fails, or
			// the instance itself does, is a matter of which answers come together.
			if out, ended := h.done(n); ended && strings.HasPrefix(out, "failed") {
				cause, _ := json.Marshal(out)
				return "Error: x" + failureMark + `{"isDone":false,"actions":[[` + strings.Join(acts[:n+1], ",") + `]],"error":` + string(cause) + "}"
			}
		}
		return state(false, "null", `{"actionType":12,"compoundActions":[`+strings.Join(acts, ",")+`]}`)
	}
	a.orchestrators["breeds"] = func(h *history) string {
		if out, done := h.done(0); done {
			what := "another end"
			if limit := "limit of 20 instances"; strings.Contains(out, limit) {
				what = limit
			}
			return state(true, `"`+what+`"`, `{"actionType":2,"functionName":"breeds","input":"1"}`)
		}
		return state(false, "null", `{"actionType":2,"functionName":"breeds","input":"1"}`)
	}
	c := clock.NewManual(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC))
	e := New(Config{Invoke: a, Clock: c, Log: slog.New(slog.DiscardHandler), Store: statestore.New(statestore.Config{
		Docs: memory.New(c), Prefix: "/a/", Clock: c, Budget: instances.Budget{Instances: 10, Bytes: 100_000},
	})})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	b := &bench{e, a, c, sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(b.stop)
	b.awaitDriving(t)
	if i := b.run(t, "breeder", "breeds", `1`); !i.Status.Final() || !strings.Contains(string(i.Output), "limit of 20 instances") {
		t.Errorf("it is %s: %.300s", i.Status, i.Output)
	}
	if _, err := b.PurgeAll(t.Context(), instances.Query{}); err != nil {
		t.Fatal(err)
	}
	if i := b.run(t, "one", "many", `1`); i.Status != instances.Failed || !strings.Contains(string(i.Output), "limit of 200000 bytes") {
		t.Errorf("it is %s: %.300s", i.Status, i.Output)
	}
}
