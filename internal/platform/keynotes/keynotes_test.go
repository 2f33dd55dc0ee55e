package keynotes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const place = "Orders.UID1"

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func use(name string, count int64) keyring.Use {
	return keyring.Use{
		Key:   keyring.KeyRef{Kind: accesskey.Function, Function: "hello", Name: name},
		Since: noon, Count: count, Last: noon, From: keyring.Private, Quota: keyring.Used{Start: noon, Count: count},
	}
}

func always(context.Context) error { return nil }

func newStore(t *testing.T) *memory.Store {
	t.Helper()
	s := memory.New(clock.Real{})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// counted gives the uses and the quota of a key.
func counted(t *testing.T, s state.Store, name string) (uses, quota int64) {
	t.Helper()
	list, err := keynotes.NewUses(s, place, always).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		if u.Key.Name == name {
			return u.Count, u.Quota.Count
		}
	}
	return 0, 0
}

func TestNodesSumUpTheirUses(t *testing.T) {
	s := newStore(t)
	var nodes sync.WaitGroup
	for range 6 {
		nodes.Go(func() {
			mine := keynotes.NewUses(s, place, always)
			for left := 10; left > 0; {
				_, err := mine.Add(t.Context(), []keyring.Use{use("partner", 1), use("other", 2)})
				switch {
				case err == nil:
					left--
				case !errors.Is(err, state.ErrConflict): // the ring would come again
					t.Error(err)
					return
				}
			}
		})
	}
	nodes.Wait()
	for name, want := range map[string]int64{"partner": 60, "other": 120} {
		if uses, quota := counted(t, s, name); uses != want || quota != want {
			t.Errorf("%s: %d uses, %d of the quota", name, uses, quota)
		}
	}
	sums, err := keynotes.NewUses(s, "orders.uid1", always).Add(t.Context(), []keyring.Use{use("PARTNER", 1)})
	if err != nil || len(sums) != 1 || sums[0].Count != 61 || sums[0].Quota.Count != 61 {
		t.Errorf("%+v %v", sums, err)
	}
}

// flaky loses answers of writes: some took place, some did not.
type flaky struct {
	state.Store
	count int
}

func (f *flaky) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	f.count++
	lost := problem.New(problem.Unavailable, "the answer is lost")
	switch f.count % 5 {
	case 1, 2:
		return 0, lost
	case 3, 4:
		if _, err := f.Store.Write(ctx, ops...); err != nil {
			return 0, err
		}
		return 0, lost
	}
	return f.Store.Write(ctx, ops...)
}

// A ring hands over again what it had no answer for, with what came to it since.
func TestEachUseCountsOnceWhenAnswersAreLost(t *testing.T) {
	s := newStore(t)
	mine, others := keynotes.NewUses(&flaky{Store: s}, place, always), keynotes.NewUses(s, place, always)
	pending, total, failed := int64(0), int64(0), 0
	add := func() bool {
		_, err := mine.Add(t.Context(), []keyring.Use{use("partner", pending)})
		if err == nil {
			pending = 0
		}
		return err == nil
	}
	for range 50 {
		pending, total = pending+3, total+3
		if !add() {
			failed++
		}
		if _, err := others.Add(t.Context(), []keyring.Use{use("partner", 1)}); err != nil {
			t.Fatal(err)
		}
		total++
	}
	for !add() {
		failed++
	}
	if uses, quota := counted(t, s, "partner"); uses != total || quota != total || failed < 20 {
		t.Errorf("%d uses and %d of the quota, %d took place; %d writes had no answer", uses, quota, total, failed)
	}
}

