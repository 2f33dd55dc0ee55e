package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/problem"
)

const goodDocument = `{"keys":[{"name":"default","value":"a-key-that-was-good","encrypted":false}]}`

func inUTF16(text string) []byte {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

// TestADamagedDocumentIsReportedAndLeftAsItIs: before its first use, and while it is
// in use, when the last good keys go on working. No key is made, none is changed.
func TestADamagedDocumentIsReportedAndLeftAsItIs(t *testing.T) {
	for name, text := range map[string][]byte{
		"no JSON":          []byte("not a document"),
		"torn":             []byte(goodDocument[:len(goodDocument)/2]),
		"empty":            {},
		"zeros":            make([]byte, 512),
		"another encoding": inUTF16(goodDocument),
		"a list":           []byte(`["default"]`),
		"no keys":          []byte(`{"keys":7}`),
		"ten megabytes":    []byte(`{"keys":[{"name":"default","value":"` + strings.Repeat("x", 10<<20) + `"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "hello.json")
			put := func(text []byte) {
				t.Helper()
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put(text)
			ring := func() *keyring.Ring {
				r, err := keyring.New(keyring.Config{Store: files.New(files.Config{Dir: dir})})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(r.Close)
				return r
			}
			first := ring()
			err := errors.Join(first.Open(t.Context()), first.Ensure(t.Context(), []string{"hello"}))
			refused(t, first, err)
			if _, _, err := first.Renew(t.Context(), keyring.FunctionKeys("hello"), "default"); !errors.Is(err, problem.Undecryptable) {
				t.Errorf("a key was changed: %v", err)
			}
			put([]byte(goodDocument))
			running := ring()
			if err := errors.Join(running.Open(t.Context()), running.Ensure(t.Context(), []string{"hello"})); err != nil {
				t.Fatal(err)
			}
			put(text)
			_, _ = running.List(t.Context(), keyring.FunctionKeys("hello")) // reads it again
			if d := running.Match("a-key-that-was-good", running.Function("hello")); d.Reason != keyring.Matched {
				t.Error("the last good key stopped working")
			}
			if h := running.Health(); h.State != keyring.Degraded || h.Next == "" {
				t.Errorf("health: %+v", h)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, text) {
				t.Errorf("the document was changed: %v", err)
			}
		})
	}
}

func refused(t *testing.T, r *keyring.Ring, err error) {
	t.Helper()
	if !errors.Is(err, problem.Undecryptable) || strings.Contains(fmt.Sprint(err), "a-key-that-was-good") {
		t.Errorf("got %.300v", err)
	}
	d := r.Authorize(t.Context(), keyring.Request{Key: "any-key-whatever-it-may-be", Function: r.Function("hello")})
	if d.Reason != keyring.StoreUnavailable {
		t.Errorf("without ever having read the keys: %v", d.Reason)
	}
}

// TestNamesThatDifferInCaseOnly in a document of other hands: the first counts, and
// a write by ours leaves one of them.
func TestNamesThatDifferInCaseOnly(t *testing.T) {
	dir := t.TempDir()
	text := `{"keys":[{"name":"Partner","value":"the-first-value"},{"name":"partner","value":"the-second-value"},{"name":"default","value":"another-value"}]}`
	if err := os.WriteFile(filepath.Join(dir, "hello.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := keyring.New(keyring.Config{Store: files.New(files.Config{Dir: dir})})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(r.Open(t.Context()), r.Ensure(t.Context(), []string{"hello"})); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]keyring.Reason{"the-first-value": keyring.Matched, "the-second-value": keyring.Unknown, "another-value": keyring.Matched} {
		if d := r.Match(value, r.Function("hello")); d.Reason != want {
			t.Errorf("%s: %v", value, d.Reason)
		}
	}
	if _, _, err := r.Set(t.Context(), keyring.FunctionKeys("hello"), "more", "one-more-value"); err != nil {
		t.Fatal(err)
	}
	if d := r.Match("the-first-value", r.Function("hello")); d.Name != "Partner" {
		t.Errorf("after a write: %+v", d)
	}
}

// TestADocumentWithTenThousandKeys is used, changed and read again like any other.
func TestADocumentWithTenThousandKeys(t *testing.T) {
	const many = 10_000
	s := files.New(files.Config{Dir: t.TempDir()})
	_, _, err := s.Update(t.Context(), "hello", func(keystore.Document, bool) (d keystore.Document, err error) {
		for i := range many {
			d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: fmt.Sprintf("key-%05d", i), Value: fmt.Sprintf("the-value-of-key-%05d", i)})
		}
		return d, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := follower(t, s)
	for _, i := range []int{0, 1, many / 2, many - 1} {
		if d := r.Match(fmt.Sprintf("the-value-of-key-%05d", i), r.Function("hello")); d.Name != fmt.Sprintf("key-%05d", i) {
			t.Errorf("key %d: %+v", i, d)
		}
	}
	k, _, err := r.Renew(t.Context(), keyring.FunctionKeys("hello"), "key-07777")
	if err != nil {
		t.Fatal(err)
	}
	again := follower(t, s)
	if d := again.Match(k.Value, again.Function("hello")); d.Name != "key-07777" {
		t.Errorf("the new value: %+v", d)
	}
	list, err := again.List(t.Context(), keyring.FunctionKeys("hello"))
	if err != nil || len(list) != many {
		t.Errorf("%d keys, %v", len(list), err)
	}
}
