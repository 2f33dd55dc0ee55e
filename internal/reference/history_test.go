package reference_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/state"
)

// told gives the changes of a report as "Status version", the newest first.
func told(rep reference.Report) (list []string) {
	for _, c := range rep.History {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s", c.Status, c.Version)))
	}
	return list
}

func TestAReferenceRemembersWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.node()
	at := func() time.Time { w.clock.Advance(time.Minute); return w.clock.Now() }
	began := w.clock.Now()
	_ = w.values(r, "orders")
	refresh := func() {
		t.Helper()
		if err := r.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func(){
		func() { w.vault.set("shop-kv/s", "a") },
		func() {}, // nothing new
		func() { w.vault.set("shop-kv/s", "b") },
		func() {
			w.vault.fault("shop-kv", problem.New(problem.Denied, strings.Repeat("no permission ", 100)))
		},
		func() {},
		func() { w.vault.fault("shop-kv", nil) },
	}
	var times []time.Time
	for _, step := range steps {
		times = append(times, at())
		step()
		refresh()
	}
	rep := w.report(r, "orders", "S")
	want := []string{"Resolved version-of-b", "AccessToKeyVaultDenied version-of-b", "Resolved version-of-b", "Resolved version-of-a", "SecretNotFound"}
	if diff := cmp.Diff(want, told(rep)); diff != "" {
		t.Fatal(diff)
	}
	for i, when := range []time.Time{times[5], times[3], times[2], times[0], began} {
		if !rep.History[i].Time.Equal(when) {
			t.Errorf("change %d was at %s, want %s", i, rep.History[i].Time, when)
		}
	}
	if why := rep.History[1].Why; !strings.Contains(why, "no permission") || len(why) > 400 {
		t.Errorf("the reason has %d bytes: %.50s", len(why), why)
	}
	if rep.History[0].Why != "" {
		t.Errorf("a reference that is resolved has a reason: %s", rep.History[0].Why)
	}
	if other := w.node(); !cmp.Equal(rep.History, w.report(other, "orders", "S").History) {
		t.Error("another node tells otherwise")
	}
}

// TestWhatIsRememberedIsBounded for one reference and for very many; it goes with the
// setting.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	for _, n := range []int{1, 40, 300} {
		w := newWorld(t)
		settings := map[string]string{}
		for i := range n {
			settings[fmt.Sprintf("S%d", i)] = ref("shop-kv", "s")
		}
		w.create("orders", settings)
		r := w.node()
		_ = w.values(r, "orders")
		last := ""
		for i := range 25 {
			last = fmt.Sprint("value-", i)
			w.vault.set("shop-kv/s", last)
			if err := r.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
				t.Fatal(err)
			}
		}
		total := 0
		for i := range n {
			h := w.report(r, "orders", fmt.Sprintf("S%d", i)).History
			if len(h) == 0 || len(h) > reference.MaxChanges || h[0].Version != "version-of-"+last {
				t.Fatalf("%d references: reference %d has %d changes", n, i, len(h))
			}
			total += len(h)
			if i > 5 {
				break
			}
		}
		if n == 1 && total != reference.MaxChanges {
			t.Errorf("%d changes are remembered, want %d", total, reference.MaxChanges)
		}
		doc, err := w.store.Get(t.Context(), reference.Documents+state.Key(w.snapshot("orders").UID))
		if err != nil || len(doc.Value) > state.MaxValue*3/4 {
			t.Errorf("%d references: the document has %d bytes: %v", n, len(doc.Value), err)
		}
		w.set("orders", map[string]string{"S0": ref("shop-kv", "s")})
		_ = w.values(r, "orders")
		doc, err = w.store.Get(t.Context(), reference.Documents+state.Key(w.snapshot("orders").UID))
		if err != nil || n > 1 && strings.Contains(string(doc.Value), "appsettings/s1") {
			t.Errorf("%d references: one that is gone is remembered: %v", n, err)
		}
	}
}