func TestTooManyKeysLeaveThoseUsedLast(t *testing.T) {
	s := newStore(t)
	mine := keynotes.NewUses(s, place, always)
	var many []keyring.Use
	for i := range 9000 {
		u := use(fmt.Sprint("key", i), 1)
		u.Last = noon.Add(time.Duration(i) * time.Second)
		many = append(many, u)
	}
	sums, err := mine.Add(t.Context(), many)
	if err != nil || len(sums) != len(many) {
		t.Fatalf("%d sums, %v", len(sums), err)
	}
	if first, _ := counted(t, s, "key0"); first != 0 {
		t.Error("the one used first is kept")
	}
	if last, _ := counted(t, s, "key8999"); last != 1 {
		t.Error("the one used last is not kept")
	}
	list, err := mine.Load(t.Context())
	if err != nil || len(list) < 2000 {
		t.Errorf("%d keys, %v", len(list), err)
	}
}

func TestNothingIsKeptOfAnAppThatHasGone(t *testing.T) {
	s := newStore(t)
	gone := keynotes.NewUses(s, place, func(context.Context) error { return problem.New(problem.NotFound, "gone") })
	if sums, err := gone.Add(t.Context(), []keyring.Use{use("partner", 1)}); err != nil || len(sums) != 1 {
		t.Errorf("%v %v", sums, err)
	}
	if places, err := keynotes.Places(t.Context(), s); err != nil || len(places) != 0 {
		t.Errorf("%v %v", places, err)
	}
	unknown := keynotes.NewUses(s, place, func(context.Context) error { return problem.New(problem.Unavailable, "cut off") })
	if _, err := unknown.Add(t.Context(), []keyring.Use{use("partner", 1)}); !errors.Is(err, problem.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestNotesGoWithTheirPlace(t *testing.T) {
	s := newStore(t)
	for _, p := range []string{place, "orders.uid2"} {
		if _, err := keynotes.NewUses(s, p, always).Add(t.Context(), []keyring.Use{use("partner", 1)}); err != nil {
			t.Fatal(err)
		}
		r := keynotes.NewRestrictions(s, p)
		for i := range state.MaxOps + 5 {
			if err := r.Remember(t.Context(), keystore.Doc(fmt.Sprint("fn", i)), []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := keynotes.Places(t.Context(), s); err != nil || !slices.Equal(got, []string{"orders.uid1", "orders.uid2"}) {
		t.Errorf("%v %v", got, err)
	}
	if err := keynotes.DeleteAll(t.Context(), s, place); err != nil {
		t.Fatal(err)
	}
	if got, err := keynotes.Places(t.Context(), s); err != nil || !slices.Equal(got, []string{"orders.uid2"}) {
		t.Errorf("%v %v", got, err)
	}
}

func TestRestrictionsAreRememberedByDocument(t *testing.T) {
	s := newStore(t)
	r := keynotes.NewRestrictions(s, place)
	for doc, data := range map[keystore.Doc]string{"host": `{"a":1}`, "hello": `{"b":2}`} {
		if err := r.Remember(t.Context(), doc, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Remember(t.Context(), "hello", nil); err != nil {
		t.Fatal(err)
	}
	got := map[keystore.Doc]string{}
	for _, doc := range []keystore.Doc{"host", "hello", "never"} {
		data, err := keynotes.NewRestrictions(s, "ORDERS.uid1").Recall(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		got[doc] = string(data)
	}
	if diff := cmp.Diff(map[keystore.Doc]string{"host": `{"a":1}`, "hello": "", "never": ""}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUsesThatCannotBeUnderstoodAreLeftAlone(t *testing.T) {
	s := newStore(t)
	if _, err := s.Write(t.Context(), state.Put("/keynotes/uses/orders.uid1", []byte("{torn"), state.Any)); err != nil {
		t.Fatal(err)
	}
	mine := keynotes.NewUses(s, place, always)
	_, loadErr := mine.Load(t.Context())
	_, addErr := mine.Add(t.Context(), []keyring.Use{use("partner", 1)})
	for _, err := range []error{loadErr, addErr} {
		if problem.KindOf(err) != problem.Undecryptable {
			t.Errorf("%v", err)
		}
	}
	if d, err := s.Get(t.Context(), "/keynotes/uses/orders.uid1"); err != nil || string(d.Value) != "{torn" {
		t.Errorf("now %s, %v", d.Value, err)
	}
}
