package platform

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// TestNodesHearOfEachOther has a node tell of more apps than one write has, and
// another that hears of them as long as the first is alive.
func TestNodesHearOfEachOther(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	warn := func(err error) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	one, two := newStatuses(store, "One", true, c, warn), newStatuses(store, "two", true, c, warn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	life, die := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		one.run(life, heartbeat{})
	}()
	stop := two.listen(ctx)
	defer stop()
	defer cancel()
	until := func(what string, so func() bool) {
		t.Helper()
		for !so() {
			if ctx.Err() != nil {
				t.Fatalf("still not so: %s", what)
			}
			time.Sleep(time.Millisecond) // between looks at another goroutine's work
		}
	}
	const apps = 2*statusesAtOnce + 1
	for i := range apps {
		one.publish(fleet.Status{Name: fmt.Sprint("App", i), State: "Running"})
	}
	until("all apps are told", func() bool {
		for i := range apps {
			if said := two.of(fmt.Sprint("app", i)); len(said) != 1 || said[0].Node != "one" || said[0].State != "Running" {
				return false
			}
		}
		return true
	})
	if said := one.of("app0"); len(said) != 0 {
		t.Errorf("a node hears itself: %v", said)
	}
	if err := one.forget(ctx, "App0"); err != nil {
		t.Fatal(err)
	}
	until("a deleted app is forgotten", func() bool { return len(two.of("App0")) == 0 })
	die()
	<-ended
	until("a node that has ended counts no more", func() bool { return len(two.of("App1")) == 0 })
}

// TestNodesFade: a node that says nothing for a while counts no more.
func TestNodesFade(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	s := newStatuses(nil, "one", true, c, nil)
	s.heard.beats = map[string]time.Time{"two": c.Now()}
	s.heard.apps = map[string]map[string]fleet.Status{"app": {"two": {}, "three": {}}}
	if said := s.of("app"); len(said) != 1 || said[0].Node != "two" {
		t.Errorf("%v", said)
	}
	c.Advance(3 * beat)
	if said := s.of("app"); len(said) != 0 {
		t.Errorf("%v", said)
	}
}

// TestWhatCannotBeToldIsToldLater: while the state is out of reach nothing is
// lost but what newer word replaces.
func TestWhatCannotBeToldIsToldLater(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	warned := 0
	s := newStatuses(store, "one", true, clock.Real{}, func(error) { warned++ })
	const apps = 2*statusesAtOnce + 1
	for i := range apps {
		s.publish(fleet.Status{Name: fmt.Sprint("App", i), State: "Starting"})
	}
	store.SetUnavailable(true)
	s.flush(t.Context())
	s.publish(fleet.Status{Name: "app0", State: "Running"})
	store.SetUnavailable(false)
	s.flush(t.Context())
	if len(s.pending) != 0 || warned != 1 {
		t.Errorf("%d still to be told, %d warnings", len(s.pending), warned)
	}
	told := state.Collection[fleet.Status]{Store: store, Prefix: statusesPrefix}
	list, err := told.List(t.Context())
	if err != nil || len(list) != apps {
		t.Errorf("%d apps are told, %v", len(list), err)
	}
	if first, err := told.Get(t.Context(), "app0/one"); err != nil || first.Value.State != "Running" {
		t.Errorf("the last word is %+v, %v", first.Value, err)
	}
}

// TestADeletedAppLeavesNoStatus: whatever was told late.
func TestADeletedAppLeavesNoStatus(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	s := newStatuses(store, "one", true, clock.Real{}, func(err error) { t.Error(err) })
	s.publish(fleet.Status{Name: "App", State: fleet.Stopped})
	s.flush(t.Context())
	s.publish(fleet.Status{Name: "App", State: fleet.Gone})
	s.flush(t.Context())
	list, err := store.List(t.Context(), statusesPrefix, state.Page{})
	if err != nil || len(list.Documents) != 0 {
		t.Errorf("%d statuses are left, %v", len(list.Documents), err)
	}
}
