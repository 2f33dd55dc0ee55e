package platform

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// settled waits until there are at most so many goroutines, and fails the test if
// that does not come.
func settled(t *testing.T, most int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > most {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, more than %d", runtime.NumGoroutine(), most)
		}
		time.Sleep(5 * time.Millisecond) // goroutines that have been told to end take a moment
	}
}

// TestRingsOfAppsThatDoNotRunAreBounded asks for the keys of many apps: only some
// rings are kept, none of them with a goroutine, and keys are the same when a
// ring is made anew.
func TestRingsOfAppsThatDoNotRunAreBounded(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	rings, err := newRings(func(place string, _ hosted.Settings) (*keyring.Ring, error) {
		return keyring.New(keyring.Config{Store: controlplane.New(store, place), Clock: clock.Real{}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	const apps = 3*idleRings + 1
	before, first := runtime.NumGoroutine(), ""
	for i := range apps {
		key := hostKey(t, rings, i)
		if i == 0 {
			first = key
		}
	}
	if kept := rings.idle.Len(); kept != idleRings {
		t.Errorf("%d rings are kept", kept)
	}
	settled(t, before+5)
	if again := hostKey(t, rings, 0); again != first {
		t.Error("the keys are others when the ring is made anew")
	}
}

func hostKey(t *testing.T, rings *rings, app int) string {
	t.Helper()
	ring, err := rings.get(fmt.Sprintf("app%d.uid", app))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := ring.List(t.Context(), keyring.HostKeys())
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	return keys[0].Value
}

// TestACopyThatNeverServedGivesItsPlaceBack: the keys of the copy that serves are
// those that are changed, also after a newer copy was given up.
func TestACopyThatNeverServedGivesItsPlaceBack(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	make := func(place string, _ hosted.Settings) (*keyring.Ring, error) {
		return keyring.New(keyring.Config{Store: controlplane.New(store, place), Clock: clock.Real{}})
	}
	rings, err := newRings(make)
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	const place = "app.1"
	expect := func(what string, want *keyring.Ring) {
		t.Helper()
		if got, err := rings.get(place); got != want || err != nil {
			t.Errorf("%s: another ring, %v", what, err)
		}
	}
	serving, err1 := make(place, nil)
	newer, err2 := make(place, nil)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	rings.put(place, serving)
	rings.put(place, newer)
	expect("while one takes over", newer)
	rings.remove(place, newer)
	expect("after the newer one was given up", serving)
	rings.remove(place, serving)
	if len(rings.running) != 0 {
		t.Errorf("%d places of copies that have ended", len(rings.running))
	}
}
