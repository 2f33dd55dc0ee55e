package keyring_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestHowValuesAreKeptIsSaidExactly(t *testing.T) {
	for text, want := range map[string]bool{"": false, "revealable": false, " Hash-Only ": true} {
		if got, err := keyring.ParseValues(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"hashonly", "true", "none"} {
		_, err := keyring.ParseValues(text)
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), keyring.ValuesSetting) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// opener opens keys that are all in one store, which keeps hashes only or values.
func opener(t *testing.T) func(hashOnly bool) *keyring.Ring {
	store := memory.New()
	return func(hashOnly bool) *keyring.Ring {
		t.Helper()
		r, err := keyring.New(keyring.Config{Store: store, HashOnly: hashOnly})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
}

func TestValuesKeptBeforeStayUntilTheyArePutAgain(t *testing.T) {
	open := opener(t)
	before, _, err := open(false).Renew(t.Context(), keyring.HostKeys(), "k")
	if err != nil {
		t.Fatal(err)
	}
	r := open(true)
	if _, err := r.Rotate(t.Context(), keyring.HostKeys(), "default", 0); err != nil { // the document is written
		t.Fatal(err)
	}
	if k, err := r.Get(t.Context(), keyring.HostKeys(), "k"); err != nil || k.HashOnly || k.Value != before.Value {
		t.Fatalf("a value that was kept is not any more, or another: %v, %v", k, err)
	}
	if _, err := r.SetMeta(t.Context(), keyring.HostKeys(), "k", func(m *accesskey.Meta) error { m.Note = "n"; return nil }); err != nil {
		t.Fatal(err)
	}
	if k, _, err := r.Set(t.Context(), keyring.HostKeys(), "k", before.Value); err != nil || !k.HashOnly {
		t.Fatalf("%v, %v", k, err)
	}
	k, err := r.Get(t.Context(), keyring.HostKeys(), "k")
	m, _ := k.Meta()
	if err != nil || !k.HashOnly || k.Value != accesskey.Mask(before.Value) || m.Note != "n" {
		t.Errorf("put again: %v, %+v, %v", k, m, err)
	}
	if d := r.Match(before.Value, nil); d.Kind != accesskey.Host || d.Name != "k" {
		t.Errorf("the value no longer works: %+v", d)
	}
}

// TestAValueThatIsPutAgainIsHashed: by whoever hands it on, and not by a
// configuration that has named it all along.
func TestAValueThatIsPutAgainIsHashed(t *testing.T) {
	open := opener(t)
	before, _, err := open(false).Renew(t.Context(), keyring.HostKeys(), "k")
	if err != nil {
		t.Fatal(err)
	}
	r := open(true)
	want := keyring.Declared{Name: "k", Value: before.Value}
	if k, _, err := r.Put(t.Context(), keyring.HostKeys(), want); err != nil || k.HashOnly {
		t.Fatalf("a configuration changes how a value is kept: %v, %v", k, err)
	}
	want.Told, want.Record = true, true
	for range 2 {
		if _, created, err := r.Put(t.Context(), keyring.HostKeys(), want); err != nil || created {
			t.Fatalf("created %v, %v", created, err)
		}
		if k, err := r.Get(t.Context(), keyring.HostKeys(), "k"); err != nil || !k.HashOnly || k.Value != accesskey.Mask(before.Value) {
			t.Errorf("put again: %v, %v", k, err)
		}
	}
	if d := r.Match(before.Value, nil); d.Kind != accesskey.Host || d.Name != "k" {
		t.Errorf("the value no longer works: %+v", d)
	}
}

func TestKeysWhoseNextValueNobodyWouldLearnAreNotRotatedByThemselves(t *testing.T) {
	store := memory.New()
	c := clock.NewManual(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
	open := func(hashOnly bool) *keyring.Ring {
		t.Helper()
		r, err := keyring.New(keyring.Config{Store: store, HashOnly: hashOnly, Clock: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		if err := r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	every := func(d time.Duration) func(*accesskey.Meta) error {
		return func(m *accesskey.Meta) error { m.RotateEvery = d; return nil }
	}
	kept := open(false)
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.MasterKey()} {
		name := map[bool]string{true: accesskey.MasterName, false: "default"}[sec.Kind == accesskey.Master]
		if _, err := kept.SetMeta(t.Context(), sec, name, every(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(49 * time.Hour)
	if due := kept.Due(c.Now()); len(due) != 2 {
		t.Fatalf("due while values are kept: %v", due)
	}
	r := open(true)
	if due := r.Due(c.Now()); len(due) != 1 || due[0].Kind != accesskey.Master {
		t.Errorf("due: %v", due)
	}
	done, err := r.Tend(t.Context())
	if err != nil || len(done.Rotated) != 1 || !done.Next.After(c.Now()) {
		t.Errorf("tended: %+v, %v", done, err)
	}
	if _, err := r.Rotate(t.Context(), keyring.HostKeys(), "default", 0); err != nil { // by hand
		t.Fatal(err)
	}
	if _, err := r.Disable(t.Context(), keyring.HostKeys(), "default"); err != nil {
		t.Errorf("a key with a rotation that no longer takes place cannot be disabled: %v", err)
	}
	_, err = r.SetMeta(t.Context(), keyring.HostKeys(), "default", every(72*time.Hour))
	if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "rotateEvery: ") {
		t.Errorf("a new rotation: %v", err)
	}
}
