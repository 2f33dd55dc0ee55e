package keyset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

// box is a shared place in memory that can fail as a distributed one does.
type box struct {
	mu     sync.Mutex
	text   []byte
	before func(old, text []byte) error // an error keeps the write from happening
	after  func() error                 // an error hides that it happened
	down   bool
}

func (b *box) Load(context.Context) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, problem.New(problem.Unavailable, "the box is away")
	}
	if b.text == nil {
		return nil, problem.New(problem.NotFound, "the box is empty")
	}
	return bytes.Clone(b.text), nil
}

func (b *box) Replace(_ context.Context, old, text []byte) error {
	if b.before != nil {
		if err := b.before(old, text); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if (b.text != nil) != (old != nil) || !bytes.Equal(b.text, old) {
		return problem.New(problem.Conflict, "the box holds something else")
	}
	b.text = bytes.Clone(text)
	if b.after != nil {
		return b.after()
	}
	return nil
}

func (b *box) String() string { return "the shared box" }

func (b *box) content() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.text)
}

func (b *box) set(text []byte, down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text, b.down = bytes.Clone(text), down
}

func openIn(t *testing.T, b keyset.Box, kek keyset.KEK, create bool) *keyset.Sealer {
	t.Helper()
	s, err := keyset.OpenIn(t.Context(), b, kek, create)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opens(t *testing.T, s *keyset.Sealer, text string) {
	t.Helper()
	if plain, _, err := s.Open(text, "p"); plain != "v" || err != nil {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestOnlyANewInstallationMakesAKeyset(t *testing.T) {
	b, path := &box{}, filepath.Join(t.TempDir(), "data", "kek")
	_, err := keyset.OpenIn(t.Context(), b, keyset.NewKEK("", path), false)
	if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), b.String()) || problem.NextOf(err) == "" {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); b.content() != nil || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("something was made: %v", err)
	}
	text := sealed(t, openIn(t, b, keyset.NewKEK("", path), true), "v", "p")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	opens(t, openIn(t, b, keyset.NewKEK("", path), false), text)
	opens(t, openIn(t, b, keyset.NewKEK("", path), true), text)
}

func TestAMadeKeyWaitsForItsKeyset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	lost := &box{before: func(_, _ []byte) error { return problem.New(problem.Unavailable, "away") }}
	if _, err := keyset.OpenIn(t.Context(), lost, keyset.NewKEK("", path), true); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("got %v", err)
	}
	before := read(t, path)
	openIn(t, &box{}, keyset.NewKEK("", path), true)
	if read(t, path) != before {
		t.Error("the key was made anew")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAFirstStartWhoseWriteWasLostFromSightIsTakenUp(t *testing.T) {
	b := &box{after: func() error { return problem.New(problem.Unavailable, "no answer") }}
	kek := keyset.NewKEK("", filepath.Join(t.TempDir(), "kek"))
	if _, err := keyset.OpenIn(t.Context(), b, kek, true); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("got %v", err)
	}
	before := b.content()
	openIn(t, b, kek, true)
	if !bytes.Equal(before, b.content()) {
		t.Error("the keyset was made anew")
	}
}

