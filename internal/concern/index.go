package concern

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Kept is how many concerns of one app are kept. Others are only counted.
const Kept = 20

// Pauses of the index.
const (
	gather = 200 * time.Millisecond // changes that come at once are looked at together
	tick   = time.Minute            // between looks at what time has changed
	rest   = time.Second            // after a failure
	quiet  = 10 * time.Minute       // before the same failure is told again
)

// Entry is what is to be looked at of one app.
type Entry struct {
	Resource resource.ID
	Found    []Concern    // at most Kept, the most pressing first
	Counts   map[Kind]int // of all, those that are not kept too
	next     time.Time    // when it will change by itself
}

// Config is what an Index works with; all of it is required.
type Config struct {
	// All gives the ids of all apps.
	All func(ctx context.Context) ([]resource.ID, error)
	// Look looks at one app and says when what it found will change by itself. It
	// finds nothing of an app that is not there.
	Look func(ctx context.Context, id resource.ID) (found []Concern, next time.Time, err error)
	// Changed is told when there is something new. It must not wait.
	Changed func()
	Clock   clock.Clock
	Log     *slog.Logger
}

// Index has what is to be looked at of all apps. It is safe for concurrent use.
type Index struct {
	cfg  Config
	wake chan struct{} // buffered by one

	mu      sync.Mutex
	entries map[string]*Entry // by key of the app's id; those with something only
	nexts   map[string]plan   // of all apps that will change by themselves
	marked  map[string]resource.ID
	all     bool // all apps are to be looked at
	known   bool // all were, once
}

type plan struct {
	id resource.ID
	at time.Time
}

// NewIndex makes an index that knows nothing until Run has looked.
func NewIndex(cfg Config) *Index {
	return &Index{
		cfg: cfg, wake: make(chan struct{}, 1), entries: map[string]*Entry{}, nexts: map[string]plan{}, marked: map[string]resource.ID{}, all: true,
	}
}

// Mark has an app looked at again soon. It does not wait.
func (x *Index) Mark(id resource.ID) {
	x.mu.Lock()
	x.marked[id.Key()] = id
	x.mu.Unlock()
	x.nudge()
}

// MarkAll has all apps looked at again soon. It does not wait.
func (x *Index) MarkAll() {
	x.mu.Lock()
	x.all = true
	x.mu.Unlock()
	x.nudge()
}

func (x *Index) nudge() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Entries gives the apps with something to look at, in no order; they must not be
// changed. known is false until all apps were looked at once.
func (x *Index) Entries() (list []*Entry, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list = make([]*Entry, 0, len(x.entries))
	for _, e := range x.entries {
		list = append(list, e)
	}
	return list, x.known
}

// Run keeps the index until ctx ends.
func (x *Index) Run(ctx context.Context) {
	told, at := "", time.Time{}
	for ctx.Err() == nil {
		if err := x.round(ctx); err != nil && ctx.Err() == nil {
			if now := x.cfg.Clock.Now(); err.Error() != told || now.Sub(at) >= quiet {
				x.cfg.Log.Warn("what is worth a look may be out of date", "reason", err)
				told, at = err.Error(), now
			}
			_ = clock.Sleep(ctx, clock.Real{}, rest)
			continue
		}
		timer := x.cfg.Clock.NewTimer(tick)
		select {
		case <-x.wake:
			_ = clock.Sleep(ctx, clock.Real{}, gather)
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// round looks at what is marked and at what time has changed.
func (x *Index) round(ctx context.Context) (failed error) {
	due, all, err := x.due(ctx)
	if err != nil {
		return err
	}
	news, whole := false, true
	for i, id := range due {
		found, next, err := x.cfg.Look(ctx, id)
		if err != nil && (ctx.Err() != nil || outage(err)) {
			x.putBack(due[i:], all)
			whole, failed = false, err
			break
		}
		if err != nil { // others must not wait for one that cannot be looked at
			failed = fmt.Errorf("app %s: %w", id.Name(), err)
			x.later(id)
			continue
		}
		news = x.put(id, found, next) || news
	}
	x.mu.Lock()
	first := whole && all && !x.known
	x.known = x.known || whole && all
	x.mu.Unlock()
	if news || first {
		x.cfg.Changed()
	}
	return failed
}

// outage reports whether an error is of the state, so that looking at others would
// fail as well.
func outage(err error) bool {
	switch problem.KindOf(err) {
	case problem.Unavailable, problem.Timeout, problem.Throttled:
		return true
	}
	return false
}

// later has an app looked at again after a while; what is known of it stays.
func (x *Index) later(id resource.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nexts[id.Key()] = plan{id, x.cfg.Clock.Now().Add(tick)}
}

// due takes what is to be looked at.
func (x *Index) due(ctx context.Context) (list []resource.ID, all bool, err error) {
	x.mu.Lock()
	all, x.all = x.all, false
	marked := x.marked
	x.marked = map[string]resource.ID{}
	now := x.cfg.Clock.Now()
	for key, p := range x.nexts {
		if !p.at.After(now) {
			marked[key] = p.id
		}
	}
	x.mu.Unlock()
	if all {
		list, err = x.cfg.All(ctx)
		if err != nil {
			x.MarkAll()
			return nil, false, err
		}
		for _, id := range list {
			delete(marked, id.Key())
		}
		x.drop(list)
	}
	for _, id := range marked {
		list = append(list, id)
	}
	return list, all, nil
}

// drop forgets apps that are not there any more.
func (x *Index) drop(there []resource.ID) {
	keys := make(map[string]bool, len(there))
	for _, id := range there {
		keys[id.Key()] = true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.entries {
		if !keys[key] {
			delete(x.entries, key)
		}
	}
	for key := range x.nexts {
		if !keys[key] {
			delete(x.nexts, key)
		}
	}
}

// putBack has what was not looked at looked at later.
func (x *Index) putBack(list []resource.ID, all bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = x.all || all
	for _, id := range list {
		x.marked[id.Key()] = id
	}
}

// put enters what was found and reports whether that is news.
func (x *Index) put(id resource.ID, found []Concern, next time.Time) (news bool) {
	for i := range found {
		found[i].Settle()
	}
	slices.SortFunc(found, Compare)
	e := &Entry{Resource: id, Counts: map[Kind]int{}, next: next}
	for _, c := range found {
		e.Counts[c.Kind]++
	}
	e.Found = slices.Clone(found[:min(len(found), Kept)])
	key := id.Key()
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.nexts, key)
	if !next.IsZero() {
		x.nexts[key] = plan{id, next}
	}
	had := x.entries[key]
	if len(found) == 0 {
		delete(x.entries, key)
		return had != nil
	}
	x.entries[key] = e
	return had == nil || !maps.Equal(had.Counts, e.Counts) || !slices.EqualFunc(had.Found, e.Found, same)
}

// same reports whether two concerns read the same but for when a key was used.
func same(a, b Concern) bool {
	return a.Place == b.Place && a.At.Equal(b.At) && a.Why == b.Why && a.Next == b.Next
}
