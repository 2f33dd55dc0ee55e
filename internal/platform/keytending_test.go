package platform

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	keymemory "github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// tended is a tender with the clock in hand over rings on stores in memory.
type tended struct {
	*tender
	clock *clock.Manual
	log   *strings.Builder
	rings map[string]*keyring.Ring
	looks map[string]int
	mu    sync.Mutex
}

func newTended(t *testing.T, stores map[string]keystore.Store) *tended {
	t.Helper()
	return newTendedAt(t, clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)), stores)
}

func newTendedAt(t *testing.T, c *clock.Manual, stores map[string]keystore.Store) *tended {
	t.Helper()
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	e := &tended{clock: c, log: &strings.Builder{}, rings: map[string]*keyring.Ring{}, looks: map[string]int{}}
	var apps []app.App
	for name, s := range stores {
		ring, err := keyring.New(keyring.Config{Store: s, Clock: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ring.Close)
		e.rings[name] = ring
		apps = append(apps, app.App{Name: name, UID: "uid"})
	}
	e.tender = &tender{
		store: store, clock: c, log: slog.New(slog.NewTextHandler(e.log, nil)), changed: map[string]bool{}, plans: map[string]tendPlan{},
		apps: func(context.Context) ([]app.App, error) { return slices.Clone(apps), nil },
		ring: func(_ context.Context, a app.App) (*keyring.Ring, error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.looks[a.Name]++
			return e.rings[a.Name], nil
		},
	}
	return e
}

// schedule gives the default host key of a store a rotation every two days.
func schedule(t *testing.T, s keystore.Store, c clock.Clock) {
	t.Helper()
	ring, err := keyring.New(keyring.Config{Store: s, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if err := ring.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = ring.SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error {
		m.RotateEvery, m.Overlap = 48*time.Hour, time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func hostKeys(t *testing.T, ring *keyring.Ring) int {
	t.Helper()
	list, err := ring.List(t.Context(), keyring.HostKeys())
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAppsAreLookedAtWhenSomethingIsDueOrChanged(t *testing.T) {
	busy, quiet := keymemory.New(), keymemory.New()
	e := newTended(t, map[string]keystore.Store{"busy": busy, "quiet": quiet})
	schedule(t, busy, e.clock)
	schedule(t, quiet, e.clock)
	if _, err := e.rings["quiet"].SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error { m.RotateEvery, m.Overlap = 0, 0; return nil }); err != nil {
		t.Fatal(err)
	}
	looks := func(want map[string]int) {
		t.Helper()
		e.tendOnce(t.Context())
		for name, n := range want {
			if e.looks[name] != n {
				t.Errorf("%s was looked at %d times, not %d", name, e.looks[name], n)
			}
		}
	}
	looks(map[string]int{"busy": 1, "quiet": 1}) // the first time
	e.clock.Advance(time.Minute)
	looks(map[string]int{"busy": 1, "quiet": 1})
	for _, key := range []string{"/keys/busy.uid/host", "/keynotes/restrictions/quiet.uid/host", "/keys/other.uid/host"} {
		k := state.Key(key)
		e.mark(&k)
	}
	looks(map[string]int{"busy": 2, "quiet": 2})
	e.clock.Advance(47*time.Hour + 30*time.Minute)
	looks(map[string]int{"busy": 3, "quiet": 3}) // the hour is over
	if n := hostKeys(t, e.rings["busy"]); n != 1 {
		t.Fatalf("rotated before it was due: %d keys", n)
	}
	e.clock.Advance(30 * time.Minute)
	looks(map[string]int{"busy": 4, "quiet": 3})
	if n := hostKeys(t, e.rings["busy"]); n != 2 {
		t.Errorf("not rotated when it was due: %d keys", n)
	}
}

func TestAStoreThatFailsIsTriedLessAndLessAndToldOnce(t *testing.T) {
	s := keymemory.New()
	e := newTended(t, map[string]keystore.Store{"orders": s})
	s.SetUnavailable(true)
	for range 120 {
		e.tendOnce(t.Context())
		e.clock.Advance(time.Minute)
	}
	if n := e.looks["orders"]; n < 5 || n > 9 {
		t.Errorf("asked %d times in two hours", n)
	}
	if n := strings.Count(e.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("told %d times:\n%s", n, e.log)
	}
	s.SetUnavailable(false)
	schedule(t, s, e.clock)
	e.clock.Advance(49 * time.Hour)
	e.tendOnce(t.Context())
	if n := hostKeys(t, e.rings["orders"]); n != 2 {
		t.Errorf("not rotated once it could be: %d keys", n)
	}
}

func TestAStoreThatCannotBeWrittenIsToldOnce(t *testing.T) {
	s := keymemory.New()
	e := newTended(t, map[string]keystore.Store{"orders": s.ReadOnly()})
	schedule(t, s, e.clock)
	for range 6 {
		e.clock.Advance(24 * time.Hour)
		e.tendOnce(t.Context())
	}
	if text := e.log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "cannot be written") || !strings.Contains(text, "next=") {
		t.Errorf("log:\n%s", text)
	}
}

// Two nodes share a state and an app's keys: one tends, and the other takes over.
func TestOneNodeTendsAndAnotherTakesOver(t *testing.T) {
	s := keymemory.New()
	one := newTended(t, map[string]keystore.Store{"orders": s})
	two := newTendedAt(t, one.clock, map[string]keystore.Store{"orders": s})
	two.store = one.store
	schedule(t, s, one.clock)
	begin := func(e *tended) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.run(ctx)
		}()
		return sync.OnceFunc(func() { cancel(); <-ended })
	}
	looked := func(e *tended) int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.looks["orders"]
	}
	until := func(what string, so func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("still not so: " + what)
			}
		}
	}
	endOne := begin(one)
	defer endOne()
	until("the first node looks", func() bool { return looked(one) > 0 })
	defer begin(two)()
	keys := func() int {
		list, err := s.List(t.Context())
		if err != nil || len(list) == 0 {
			return 0
		}
		doc, _, err := s.Load(t.Context(), keystore.HostDoc)
		if err != nil {
			return 0
		}
		return len(doc.Keys.Keys)
	}
	advance := func(by time.Duration, want int) {
		t.Helper()
		one.clock.Advance(by)
		until("the key is rotated", func() bool { one.clock.Advance(time.Second); return keys() == want })
	}
	advance(48*time.Hour, 2)
	if n := looked(two); n != 0 {
		t.Errorf("the second node looked %d times while the first one was there", n)
	}
	endOne()
	until("the second node looks", func() bool { return looked(two) > 0 })
	advance(48*time.Hour, 3)
}

func TestAnAppThatIsGoneIsNoFailure(t *testing.T) {
	e := newTended(t, map[string]keystore.Store{"orders": keymemory.New()})
	e.ring = func(context.Context, app.App) (*keyring.Ring, error) {
		return nil, problem.New(problem.NotFound, "gone")
	}
	e.tendOnce(t.Context())
	if e.log.Len() > 0 {
		t.Errorf("log:\n%s", e.log)
	}
}
