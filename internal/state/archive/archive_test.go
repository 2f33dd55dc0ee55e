package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/archive"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

const secret = "the value that nobody may see"

var created = time.Date(2026, 3, 1, 2, 3, 4, 0, time.UTC)

// place is an installation: its store, its keyset in it, and the key of that.
type place struct {
	raw   *memory.Store
	kek   string
	keys  *keyset.Sealer
	store *sealed.Store
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{raw: memory.New(clock.Real{}), kek: keyset.RandomKEK()}
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(p.raw, sealed.KeysetKey), keyset.NewKEK(p.kek, ""), true)
	if err != nil {
		t.Fatal(err)
	}
	p.keys, p.store = keys, sealed.New(p.raw, keys)
	return p
}

func (p place) options() archive.Options {
	return archive.Options{Created: created, Program: "v1.2.3", Sealer: p.keys, Keyset: sealed.KeysetKey}
}

func (p place) backup(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Backup(t.Context(), p.raw, &b, p.options()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// opener opens archives as a machine does that has nothing but the key.
func opener(kek string) archive.Opener {
	return func(h archive.Header) (seal.Sealer, error) {
		return keyset.OpenIn(context.Background(), given(h.Keyset), keyset.NewKEK(kek, ""), false)
	}
}

// given is a box that holds the keyset of a header.
type given []byte

func (g given) Load(context.Context) ([]byte, error) { return g, nil }
func (g given) Replace(context.Context, []byte, []byte) error {
	return problem.New(problem.ReadOnly, "it is a backup")
}
func (g given) String() string { return "in the backup" }

func put(t *testing.T, s state.Store, key state.Key, value string) {
	t.Helper()
	if _, err := s.Write(t.Context(), state.Put(key, []byte(value), state.Any)); err != nil {
		t.Fatal(err)
	}
}

// content gives the documents of a store but for leases.
func content(t *testing.T, s state.Store) map[state.Key]string {
	t.Helper()
	listing, err := s.List(t.Context(), "/", state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[state.Key]string{}
	for _, doc := range listing.Documents {
		if !strings.HasPrefix(string(doc.Key), string(state.LeasePrefix)) {
			out[doc.Key] = string(doc.Value)
		}
	}
	return out
}

func TestANewMachineNeedsTheFileAndTheKey(t *testing.T) {
	p := newPlace(t)
	for i := range 300 {
		put(t, p.store, state.Key(fmt.Sprintf("/names/%03d", i)), secret)
	}
	put(t, p.store, "/large", strings.Repeat("x", p.store.Limit()))
	put(t, p.store, "/empty", "")
	lease, err := p.store.Acquire(t.Context(), "work", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(context.Background()) })
	var file bytes.Buffer
	made, err := archive.Backup(t.Context(), p.raw, &file, p.options())
	if err != nil {
		t.Fatal(err)
	}
	if text := file.String(); strings.Contains(text, "names") || strings.Contains(text, "value that") {
		t.Error("the file shows names or values")
	}
	inner := memory.New(clock.Real{})
	summary, err := archive.Restore(t.Context(), inner, &file, opener(p.kek))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, summary); diff != "" || made.Documents != 303 || made.Bytes < 1<<20 {
		t.Errorf("%+v: %s", made, diff)
	}
	if diff := cmp.Diff(content(t, p.raw), content(t, inner)); diff != "" {
		t.Error(diff)
	}
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(inner, sealed.KeysetKey), keyset.NewKEK(p.kek, ""), false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(content(t, p.store), content(t, sealed.New(inner, keys))); diff != "" {
		t.Error(diff)
	}
}

func TestKeysOfTheTimeOfTheBackupOpenIt(t *testing.T) {
	p := newPlace(t)
	put(t, p.store, "/a", secret)
	if err := p.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, p.store, "/b", secret)
	file := p.backup(t)
	if err := p.keys.Rewrap(t.Context(), keyset.RandomKEK()); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Restore(t.Context(), memory.New(clock.Real{}), iotest.OneByteReader(bytes.NewReader(file)), opener(p.kek)); err != nil {
		t.Error(err)
	}
}