func TestTwoFirstStartsShareOneKeyset(t *testing.T) {
	b, kek := &box{}, keyset.NewKEK("", filepath.Join(t.TempDir(), "kek"))
	sealers := make([]*keyset.Sealer, 8)
	var wg sync.WaitGroup
	for i := range sealers {
		wg.Go(func() {
			s, err := keyset.OpenIn(t.Context(), b, kek, true)
			if err != nil {
				t.Error(err)
			}
			sealers[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	text := sealed(t, sealers[0], "v", "p")
	for _, s := range sealers {
		opens(t, s, text)
	}
}

func TestWhatCannotBeOpenedIsNamedAndKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	b := &box{}
	openIn(t, b, keyset.NewKEK("", path), true)
	good, key := b.content(), read(t, path)
	for name, tc := range map[string]struct {
		spoil   func()
		setting string
		names   []string
	}{
		"key missing":    {func() { remove(t, path) }, "", []string{path, b.String()}},
		"key of another": {func() { write(t, path, keyset.RandomKEK()) }, "", []string{path, b.String()}},
		"wrong setting":  {func() {}, keyset.RandomKEK(), []string{keyset.EnvKEK, b.String()}},
		"keyset damaged": {func() { b.set(flipped(t, good), false) }, "", []string{b.String()}},
		"keyset cut":     {func() { b.set(good[:len(good)/2], false) }, "", []string{b.String()}},
		"keyset emptied": {func() { b.set([]byte{}, false) }, "", []string{b.String()}},
	} {
		write(t, path, key)
		b.set(good, false)
		tc.spoil()
		text, files := b.content(), snapshot(t, dir)
		_, err := keyset.OpenIn(t.Context(), b, keyset.NewKEK(tc.setting, path), true)
		if !errors.Is(err, problem.Undecryptable) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.names {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not name %s", name, err, want)
			}
		}
		if diff := cmp.Diff(files, snapshot(t, dir)); diff != "" || !bytes.Equal(text, b.content()) {
			t.Errorf("%s: something was changed: %s", name, diff)
		}
	}
}

// flipped gives a stored keyset with one bit of what is encrypted changed.
func flipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var stored map[string]json.RawMessage
	var sealed []byte
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(stored["encryptedKeyset"], &sealed); err != nil || len(sealed) == 0 {
		t.Fatalf("no encrypted keyset in the box: %v", err)
	}
	sealed[len(sealed)/2] ^= 1
	stored["encryptedKeyset"], _ = json.Marshal(sealed)
	out, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNodesLearnNewKeysFromTheBox(t *testing.T) {
	b, text := &box{}, keyset.RandomKEK()
	s, other := openIn(t, b, keyset.NewKEK(text, ""), true), openIn(t, b, keyset.NewKEK(text, ""), true)
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := sealed(t, s, "v", "p")
	b.set(b.content(), true)
	if _, _, err := other.Open(after, "p"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("box away: %v", err)
	}
	b.set(b.content(), false)
	opens(t, other, after)
	raw, err := s.SealBytes([]byte{0, 0xff}, "p")
	if err != nil {
		t.Fatal(err)
	}
	if plain, stale, err := other.OpenBytes(raw, "p"); !bytes.Equal(plain, []byte{0, 0xff}) || stale || err != nil {
		t.Errorf("%x stale %v, %v", plain, stale, err)
	}
	if _, _, err := other.OpenBytes(raw, "q"); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("another place: %v", err)
	}
}

func TestChangesOfOneKeysetLoseNothing(t *testing.T) {
	b, path := &box{}, filepath.Join(t.TempDir(), "kek")
	openIn(t, b, keyset.NewKEK("", path), true)
	texts := make([]string, 6)
	var wg sync.WaitGroup
	for i := range texts {
		s := openIn(t, b, keyset.NewKEK("", path), false)
		wg.Go(func() {
			change := s.Rotate
			if i%2 == 0 {
				change = func(ctx context.Context) error { return s.Rewrap(ctx, "") }
			}
			if err := change(t.Context()); err != nil {
				t.Error(err)
			}
			texts[i], _ = s.Seal("v", "p")
		})
	}
	wg.Wait()
	s := openIn(t, b, keyset.NewKEK("", path), false)
	for _, text := range texts {
		opens(t, s, text)
	}
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("left behind: %q", w)
	}
}

func TestRewrapPutsTheSameKeysetUnderANewKey(t *testing.T) {
	b, path := &box{}, filepath.Join(t.TempDir(), "kek")
	s, other := openIn(t, b, keyset.NewKEK("", path), true), openIn(t, b, keyset.NewKEK("", path), true)
	text, former, id := sealed(t, s, "v", "p"), read(t, path), s.KeyID()
	if err := s.Rewrap(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if read(t, path) == former || s.KeyID() != id {
		t.Error("the key is the former one, or the keyset is another")
	}
	if _, err := os.Stat(path + ".old"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the former key is still there: %v", err)
	}
	if _, err := keyset.OpenIn(t.Context(), b, keyset.NewKEK(former, ""), false); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("the former key still opens the keyset: %v", err)
	}
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*keyset.Sealer{s, other, openIn(t, b, keyset.NewKEK("", path), false)} {
		opens(t, s, text)
		opens(t, s, sealed(t, other, "v", "p"))
	}
	opens(t, other, sealed(t, s, "v", "p")) // needs the new key of the box, and so the new key-encryption key
	given := keyset.RandomKEK()
	if err := other.Rewrap(t.Context(), given); err != nil || strings.TrimSpace(read(t, path)) != given {
		t.Errorf("a given key: %v", err)
	}
	if err := other.Rewrap(t.Context(), "SECRET"); !errors.Is(err, problem.Invalid) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a malformed key: %v", err)
	}
}

