package platform

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// TestWhatIsKnownOfTheKeysOfDeletedAppsIsSwept and that of others stays, of a new app
// of the same name too.
func TestWhatIsKnownOfTheKeysOfDeletedAppsIsSwept(t *testing.T) {
	store := memory.New(clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)))
	t.Cleanup(func() { _ = store.Close() })
	for _, place := range []string{"orders.old", "orders.new", "gone.uid"} {
		revise := func([]byte) ([]byte, error) { return []byte("{}"), nil }
		if err := (keyRoster{store, rostersPrefix + state.Key(place)}).Revise(t.Context(), revise); err != nil {
			t.Fatal(err)
		}
		if err := keynotes.NewRestrictions(store, place).Remember(t.Context(), "host", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	apps := func(context.Context) ([]app.App, error) { return []app.App{{Name: "Orders", UID: "NEW"}}, nil }
	if err := sweepKeyNotes(t.Context(), store, apps); err != nil {
		t.Fatal(err)
	}
	notes, err1 := keynotes.Places(t.Context(), store)
	rosters, err2 := rosterPlaces(t.Context(), store)
	if diff := cmp.Diff([2][]string{{"orders.new"}, {"orders.new"}}, [2][]string{notes, rosters}); diff != "" || err1 != nil || err2 != nil {
		t.Errorf("%v, %v, left (-want +got):\n%s", err1, err2, diff)
	}
}