func TestArchivesAreInspectedWithAndWithoutAKey(t *testing.T) {
	p := newPlace(t)
	put(t, p.store, "/a", secret)
	file := p.backup(t)
	for name, open := range map[string]archive.Opener{"with": opener(p.kek), "without": nil} {
		got, err := archive.Inspect(bytes.NewReader(file), open)
		h := got.Header
		if err != nil || got.Documents != 2 || h.Program != "v1.2.3" || !h.Created.Equal(created) || !h.Sealed || h.ID == "" {
			t.Errorf("%s a key: %+v, %v", name, got, err)
		}
	}
	for name, open := range map[string]archive.Opener{"another key": opener(keyset.RandomKEK()), "another keyset": func(archive.Header) (seal.Sealer, error) { return newPlace(t).keys, nil }} {
		if _, err := archive.Inspect(bytes.NewReader(file), open); !errors.Is(err, problem.Undecryptable) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := archive.Restore(t.Context(), memory.New(clock.Real{}), bytes.NewReader(file), nil); !errors.Is(err, problem.Invalid) {
		t.Errorf("restored without a key: %v", err)
	}
}

func TestStoresInClearCanBeSavedToo(t *testing.T) {
	from, to := memory.New(clock.Real{}), memory.New(clock.Real{})
	put(t, from, "/a", "1")
	var file bytes.Buffer
	if _, err := archive.Backup(t.Context(), from, &file, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Restore(t.Context(), to, bytes.NewReader(file.Bytes()), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(content(t, from), content(t, to)); diff != "" {
		t.Error(diff)
	}
	if _, err := archive.Inspect(&file, opener(keyset.RandomKEK())); !errors.Is(err, problem.Invalid) {
		t.Errorf("taken for an encrypted one: %v", err)
	}
}

// touched fails the test when anything is written.
type touched struct {
	*memory.Store
	t *testing.T
}

func (s touched) Write(context.Context, ...state.Op) (state.Revision, error) {
	s.t.Error("something was written")
	return 0, errors.New("written")
}

func TestDamageIsFoundBeforeAnythingIsWritten(t *testing.T) {
	p := newPlace(t)
	for i := range 5 {
		put(t, p.store, state.Key(fmt.Sprintf("/d/%d", i)), strings.Repeat(secret, 2000))
	}
	file := p.backup(t)
	spoiled := map[string][]byte{
		"longer": append(bytes.Clone(file), 'x'), "twice": bytes.Repeat(file, 2), "another file": []byte("PK\x03\x04"), "no line": bytes.Repeat([]byte("x"), 3<<20),
	}
	for i := 0; i < len(file); i += 1 + len(file)/40 {
		changed := bytes.Clone(file)
		changed[i] ^= 1
		spoiled[fmt.Sprintf("cut at %d", i)] = file[:i]
		spoiled[fmt.Sprintf("changed at %d", i)] = changed
	}
	for i := len(file) - 90; i < len(file); i++ {
		spoiled[fmt.Sprintf("cut at %d", i)] = file[:i]
	}
	for name, bad := range spoiled {
		for kind, r := range map[string]io.Reader{"file": bytes.NewReader(bad), "pipe": bytes.NewBuffer(bad)} {
			_, err := archive.Restore(t.Context(), touched{memory.New(clock.Real{}), t}, r, opener(p.kek))
			if k := problem.KindOf(err); err == nil || k != problem.Undecryptable && k != problem.Invalid && k != problem.Unsupported {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
	}
}

// frames takes a file apart behind its header.
func frames(t *testing.T, file []byte) (header []byte, parts [][]byte) {
	t.Helper()
	at := bytes.IndexByte(file, '\n') + 1
	header = file[:at]
	for at < len(file) {
		size := 5 + int(file[at+1])<<24 + int(file[at+2])<<16 + int(file[at+3])<<8 + int(file[at+4])
		parts = append(parts, file[at:at+size])
		at += size
	}
	return header, parts
}

func TestFramesCannotBeRearranged(t *testing.T) {
	p := newPlace(t)
	for i := range 4 {
		put(t, p.store, state.Key(fmt.Sprintf("/d/%d", i)), strings.Repeat("x", 300<<10))
	}
	file := p.backup(t)
	header, parts := frames(t, file)
	_, others := frames(t, p.backup(t))
	if len(parts) < 5 || bytes.Equal(parts[0], others[0]) {
		t.Fatalf("%d frames", len(parts))
	}
	n := len(parts)
	for name, list := range map[string][][]byte{
		"swapped": {parts[1], parts[0], parts[2], parts[3], parts[n-2]}, "left out": {parts[0], parts[2], parts[3], parts[n-2]},
		"doubled": {parts[0], parts[0], parts[1]}, "of another backup": append([][]byte{others[0]}, parts[1:n-1]...),
		"ended early": {append([]byte{'L'}, parts[0][1:]...)},
	} {
		bad := archive.Finished(append(bytes.Clone(header), bytes.Join(list, nil)...), 5)
		if _, err := archive.Inspect(bytes.NewReader(bad), opener(p.kek)); !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := archive.Finished(append(bytes.Clone(header), bytes.Join(parts[:n-1], nil)...), 5)
	if !bytes.Equal(good, file) {
		t.Fatal("the test puts files together wrongly")
	}
	renamed := archive.Finished(append(bytes.Replace(header, []byte("v1.2.3"), []byte("v1.2.4"), 1), bytes.Join(parts[:n-1], nil)...), 5)
	if _, err := archive.Inspect(bytes.NewReader(renamed), opener(p.kek)); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("changed header: %v", err)
	}
}

func TestLaterVersionsAreNotGuessedAt(t *testing.T) {
	file := newPlace(t).backup(t)
	later := bytes.Replace(file, []byte(`"version":1`), []byte(`"version":2`), 1)
	if _, err := archive.Inspect(bytes.NewReader(later), nil); !errors.Is(err, problem.Unsupported) || !strings.Contains(problem.NextOf(err), "v1.2.3") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyEmptyStoresAreFilled(t *testing.T) {
	p := newPlace(t)
	file := p.backup(t)
	to := memory.New(clock.Real{})
	lease, err := to.Acquire(t.Context(), "work", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(context.Background()) })
	put(t, to, "/something", "here")
	before := content(t, to)
	_, err = archive.Restore(t.Context(), to, bytes.NewReader(file), opener(p.kek))
	if !errors.Is(err, problem.Conflict) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, content(t, to)); diff != "" {
		t.Error(diff)
	}
	if _, err := to.Write(t.Context(), state.Delete("/something", state.Any)); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Restore(t.Context(), to, bytes.NewReader(file), opener(p.kek)); err != nil {
		t.Errorf("only a lease: %v", err)
	}
	if _, err := archive.Restore(t.Context(), to, bytes.NewReader(file), opener(p.kek)); !errors.Is(err, problem.Conflict) {
		t.Errorf("a second time: %v", err)
	}
}

// failing is a store whose writes fail after some.
type failing struct {
	*memory.Store
	left int
}

func (f *failing) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if f.left--; f.left < 0 {
		return 0, problem.New(problem.Unavailable, "away")
	}
	return f.Store.Write(ctx, ops...)
}

func TestAnInterruptedRestoreIsCompletedByTheSameBackupOnly(t *testing.T) {
	p := newPlace(t)
	for i := range 250 {
		put(t, p.store, state.Key(fmt.Sprintf("/d/%d", i)), secret)
	}
	file, other := p.backup(t), p.backup(t)
	for left := range 4 {
		to := memory.New(clock.Real{})
		_, err := archive.Restore(t.Context(), &failing{to, left}, bytes.NewReader(file), opener(p.kek))
		if !errors.Is(err, problem.Unavailable) {
			t.Fatalf("after %d: %v", left, err)
		}
		if left > 0 {
			if _, err := archive.Restore(t.Context(), to, bytes.NewReader(other), opener(p.kek)); !errors.Is(err, problem.Conflict) {
				t.Errorf("after %d, another backup: %v", left, err)
			}
			if _, err := archive.Backup(t.Context(), to, io.Discard, archive.Options{}); !errors.Is(err, problem.Conflict) {
				t.Errorf("after %d, backup of a part: %v", left, err)
			}
		}
		if _, err := archive.Restore(t.Context(), to, bytes.NewReader(file), opener(p.kek)); err != nil {
			t.Fatalf("after %d: %v", left, err)
		}
		if diff := cmp.Diff(content(t, p.raw), content(t, to)); diff != "" {
			t.Errorf("after %d: %s", left, diff)
		}
	}
}

// busy is a store in which somebody does something with every read.
type busy struct {
	*memory.Store
	reads int
	then  func(read int)
}

func (b *busy) Get(ctx context.Context, key state.Key) (state.Document, error) {
	doc, err := b.Store.Get(ctx, key)
	b.reads++
	b.then(b.reads)
	return doc, err
}

// TestABackupIsOneMoment changes two documents together, and moves a third
// about, all the while. In every backup the two are alike and there is one third.
func TestABackupIsOneMoment(t *testing.T) {
	for name, until := range map[string]int{"never at rest": 1 << 30, "at rest after a while": 30, "at rest": 0} {
		inner := memory.New(clock.Real{})
		step := func(n int) {
			value := fmt.Appendf(nil, "%d", n)
			_, err := inner.Write(t.Context(), state.Put("/a", value, state.Any), state.Put("/z", value, state.Any),
				state.Delete(state.Key(fmt.Sprintf("/m/%d", (n+2)%3)), state.Any), state.Put(state.Key(fmt.Sprintf("/m/%d", n%3)), value, state.Any))
			if err != nil {
				t.Fatal(err)
			}
		}
		step(0)
		store := &busy{Store: inner, then: func(read int) {
			if read <= until {
				step(read)
			}
		}}
		var file bytes.Buffer
		made, err := archive.Backup(t.Context(), store, &file, archive.Options{})
		if err != nil {
			t.Fatal(err)
		}
		to := memory.New(clock.Real{})
		if _, err := archive.Restore(t.Context(), to, &file, nil); err != nil {
			t.Fatal(err)
		}
		got := content(t, to)
		if len(got) != 3 || got["/a"] != got["/z"] || made.Documents != 3 {
			t.Errorf("%s: %v, %+v", name, got, made)
		}
		if diff := cmp.Diff(content(t, inner), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestBackupsWhileOthersWrite(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			value := fmt.Appendf(nil, "%d", n)
			_, _ = p.store.Write(ctx, state.Put("/a", value, state.Any), state.Put(state.Key(fmt.Sprintf("/m/%d", n%100)), value, state.Any), state.Put("/z", value, state.Any))
		}
	})
	for range 10 {
		file := p.backup(t)
		to := memory.New(clock.Real{})
		if _, err := archive.Restore(t.Context(), to, bytes.NewReader(file), opener(p.kek)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, sealed.New(to, p.keys)); got["/a"] != got["/z"] {
			t.Errorf("not one moment: %q and %q", got["/a"], got["/z"])
		}
	}
	cancel()
	wg.Wait()
}

func TestAChangeOfTheKeysetMeanwhileIsNoticed(t *testing.T) {
	p := newPlace(t)
	put(t, p.store, "/a", secret)
	store := &busy{Store: p.raw, then: func(read int) {
		if read == 2 {
			if err := p.keys.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}}
	if _, err := archive.Backup(t.Context(), store, io.Discard, p.options()); !errors.Is(err, problem.Conflict) || !strings.Contains(err.Error(), "keyset") {
		t.Errorf("got %v", err)
	}
}

func TestBackupsNeedTheirKeysetAndAWriter(t *testing.T) {
	p := newPlace(t)
	o := p.options()
	o.Keyset = "/not/here"
	if _, err := archive.Backup(t.Context(), p.raw, io.Discard, o); !errors.Is(err, problem.NotFound) {
		t.Errorf("no keyset: %v", err)
	}
	r, w := io.Pipe()
	_ = r.Close()
	if _, err := archive.Backup(t.Context(), p.raw, w, p.options()); !errors.Is(err, problem.Unavailable) {
		t.Errorf("closed pipe: %v", err)
	}
	if _, err := archive.Inspect(iotest.ErrReader(errors.New("broken disk")), nil); !errors.Is(err, problem.Unavailable) {
		t.Errorf("broken disk: %v", err)
	}
}

// swap gives another file when it is read for the second time.
type swap struct {
	*bytes.Reader
	other []byte
}

func (s *swap) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		s.Reader = bytes.NewReader(s.other)
	}
	return s.Reader.Seek(offset, whence)
}

func TestAFileChangedAfterTheCheckLeavesTheStoreMarked(t *testing.T) {
	p := newPlace(t)
	put(t, p.store, "/a", secret)
	to := memory.New(clock.Real{})
	_, err := archive.Restore(t.Context(), to, &swap{bytes.NewReader(p.backup(t)), p.backup(t)}, opener(p.kek))
	if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("got %v", err)
	}
	if _, marked := content(t, to)[archive.RestoringKey]; !marked {
		t.Error("the store looks complete")
	}
}

func TestTemporaryCopiesArePrivateAndGo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	p := newPlace(t)
	seen := 0
	open := func(h archive.Header) (seal.Sealer, error) {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) != 1 {
			t.Fatalf("%q, %v", names, err)
		}
		if info, err := os.Stat(names[0]); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		seen++
		return opener(p.kek)(h)
	}
	if _, err := archive.Restore(t.Context(), memory.New(clock.Real{}), bytes.NewBuffer(p.backup(t)), open); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); seen != 2 || len(names) > 0 {
		t.Errorf("opened %d times, left %q", seen, names)
	}
}