func TestRewrapUnderAnotherSetting(t *testing.T) {
	b, former, next := &box{}, keyset.RandomKEK(), keyset.RandomKEK()
	s := openIn(t, b, keyset.NewKEK(former, ""), true)
	other := openIn(t, b, keyset.NewKEK(former, ""), true)
	text := sealed(t, s, "v", "p")
	if err := s.Rewrap(t.Context(), ""); !errors.Is(err, problem.Invalid) {
		t.Errorf("no key: %v", err)
	}
	if err := s.Rewrap(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	opens(t, openIn(t, b, keyset.NewKEK(next, ""), false), text)
	opens(t, other, text)
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, err := other.Open(sealed(t, s, "v", "p"), "p")
	if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), keyset.EnvKEK) {
		t.Errorf("a node without the new key: %v", err)
	}
	opens(t, other, text)
}

// TestRewrapCanBeCutAnywhere takes what is on disk and in the box at each point
// where a process may die, and goes on from there.
func TestRewrapCanBeCutAnywhere(t *testing.T) {
	b, dir := &box{}, t.TempDir()
	path := filepath.Join(dir, "kek")
	s := openIn(t, b, keyset.NewKEK("", path), true)
	text := sealed(t, s, "v", "p")
	type moment struct {
		box   []byte
		files map[string]string
	}
	moments := map[string]moment{"before": {b.content(), snapshot(t, dir)}}
	kept := snapshot(t, dir)
	kept["kek.old"] = kept["kek"]
	moments["former key kept"] = moment{b.content(), kept}
	b.before = func(old, _ []byte) error {
		moments["new key in place"] = moment{old, snapshot(t, dir)}
		return nil
	}
	b.after = func() error {
		moments["box replaced"] = moment{b.text, snapshot(t, dir)}
		return nil
	}
	if err := s.Rewrap(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	moments["done"] = moment{b.content(), snapshot(t, dir)}
	if len(moments) != 5 {
		t.Fatalf("%d moments", len(moments))
	}
	for name, m := range moments {
		t.Run(name, func(t *testing.T) {
			dir, b := t.TempDir(), &box{text: m.box}
			for file, text := range m.files {
				write(t, filepath.Join(dir, file), text)
			}
			kek := keyset.NewKEK("", filepath.Join(dir, "kek"))
			s := openIn(t, b, kek, false)
			opens(t, s, text)
			if _, left := m.files["kek.old"]; left != (len(s.Warnings()) > 0) {
				t.Errorf("warnings %q", s.Warnings())
			}
			if err := s.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := openIn(t, b, kek, false).Rewrap(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			remade := openIn(t, b, kek, false)
			opens(t, remade, text)
			if w := remade.Warnings(); len(w) > 0 {
				t.Errorf("warnings %q", w)
			}
		})
	}
}

// TestARewrapWhoseWriteArrivesLateLosesNoKey lets the box change after a second
// attempt has begun, as a write without an answer may.
func TestARewrapWhoseWriteArrivesLateLosesNoKey(t *testing.T) {
	b, path := &box{}, filepath.Join(t.TempDir(), "kek")
	s := openIn(t, b, keyset.NewKEK("", path), true)
	text := sealed(t, s, "v", "p")
	var late []byte
	b.before = func(_, text []byte) error {
		late = bytes.Clone(text)
		return problem.New(problem.Unavailable, "no answer")
	}
	if err := s.Rewrap(t.Context(), ""); !errors.Is(err, problem.Unavailable) {
		t.Fatalf("got %v", err)
	}
	if err := openIn(t, b, keyset.NewKEK("", path), false).Rewrap(t.Context(), keyset.RandomKEK()); !errors.Is(err, problem.Conflict) {
		t.Errorf("another key before the first change is complete: %v", err)
	}
	b.before = func(_, _ []byte) error {
		b.before = nil
		b.set(late, false)
		return nil
	}
	if err := openIn(t, b, keyset.NewKEK("", path), false).Rewrap(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	opens(t, openIn(t, b, keyset.NewKEK("", path), false), text)
	opens(t, s, text)
}

// TestOpeningMeetsAChangeOfTheKey: the key-encryption key is changed after the
// keyset was read and before the key is.
func TestOpeningMeetsAChangeOfTheKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	b := &meeting{}
	s := openIn(t, &b.box, keyset.NewKEK("", path), true)
	text := sealed(t, s, "v", "p")
	b.then = func() {
		if err := s.Rewrap(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}
	other, err := keyset.OpenIn(t.Context(), b, keyset.NewKEK("", path), false)
	if err != nil {
		t.Fatal(err)
	}
	opens(t, other, text)
}

// meeting is a box in which something happens right after the first reading.
type meeting struct {
	box
	then func()
}

func (m *meeting) Load(ctx context.Context) ([]byte, error) {
	text, err := m.box.Load(ctx)
	if then := m.then; then != nil {
		m.then = nil
		then()
	}
	return text, err
}
