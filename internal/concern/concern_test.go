package concern_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func in(d time.Duration) time.Time { return noon.Add(d) }

// ends gives a host key that ends after a time, with the last use before now.
func ends(after, used time.Duration) concern.Key {
	k := concern.Key{Kind: "host", Name: "partner", Meta: accesskey.Meta{Expires: in(after)}}
	if used != 0 {
		k.Used = in(-used)
	}
	return k
}

func former(after, used time.Duration) concern.Key {
	k := ends(after, used)
	k.Name = accesskey.RetiredName("partner", in(after))
	k.Meta = accesskey.Meta{} // another program dropped it: the name is enough
	return k
}

func master(after, used time.Duration) concern.Key {
	k := concern.Key{Kind: "master", Name: accesskey.MasterName, Meta: accesskey.Meta{Former: []accesskey.Former{{Expires: in(after)}}}}
	if used != 0 {
		k.FormerUsed = in(-used)
	}
	return k
}

func TestWhichKeysAreWorthALook(t *testing.T) {
	disabled := ends(day, time.Hour)
	disabled.Meta.Disabled = true
	presented := ends(-day, 0)
	presented.Refused = in(-time.Hour)
	for name, c := range map[string]struct {
		key  concern.Key
		want concern.Kind
		next time.Duration // 0: never
	}{
		"without an end":                       {concern.Key{Kind: "host", Name: "default"}, "", 0},
		"ends in a year":                       {ends(365*day, time.Hour), "", 351 * day},
		"ends in two weeks":                    {ends(14*day, 0), concern.KeyEnds, 14 * day},
		"ends tomorrow":                        {ends(day, time.Hour), concern.KeyEnds, day},
		"ends tomorrow, but is disabled":       {disabled, "", 0},
		"has ended, was in use until then":     {ends(-day, day+time.Hour), concern.KeyEnded, 13 * day},
		"has ended, was not used for long":     {ends(-day, 9*day), "", 13 * day},
		"has ended, was never used":            {ends(-day, 0), "", 13 * day},
		"has ended, is presented still":        {presented, concern.KeyEnded, 13 * day},
		"ended long ago":                       {ends(-15*day, 15*day), "", 0},
		"former, in use, ends in an hour":      {former(time.Hour, time.Minute), concern.FormerInUse, time.Hour},
		"former, in use, ends in a week":       {former(7*day, time.Minute), "", day - time.Minute},
		"former, not used any more":            {former(time.Hour, 2*day), "", time.Hour},
		"former, has ended, was in use":        {former(-time.Hour, 2*time.Hour), concern.KeyEnded, 14*day - time.Hour},
		"former master key, in use":            {master(time.Hour, time.Minute), concern.FormerInUse, time.Hour},
		"former master key, not used any more": {master(time.Hour, 0), "", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			found, next := concern.OfKeys([]concern.Key{c.key}, noon)
			kind := concern.Kind("")
			if len(found) > 0 {
				kind = found[0].Kind
			}
			var want time.Time
			if c.next != 0 {
				want = in(c.next)
			}
			if kind != c.want || len(found) > 1 || !next.Equal(want) {
				t.Errorf("%+v, next %s, want %q and %s", found, next, c.want, want)
			}
		})
	}
}

func site(name string) resource.ID {
	return resource.Group("sub", "rg").Child("Microsoft.Web", "sites", name)
}

// apps are looked at by an index.
type apps struct {
	mu     sync.Mutex
	found  map[string][]concern.Concern // by name
	next   time.Time
	looks  map[string]int
	broken bool
	bad    string // cannot be looked at, whatever is done
	news   int
}

func (a *apps) config(c clock.Clock) concern.Config {
	return concern.Config{
		All: func(context.Context) (ids []resource.ID, err error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			for name := range a.found {
				ids = append(ids, site(name))
			}
			return ids, nil
		},
		Look: func(_ context.Context, id resource.ID) ([]concern.Concern, time.Time, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.broken {
				return nil, time.Time{}, problem.New(problem.Unavailable, "cut off")
			}
			if id.Name() == a.bad {
				return nil, time.Time{}, problem.New(problem.Invalid, "its settings break a rule")
			}
			a.looks[id.Name()]++
			list := append([]concern.Concern(nil), a.found[id.Name()]...)
			for i := range list {
				list[i].Resource = id
			}
			return list, a.next, nil
		},
		Changed: func() { a.mu.Lock(); a.news++; a.mu.Unlock() },
		Clock:   c, Log: slog.New(slog.DiscardHandler),
	}
}

func (a *apps) set(name string, list ...concern.Concern) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found[name] = list
}

func (a *apps) seen() (looks map[string]int, news int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	looks = map[string]int{}
	for name, n := range a.looks {
		looks[name] = n
	}
	return looks, a.news
}

// until waits for another goroutine's work.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func found(x *concern.Index) string {
	list, known := x.Entries()
	names := map[string]int{}
	for _, e := range list {
		for _, n := range e.Counts {
			names[e.Resource.Name()] += n
		}
	}
	return fmt.Sprint(names, known)
}

