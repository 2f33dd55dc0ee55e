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
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
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
	rings, err := newRings(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	const apps = idleRings + 2*leftRings + 1
	before, first := runtime.NumGoroutine(), ""
	for i := range apps {
		key := hostKey(t, rings, store, i)
		if i == 0 {
			first = key
		}
	}
	if kept := rings.idle.Len(); kept != idleRings {
		t.Errorf("%d rings are kept", kept)
	}
	if left := len(rings.left); left > leftRings+1 {
		t.Errorf("%d rings are left to those who have them", left)
	}
	settled(t, before+5)
	if again := hostKey(t, rings, store, 0); again != first {
		t.Error("the keys are others when the ring is made anew")
	}
}

// ringAt gives what makes a keyring at a place.
func ringAt(store state.Store, place string) func() (*keyring.Ring, error) {
	return func() (*keyring.Ring, error) {
		return keyring.New(keyring.Config{Store: controlplane.New(store, place), Clock: clock.Real{}})
	}
}

func hostKey(t *testing.T, rings *rings, store state.Store, app int) string {
	t.Helper()
	place := fmt.Sprintf("app%d.uid", app)
	ring, err := rings.get(place, "", ringAt(store, place))
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
	rings, err := newRings(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	const place = "app.1"
	make := ringAt(store, place)
	expect := func(what string, want *keyring.Ring) {
		t.Helper()
		if got, err := rings.get(place, "", make); got != want || err != nil {
			t.Errorf("%s: another ring, %v", what, err)
		}
	}
	serving, err1 := make()
	newer, err2 := make()
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

// TestWhoHasARingThatIsReplacedGoesOnReading: an app starts while its keys are asked
// for. The ring is closed once nobody can have it any more.
func TestWhoHasARingThatIsReplacedGoesOnReading(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	now := clock.NewManual(time.Now())
	rings, err := newRings(now)
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	const place = "app.1"
	asked, err1 := rings.get(place, "", ringAt(store, place))
	serving, err2 := ringAt(store, place)()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	rings.put(place, serving)
	if err := asked.Open(t.Context()); err != nil {
		t.Errorf("who had the ring: %v", err)
	}
	now.Advance(ringGrace)
	if got, err := rings.get(place, "", ringAt(store, place)); got != serving || err != nil || len(rings.left) != 0 {
		t.Errorf("later: the serving one %v, %d left, %v", got == serving, len(rings.left), err)
	}
	if _, err := asked.List(t.Context(), keyring.FunctionKeys("f")); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("the ring that was left goes on: %v", err)
	}
}

// TestOtherSettingsMakeAnotherRing: an app that does not run is asked in the store
// that its settings of now choose.
func TestOtherSettingsMakeAnotherRing(t *testing.T) {
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	rings, err := newRings(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	defer rings.close()
	first, err1 := rings.get("app.1", "", ringAt(store, "app.1"))
	same, err2 := rings.get("app.1", "", ringAt(store, "app.1"))
	other, err3 := rings.get("app.1", "elsewhere", ringAt(store, "app.2"))
	if err := errors.Join(err1, err2, err3); err != nil || same != first || other == first || rings.idle.Len() != 1 {
		t.Errorf("%v; the same %v, another %v, %d kept", err, same == first, other != first, rings.idle.Len())
	}
	failed := errors.New("no such store")
	if _, err := rings.get("app.1", "wrong", func() (*keyring.Ring, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("a store that cannot be opened: %v", err)
	}
}

// TestAnIdleRingGoesByTheSettingsOfKeys: who asks for keys while the app does not
// run must not remove what the app would keep.
func TestAnIdleRingGoesByTheSettingsOfKeys(t *testing.T) {
	all := hosted.Settings{
		keyring.GoneKeptSetting: "keep", keyring.ValuesSetting: "hash-only", flagsSetting: "StrictHISModeEnabled", "OTHER": "1",
	}
	got := ringSettings(all)
	if len(got) != 3 || got.Get(keyring.GoneKeptSetting) != "keep" || got.Get(keyring.ValuesSetting) != "hash-only" || got.Get(flagsSetting) == "" {
		t.Errorf("got %v", got)
	}
}
