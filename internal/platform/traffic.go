package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/monitor"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/traffic"
)

// trafficPrefix is where nodes that share their state tell each other what they
// counted, each in sixty documents in turn, one for each minute.
const trafficPrefix state.Key = "/traffic/"

// Bounds of what a node tells.
const (
	trafficTold = 60   // minutes
	trafficApps = 5000 // in a minute: those with the most requests
)

// openTraffic begins to count requests.
func (n *Node) openTraffic() {
	n.traffic = traffic.NewBook(n.cfg.Node, n.cfg.Clock, n.metrics)
	if n.cfg.State.Kind == "bolt" { // nobody else
		n.beside(func(ctx context.Context) { n.traffic.Run(ctx, nil) })
		return
	}
	t := &trafficTeller{store: n.store, book: n.traffic, node: segment(n.cfg.Node), warn: func(err error) {
		n.log.Warn("how many requests apps got on this node cannot be told to the others", "reason", err)
	}}
	n.beside(func(ctx context.Context) { n.traffic.Run(ctx, t.tell) })
	n.beside(func(ctx context.Context) { state.Follow(ctx, n.store, trafficPrefix, n.cfg.Clock, t) })
}

// newMonitor makes the operations of Microsoft.Insights.
func (n *Node) newMonitor() *monitor.Provider {
	return monitor.New(monitor.Config{
		Find: func(ctx context.Context, id resource.ID) (name, location string, err error) {
			a, err := n.apps.Get(ctx, id)
			return a.Name, a.Resource.Location, err
		},
		Read: n.traffic.Read, Nodes: n.traffic.Nodes, Clock: n.cfg.Clock,
	})
}

// forgetTraffic drops what was counted of an app that is deleted.
func (n *Node) forgetTraffic(_ context.Context, a app.App) error {
	n.traffic.Forget(a.Name)
	return nil
}

// trafficTeller tells what this node counted and hears what others did.
type trafficTeller struct {
	store state.Store
	book  *traffic.Book
	node  string
	warn  func(error)
}

// toldTraffic is what a node counted in a minute.
type toldTraffic struct {
	Node   string              `json:"node"`
	Minute int64               `json:"minute"`
	Since  time.Time           `json:"since"`
	Apps   map[string][]uint64 `json:"apps"` // counts by class, then microseconds
}

// tell writes a minute over the one of an hour ago. Once an hour what nodes said
// that are gone is removed.
func (t *trafficTeller) tell(ctx context.Context, f traffic.Finished) {
	text, err := json.Marshal(shortTraffic(f))
	if err == nil {
		key := trafficPrefix + state.Key(fmt.Sprintf("%s/%02d", t.node, f.Minute%trafficTold))
		_, err = t.store.Write(ctx, state.Put(key, text, state.Any))
	}
	if err == nil && f.Minute%trafficTold == 0 {
		t.book.Trim()
		err = t.sweep(ctx, f.Minute)
	}
	if err != nil && ctx.Err() == nil {
		t.warn(err)
	}
}

// shortTraffic gives what is told: the apps with the most requests, if there are too
// many.
func shortTraffic(f traffic.Finished) toldTraffic {
	names := slices.SortedFunc(maps.Keys(f.Apps), func(a, b string) int {
		x, y := f.Apps[a].Requests(), f.Apps[b].Requests()
		if x != y {
			return int(min(y, 1<<31)) - int(min(x, 1<<31)) //nolint:gosec // bounded
		}
		return strings.Compare(a, b)
	})
	told := toldTraffic{Node: f.Node, Minute: f.Minute, Since: f.Since, Apps: map[string][]uint64{}}
	for _, name := range names[:min(len(names), trafficApps)] {
		s := f.Apps[name]
		told.Apps[name] = append(slices.Clone(s.Counts[:]), s.Micros)
	}
	return told
}

// sweep removes what nodes told that have told nothing for a day.
func (t *trafficTeller) sweep(ctx context.Context, minute int64) error {
	list, err := t.store.List(ctx, trafficPrefix, state.Page{})
	if err != nil {
		return err
	}
	var ops []state.Op
	for _, d := range list.Documents {
		var told toldTraffic
		if json.Unmarshal(d.Value, &told) != nil || told.Minute < minute-int64(traffic.Retention/time.Minute) {
			ops = append(ops, state.Delete(d.Key, d.Revision))
		}
		if len(ops) == state.MaxOps {
			break // the rest in an hour
		}
	}
	if len(ops) == 0 {
		return nil
	}
	_, err = t.store.Write(ctx, ops...)
	return err
}

// Reset implements state.Follower.
func (t *trafficTeller) Reset(documents []state.Document) {
	var all []toldTraffic
	for _, d := range documents {
		var told toldTraffic
		if json.Unmarshal(d.Value, &told) == nil {
			all = append(all, told)
		}
	}
	slices.SortFunc(all, func(a, b toldTraffic) int { return int(a.Minute - b.Minute) }) // a node's minutes are heard in their order
	for _, told := range all {
		t.hear(told)
	}
}

// Apply implements state.Follower.
func (t *trafficTeller) Apply(e state.Event) {
	var told toldTraffic
	if e.Kind != state.EventDelete && json.Unmarshal(e.Value, &told) == nil {
		t.hear(told)
	}
}

// Cut implements state.Follower. What was heard stays.
func (t *trafficTeller) Cut(error) {}

func (t *trafficTeller) hear(told toldTraffic) {
	f := traffic.Finished{Node: told.Node, Minute: told.Minute, Since: told.Since, Apps: make(map[string]traffic.Sum, len(told.Apps))}
	for name, counts := range told.Apps {
		var s traffic.Sum
		if len(counts) != len(s.Counts)+1 {
			continue // of another version
		}
		copy(s.Counts[:], counts)
		s.Micros = counts[len(counts)-1]
		f.Apps[name] = s
	}
	t.book.Heard(f)
}