// FuzzReader gives files by strangers to the reader. Whatever it accepts, it
// accepts again, and restores as many documents as it says.
func FuzzReader(f *testing.F) {
	store := memory.New(clock.Real{})
	for i := range 3 {
		_, _ = store.Write(f.Context(), state.Put(state.Key(fmt.Sprintf("/d/%d", i)), []byte("value"), state.Any))
	}
	var file bytes.Buffer
	if _, err := archive.Backup(f.Context(), store, &file, archive.Options{Created: created}); err != nil {
		f.Fatal(err)
	}
	at := bytes.IndexByte(file.Bytes(), '\n') + 1
	f.Add(file.Bytes(), 0)
	f.Add(archive.Unfinished(file.Bytes())[at:], 3)
	f.Add([]byte("L\x00\x00\x00\x09+\x02/a\x01x-\x02/a"), 0)
	f.Add([]byte("L\xff\xff\xff\xff"), 0)
	header := bytes.Clone(file.Bytes()[:at])
	f.Fuzz(func(t *testing.T, b []byte, documents int) {
		_, _ = archive.Inspect(bytes.NewReader(b), nil)
		whole := archive.Finished(append(bytes.Clone(header), b...), documents) // past the digest
		got, err := archive.Inspect(bytes.NewReader(whole), nil)
		if err != nil {
			if k := problem.KindOf(err); k != problem.Undecryptable && k != problem.Invalid && k != problem.Unsupported {
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		to := memory.New(clock.Real{})
		if _, err := archive.Restore(t.Context(), to, bytes.NewReader(whole), nil); err != nil {
			t.Fatal(err)
		}
		if n := len(content(t, to)); n != got.Documents {
			t.Fatalf("%d documents, %d restored", got.Documents, n)
		}
	})
}
