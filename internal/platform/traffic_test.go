package platform

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/traffic"
)

// trafficNode is a node that counts and tells.
type trafficNode struct {
	*trafficTeller
	metrics *telemetry.Metrics
}

func newTrafficNode(t *testing.T, node string, store state.Store, c clock.Clock) trafficNode {
	t.Helper()
	m := telemetry.NewMetrics("")
	return trafficNode{&trafficTeller{store: store, book: traffic.NewBook(node, c, m), node: segment(node), warn: func(err error) { t.Error(err) }}, m}
}

// minute ends a minute in which the node served requests.
func (n trafficNode) minute(t *testing.T, c *clock.Manual, requests int) {
	t.Helper()
	for range requests {
		n.metrics.Function("Orders", "f").Observe(200, time.Millisecond)
	}
	c.Advance(time.Minute)
	f, over := n.book.Close()
	if !over {
		t.Fatal("no minute is over")
	}
	n.tell(t.Context(), f)
}

func (n trafficNode) requests(from time.Time) uint64 {
	return n.book.Read("Orders", from, time.Hour, 1)[0].Requests()
}

// hear has a node read what all have told.
func (n trafficNode) hear(t *testing.T) {
	t.Helper()
	list, err := n.store.List(t.Context(), trafficPrefix, state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	n.Reset(list.Documents)
}

// TestNodesSumUpWhatTheyCounted, and what they did before they were started again.
func TestNodesSumUpWhatTheyCounted(t *testing.T) {
	start := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	c := clock.NewManual(start)
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	one, two := newTrafficNode(t, "One", store, c), newTrafficNode(t, "two", store, c)
	one.minute(t, c, 3)
	two.minute(t, c, 4)
	one.minute(t, c, 2)
	for range 2 { // a state that was cut off is read again as a whole
		one.hear(t)
		two.hear(t)
	}
	if a, b := one.requests(start), two.requests(start); a != 9 || b != 9 {
		t.Errorf("one says %d, two says %d", a, b)
	}
	again := newTrafficNode(t, "One", store, c)
	again.hear(t)
	again.minute(t, c, 1)
	if got := again.requests(start); got != 10 {
		t.Errorf("after it was started again: %d", got)
	}
}

// TestWhatNodesTellIsBounded: sixty documents for each, of so many apps at most, and
// none of nodes that are gone.
func TestWhatNodesTellIsBounded(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 3, 4, 5, 1, 0, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	gone, n := newTrafficNode(t, "gone", store, c), newTrafficNode(t, "here", store, c)
	gone.minute(t, c, 1)
	for range 26 * 60 {
		n.minute(t, c, 0)
	}
	list, err := store.List(t.Context(), trafficPrefix, state.Page{})
	if err != nil || len(list.Documents) != trafficTold {
		t.Errorf("%d documents, %v", len(list.Documents), err)
	}
	many := traffic.Finished{Node: "here", Apps: map[string]traffic.Sum{}}
	for i := range uint64(trafficApps + 10) {
		many.Apps[fmt.Sprint("app", i)] = traffic.Sum{Counts: [traffic.Classes]uint64{traffic.S2xx: i + 1}}
	}
	told := shortTraffic(many)
	if _, least := told.Apps["app9"]; len(told.Apps) != trafficApps || least {
		t.Errorf("%d apps are told", len(told.Apps))
	}
}
