package traffic

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// Retention is how long counts are kept: a day by the quarter of an hour, of which
// an hour by the minute.
const (
	Retention       = 24 * time.Hour
	MinuteRetention = time.Hour
)

// Counters gives what counters stand at. It must be safe for concurrent use and must
// not call a Book.
type Counters interface {
	// EachTraffic calls yield for each app that has a counter.
	EachTraffic(yield func(app string, total Sum))
	// Traffic gives that of one app, zero if it has none.
	Traffic(app string) Sum
}

// Node is a node that counted.
type Node struct {
	Name  string
	Since time.Time // what was before is not known
	Until time.Time // likewise after; the zero time for the node that answers
}

// Finished is what a node counted in a minute.
type Finished struct {
	Node   string
	Minute int64 // since 1970
	Since  time.Time
	Apps   map[string]Sum // those with requests only, by name in lower case
}

// Book keeps what was counted. It is safe for concurrent use.
type Book struct {
	node     string
	clock    clock.Clock
	counters Counters

	mu     sync.Mutex
	since  time.Time
	minute int64          // that is under way
	last   map[string]Sum // what counters stood at when it began
	own    map[string]*ledger
	over   []Finished       // nobody took them yet, the oldest first
	others map[string]*told // by node
}

// told is what another node told, or this one before it was started again.
type told struct {
	since  time.Time
	minute int64 // the last one
	apps   map[string]*ledger
}

// NewBook begins a book of what counters count from now on.
func NewBook(node string, c clock.Clock, counters Counters) *Book {
	b := &Book{node: node, clock: c, counters: counters, others: map[string]*told{}}
	b.begin(c.Now())
	return b
}

func (b *Book) begin(now time.Time) {
	b.since, b.minute = now.UTC(), minuteOf(now)
	b.last, b.own = map[string]Sum{}, map[string]*ledger{}
	b.counters.EachTraffic(func(app string, total Sum) { b.last[strings.ToLower(app)] = total })
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// Run closes each minute when it is over and hands it to finished, which can be nil,
// until ctx ends. Minutes that are over while finished is busy are handed to it next.
func (b *Book) Run(ctx context.Context, finished func(context.Context, Finished)) {
	for ctx.Err() == nil {
		now := b.clock.Now()
		wait := now.Truncate(time.Minute).Add(time.Minute).Sub(now)
		if clock.Sleep(ctx, b.clock, wait) != nil {
			return
		}
		for f, over := b.Close(); over && ctx.Err() == nil; f, over = b.Close() {
			if finished != nil {
				finished(ctx, f)
			}
		}
	}
}

// Close closes the minute that was under way, if it is over, and gives the first of
// those that were closed and that it did not give yet: reading closes minutes too.
func (b *Book) Close() (f Finished, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	if len(b.over) == 0 {
		return f, false
	}
	f = b.over[0]
	b.over = b.over[1:]
	return f, true
}

func (b *Book) close() {
	now := b.clock.Now()
	minute := minuteOf(now)
	if minute == b.minute {
		return
	}
	if minute < b.minute { // the clock was set back: what was counted is of a time to come
		b.begin(now)
		return
	}
	f := Finished{Node: b.node, Minute: b.minute, Since: b.since, Apps: map[string]Sum{}}
	next := make(map[string]Sum, len(b.last))
	b.counters.EachTraffic(func(app string, total Sum) {
		app = strings.ToLower(app)
		next[app] = total
		if d := total.since(b.last[app]); !d.IsZero() {
			f.Apps[app] = d
			if b.own[app] == nil {
				b.own[app] = new(ledger)
			}
			b.own[app].add(b.minute, d)
		}
	})
	maps.DeleteFunc(b.own, func(app string, _ *ledger) bool { _, there := next[app]; return !there }) // it was deleted
	b.last, b.minute = next, minute
	b.over = append(b.over, f)
	b.over = b.over[max(len(b.over)-minutesKept, 0):]
}

// Heard takes what a node counted in a minute. What it told before, or what is of
// this node since it was started, is not taken again.
func (b *Book) Heard(f Finished) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.Node == b.node && f.Minute >= minuteOf(b.since) {
		return
	}
	t := b.others[f.Node]
	if t == nil {
		t = &told{since: f.Since, apps: map[string]*ledger{}}
		b.others[f.Node] = t
	}
	if f.Minute <= t.minute {
		return
	}
	t.minute = f.Minute
	for app, sum := range f.Apps {
		if app = strings.ToLower(app); t.apps[app] == nil {
			t.apps[app] = new(ledger)
		}
		t.apps[app].add(f.Minute, sum)
	}
}

// Forget drops what others told of an app that was deleted.
func (b *Book) Forget(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.others {
		delete(t.apps, strings.ToLower(app))
	}
}

// Trim drops nodes that told nothing for longer than counts are kept.
func (b *Book) Trim() {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := minuteOf(b.clock.Now().Add(-Retention))
	maps.DeleteFunc(b.others, func(_ string, t *told) bool { return t.minute < oldest })
}

// Read adds up what all nodes counted for an app, by its name as it is spelled: count
// times step from a time on. step is whole minutes, and both are rounded down to the
// minute, or to the quarter of an hour if step is that long or longer. The minute
// under way counts with what there is of it on this node.
func (b *Book) Read(app string, from time.Time, step time.Duration, count int) []Sum {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	present := b.counters.Traffic(app)
	app = strings.ToLower(app)
	present = present.since(b.last[app])
	unit, quarters := int64(1), false
	if step >= quarter*time.Minute {
		unit, quarters = quarter, true
	}
	per := max(int64(step/time.Minute)/unit, 1)
	first := minuteOf(from) / unit
	sums := make([]Sum, count)
	for i := range sums {
		at := first + int64(i)*per
		for _, l := range b.ledgers(app) {
			sums[i] = sums[i].Plus(l.sum(at, per, quarters))
		}
		if now := b.minute / unit; now >= at && now < at+per {
			sums[i] = sums[i].Plus(present)
		}
	}
	return sums
}

func (b *Book) ledgers(app string) (list []*ledger) {
	if l := b.own[app]; l != nil {
		list = append(list, l)
	}
	for _, t := range b.others {
		if l := t.apps[app]; l != nil {
			list = append(list, l)
		}
	}
	return list
}

// Nodes gives the nodes whose counts there are, this one first.
func (b *Book) Nodes() []Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []Node{{Name: b.node, Since: b.since}}
	for _, name := range slices.Sorted(maps.Keys(b.others)) {
		t := b.others[name]
		list = append(list, Node{Name: name, Since: t.since, Until: time.Unix((t.minute+1)*60, 0).UTC()})
	}
	return list
}
