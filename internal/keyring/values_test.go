package keyring_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
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

func TestValuesKeptBeforeStayUntilTheyArePutAgain(t *testing.T) {
	store := memory.New()
	open := func(hashOnly bool) *keyring.Ring {
		t.Helper()
		r, err := keyring.New(keyring.Config{Store: store, HashOnly: hashOnly})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
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
