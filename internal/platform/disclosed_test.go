package platform

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
)

// TestReadsForReferencesAreRecordedWhenTheyTellSomethingNew: not every few minutes.
func TestReadsForReferencesAreRecordedWhenTheyTellSomethingNew(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	log := slog.New(slog.DiscardHandler)
	n := &Node{cfg: Config{Clock: c}, log: log, audit: audit.New(memory.New(c), c, log)}
	d, group := newDisclosed(), resource.Group("s", "g")
	v := vault.Vault{ID: group.Child("Microsoft.KeyVault", "vaults", "shop"), UID: "u"}
	q := reference.Query{App: group.Child("Microsoft.Web", "sites", "a"), Identity: identity.Assigned{ObjectID: "o"}, Vault: "shop", Secret: "db"}
	denied := problem.Wrap(problem.Denied, "no", vault.ForbiddenByRbac)
	var want []string
	for _, step := range []struct {
		version string
		err     error
		wait    time.Duration
		told    string
	}{
		{"1", nil, 0, "Succeeded"}, {"1", nil, time.Hour, ""}, {"2", nil, time.Hour, "Succeeded"}, {"2", nil, time.Hour, ""},
		{"", denied, time.Hour, "Denied"}, {"", denied, time.Hour, ""}, {"", errors.New("gone"), time.Hour, "Failed"},
		{"2", nil, time.Hour, "Succeeded"}, {"2", nil, 25 * time.Hour, "Succeeded"},
	} {
		c.Advance(step.wait)
		d.record(n, v, q, step.version, step.err)
		if step.told != "" {
			want = append(want, fmt.Sprint(step.told, " ", step.version))
		}
	}
	if err := n.audit.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, _, err := n.audit.List(t.Context(), audit.Filter{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	// What waits to be written is written refusals first.
	slices.SortStableFunc(list, func(a, b audit.Entry) int { return a.Time.Compare(b.Time) })
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprint(e.Outcome, " ", e.Details["version"]))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("recorded %v, not %v", got, want)
	}
}