func TestTheIndexFollowsChanges(t *testing.T) {
	c := clock.NewManual(noon)
	a := &apps{found: map[string][]concern.Concern{}, looks: map[string]int{}}
	a.set("calm")
	a.set("orders", concern.Concern{Kind: concern.KeyEnds, Name: "partner", At: in(day)})
	x := concern.NewIndex(a.config(c))
	if got := found(x); got != "map[] false" {
		t.Error(got)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	defer func() { stop(); <-ended }()
	until(t, "all are known", func() bool { return found(x) == "map[orders:1] true" })

	a.set("calm", concern.Concern{Kind: concern.ReferenceFails, Name: "DB"}, concern.Concern{Kind: concern.ReferenceFails, Name: "KEY"})
	x.Mark(site("calm"))
	until(t, "a change is seen", func() bool { return found(x) == "map[calm:2 orders:1] true" })
	if looks, _ := a.seen(); looks["orders"] != 1 {
		t.Errorf("what did not change was looked at: %v", looks)
	}
	_, before := a.seen()
	x.Mark(site("calm"))
	until(t, "it is looked at again", func() bool { looks, _ := a.seen(); return looks["calm"] == 3 })
	if _, after := a.seen(); after != before {
		t.Error("nothing new is told as news")
	}
	a.mu.Lock()
	delete(a.found, "orders")
	a.mu.Unlock()
	x.MarkAll()
	until(t, "an app that is gone is forgotten", func() bool { return found(x) == "map[calm:2] true" })
}

func TestTheIndexFollowsTime(t *testing.T) {
	c := clock.NewManual(noon)
	a := &apps{found: map[string][]concern.Concern{}, looks: map[string]int{}, next: in(time.Hour)}
	a.set("orders")
	x := concern.NewIndex(a.config(c))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	defer func() { stop(); <-ended }()
	until(t, "all are known", func() bool { return found(x) == "map[] true" })
	a.mu.Lock()
	a.found["orders"], a.next = []concern.Concern{{Kind: concern.KeyEnds}}, time.Time{}
	a.mu.Unlock()
	until(t, "its time has come", func() bool {
		c.Advance(time.Minute)
		return found(x) == "map[orders:1] true"
	})
	if now := c.Now(); now.Before(in(time.Hour)) {
		t.Errorf("already at %s", now)
	}
}

// TestWhatCannotBeLookedAtStays, and is looked at later.
func TestWhatCannotBeLookedAtStays(t *testing.T) {
	c := clock.NewManual(noon)
	a := &apps{found: map[string][]concern.Concern{}, looks: map[string]int{}}
	a.set("orders", concern.Concern{Kind: concern.KeyEnds})
	x := concern.NewIndex(a.config(c))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	defer func() { stop(); <-ended }()
	until(t, "all are known", func() bool { return found(x) == "map[orders:1] true" })
	a.mu.Lock()
	a.broken, a.found["orders"] = true, nil
	a.mu.Unlock()
	x.Mark(site("orders"))
	if got := found(x); got != "map[orders:1] true" {
		t.Error(got)
	}
	a.mu.Lock()
	a.broken = false
	a.mu.Unlock()
	until(t, "it is seen when it can be", func() bool { return found(x) == "map[] true" })
}

// TestOneAppThatCannotBeLookedAtKeepsNoOthers from being looked at, and is looked at
// when that can be.
func TestOneAppThatCannotBeLookedAtKeepsNoOthers(t *testing.T) {
	c := clock.NewManual(noon)
	a := &apps{found: map[string][]concern.Concern{}, looks: map[string]int{}, bad: "bad"}
	for _, name := range []string{"a", "bad", "c", "d", "e", "f"} {
		a.set(name, concern.Concern{Kind: concern.KeyEnds})
	}
	var log strings.Builder
	cfg := a.config(c)
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	x := concern.NewIndex(cfg)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	defer stop()
	until(t, "the others are known", func() bool { return found(x) == "map[a:1 c:1 d:1 e:1 f:1] true" })
	a.mu.Lock()
	a.bad = ""
	a.mu.Unlock()
	until(t, "it is seen when it can be", func() bool {
		c.Advance(time.Minute)
		return found(x) == "map[a:1 bad:1 c:1 d:1 e:1 f:1] true"
	})
	stop()
	<-ended
	if n := strings.Count(log.String(), "app bad: its settings"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
}

// TestOneAppCannotFillTheList: what is kept of it is bounded, the most pressing first.
func TestOneAppCannotFillTheList(t *testing.T) {
	c := clock.NewManual(noon)
	a := &apps{found: map[string][]concern.Concern{}, looks: map[string]int{}}
	var many []concern.Concern
	for i := range 1000 {
		many = append(many, concern.Concern{Kind: concern.KeyEnds, Name: fmt.Sprint("key", i), At: in(time.Duration(1000-i) * time.Minute)})
	}
	a.set("orders", append(many, concern.Concern{Kind: concern.ReferenceFails, Name: "DB"})...)
	x := concern.NewIndex(a.config(c))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	defer func() { stop(); <-ended }()
	until(t, "all are known", func() bool { return found(x) == "map[orders:1001] true" })
	list, _ := x.Entries()
	e := list[0]
	if diff := cmp.Diff(map[concern.Kind]int{concern.KeyEnds: 1000, concern.ReferenceFails: 1}, e.Counts); diff != "" || len(e.Found) != concern.Kept || e.Found[0].Name != "DB" || e.Found[1].Name != "key999" {
		t.Errorf("%d kept, %v, %s", len(e.Found), e.Found[:2], diff)
	}
}
