package sealed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

const secret = "the value that nobody may see"

// place is a store with its keyset in it.
type place struct {
	inner *memory.Store
	kek   string
	keys  *keyset.Sealer
	*sealed.Store
}

func open(t *testing.T, options ...sealed.Option) place {
	t.Helper()
	p := place{inner: memory.New(clock.Real{}), kek: filepath.Join(t.TempDir(), "kek")}
	p.keys = p.sealer(t)
	p.Store = sealed.New(p.inner, p.keys, options...)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// sealer opens the keyset as another node does.
func (p place) sealer(t *testing.T) *keyset.Sealer {
	t.Helper()
	s, err := keyset.OpenIn(t.Context(), sealed.Box(p.inner, sealed.KeysetKey), keyset.NewKEK("", p.kek), true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s state.Store, key state.Key, value string) state.Revision {
	t.Helper()
	rev, err := s.Write(t.Context(), state.Put(key, []byte(value), state.Any))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func raw(t *testing.T, p place, key state.Key) string {
	t.Helper()
	doc, err := p.inner.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc.Value)
}

func holds(t *testing.T, s state.Store, key state.Key, want string) {
	t.Helper()
	doc, err := s.Get(t.Context(), key)
	if err != nil || string(doc.Value) != want {
		t.Errorf("%s: %q, %v", key, doc.Value, err)
	}
}

func TestNothingReachesTheStoreInClear(t *testing.T) {
	p := open(t, sealed.Plain("/open", "/public/"))
	for _, key := range []state.Key{"/a", "/openly", "/public", "/open/b"} {
		put(t, p, key, secret)
		holds(t, p, key, secret)
		if text := raw(t, p, key); strings.Contains(text, secret) || strings.Contains(text, "value") {
			t.Errorf("%s holds %q", key, text)
		}
	}
	for _, key := range []state.Key{"/open", "/public/x"} {
		put(t, p, key, secret)
		holds(t, p, key, secret)
		if text := raw(t, p, key); text != secret {
			t.Errorf("%s holds %q", key, text)
		}
	}
	if p.String() == p.inner.String() {
		t.Error("the name does not tell that values are encrypted")
	}
}

func TestValuesOfAllKindsComeBack(t *testing.T) {
	for name, s := range map[string]seal.Sealer{"bytes": nil, "text": textOnly{open(t).keys}} {
		p := open(t)
		store := p.Store
		if s != nil {
			store = sealed.New(p.inner, s)
		}
		for i, value := range [][]byte{nil, {}, {0}, {1, 2}, []byte("lk1.x"), bytes.Repeat([]byte{0xff}, store.Limit())} {
			if _, err := store.Write(t.Context(), state.Put("/k", value, state.Any)); err != nil {
				t.Fatalf("%s %d: %v", name, i, err)
			}
			doc, err := store.Get(t.Context(), "/k")
			if err != nil || doc.Value == nil || !bytes.Equal(doc.Value, value) {
				t.Errorf("%s %d: %d bytes, nil %v, %v", name, i, len(doc.Value), doc.Value == nil, err)
			}
		}
	}
}

// textOnly hides that a sealer can seal bytes.
type textOnly struct{ seal.Sealer }

func TestLimitsLeaveRoomForSealing(t *testing.T) {
	p := open(t)
	for name, s := range map[string]*sealed.Store{"bytes": p.Store, "text": sealed.New(p.inner, textOnly{p.keys})} {
		ops := make([]state.Op, state.MaxOps)
		for i := range ops {
			ops[i] = state.Put(state.Key(fmt.Sprintf("/k/%d", i)), bytes.Repeat([]byte("x"), s.Limit()/state.MaxOps), state.Any)
		}
		if _, err := s.Write(t.Context(), ops...); err != nil {
			t.Errorf("%s: as many and as large as allowed: %v", name, err)
		}
		over := state.Put("/large", make([]byte, s.Limit()+1), state.Any)
		_, err := s.Write(t.Context(), state.Put("/small", nil, state.Any), over)
		if !errors.Is(err, state.ErrTooLarge) || !strings.Contains(err.Error(), "/large") || !strings.Contains(err.Error(), fmt.Sprint(s.Limit())) {
			t.Errorf("%s: one byte more: %v", name, err)
		}
	}
}

func TestAStoreWithoutEncryptionIsRefused(t *testing.T) {
	inner := memory.New(clock.Real{})
	_, err := sealed.New(inner, seal.None{}).Write(t.Context(), state.Put("/k", []byte("v"), state.Any))
	if problem.KindOf(errors.Unwrap(err)) != problem.Internal {
		t.Errorf("got %v", err)
	}
	if _, err := inner.Get(t.Context(), "/k"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("something was written: %v", err)
	}
}

func TestValuesThatDoNotOpenAreNamedAndKept(t *testing.T) {
	p := open(t)
	put(t, p, "/d/a", "a")
	put(t, p, "/d/b", secret)
	good := raw(t, p, "/d/b")
	for name, bad := range map[string]string{
		"of another key": raw(t, p, "/d/a"), "in clear": secret, "damaged": good[:len(good)-1] + string(good[len(good)-1]^1),
		"cut": good[:3], "empty": "", "of another keyset": sealedElsewhere(t),
	} {
		put(t, p.inner, "/d/b", bad)
		_, err := p.Get(t.Context(), "/d/b")
		_, listErr := p.List(t.Context(), "/d/", state.Page{})
		_, updateErr := state.Update(t.Context(), p, "/d/b", func([]byte, bool) ([]byte, error) { return []byte("new"), nil })
		for _, err := range []error{err, listErr, updateErr, p.Reseal(t.Context(), nil)} {
			if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), "/d/b") || problem.NextOf(err) == "" || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if raw(t, p, "/d/b") != bad {
			t.Errorf("%s: the value was replaced", name)
		}
		holds(t, p, "/d/a", "a")
		if list, err := p.List(t.Context(), "/d/", state.Page{KeysOnly: true}); err != nil || len(list.Documents) != 2 {
			t.Errorf("%s: keys: %v, %v", name, list, err)
		}
	}
	if _, err := p.Write(t.Context(), state.Delete("/d/b", state.Any)); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
}

func sealedElsewhere(t *testing.T) string {
	p := open(t)
	put(t, p, "/d/b", secret)
	return raw(t, p, "/d/b")
}

// next gives the next event that is not the end of the watch.
func next(t *testing.T, events <-chan state.Event) state.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event")
	}
	return state.Event{}
}

func TestAWatchOpensValuesAndGoesOnAfterOneThatDoesNot(t *testing.T) {
	var text bytes.Buffer
	p := open(t, sealed.Log(slog.New(slog.NewTextHandler(&text, nil))))
	ctx, cancel := context.WithCancel(t.Context())
	events, err := p.Watch(ctx, "/d/", 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, p, "/d/a", "")
	bad := put(t, p.inner, "/d/b", "garbage")
	put(t, p, "/d/c", secret)
	if _, err := p.Write(t.Context(), state.Delete("/d/c", state.Any)); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Key != "/d/a" || e.Value == nil || len(e.Value) != 0 {
		t.Errorf("empty value: %+v", e)
	}
	if e := next(t, events); e.Kind != state.EventPut || e.Key != "/d/b" || e.Value != nil || e.Revision != bad {
		t.Errorf("value that does not open: %+v", e)
	}
	if e := next(t, events); e.Key != "/d/c" || string(e.Value) != secret {
		t.Errorf("value after it: %+v", e)
	}
	if e := next(t, events); e.Kind != state.EventDelete || e.Key != "/d/c" {
		t.Errorf("deletion: %+v", e)
	}
	cancel()
	if e, ok := <-events; ok {
		t.Errorf("after the end: %+v", e)
	}
	if got := text.String(); !strings.Contains(got, "/d/b") || strings.Contains(got, "garbage") {
		t.Errorf("log: %s", got)
	}
}

func TestAWatchThatMissesAKeyForNowAsksForAResync(t *testing.T) {
	p := open(t)
	inner := &cut{Store: p.inner}
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(inner, sealed.KeysetKey), keyset.NewKEK("", p.kek), false)
	if err != nil {
		t.Fatal(err)
	}
	other := sealed.New(inner, keys)
	events, err := other.Watch(t.Context(), "/d/", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	inner.set(true)
	put(t, p, "/d/a", secret)
	if e := next(t, events); e.Kind != state.EventResync {
		t.Errorf("got %+v", e)
	}
	if _, ok := <-events; ok {
		t.Error("the watch goes on after a resync")
	}
	if _, err := other.List(t.Context(), "/d/", state.Page{}); !errors.Is(err, problem.Unavailable) || errors.Is(err, problem.Undecryptable) {
		t.Errorf("key away: %v", err)
	}
	inner.set(false)
	holds(t, other, "/d/a", secret)
}

// cut is a store whose keyset cannot be read for a while.
type cut struct {
	state.Store
	mu  sync.Mutex
	off bool
}

func (c *cut) set(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

func (c *cut) Get(ctx context.Context, key state.Key) (state.Document, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off && key == sealed.KeysetKey {
		return state.Document{}, problem.New(problem.Unavailable, "away")
	}
	return c.Store.Get(ctx, key)
}

func TestAFollowerHearsOfAllThatOpens(t *testing.T) {
	p := open(t)
	put(t, p, "/d/a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{seen: map[state.Key]string{}, changed: make(chan struct{}, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		state.Follow(ctx, p, "/d/", clock.Real{}, f)
	}()
	f.await(t, map[state.Key]string{"/d/a": "1"})
	put(t, p.inner, "/d/b", "garbage")
	put(t, p, "/d/a", "2")
	f.await(t, map[state.Key]string{"/d/a": "2", "/d/b": "unreadable"})
	put(t, p, "/d/b", "repaired")
	f.await(t, map[state.Key]string{"/d/a": "2", "/d/b": "repaired"})
	cancel()
	<-done
}

type follower struct {
	mu      sync.Mutex
	seen    map[state.Key]string
	changed chan struct{}
}

func (f *follower) Reset(docs []state.Document) {
	for _, d := range docs {
		f.Apply(state.Event{Document: d})
	}
}

func (f *follower) Apply(e state.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[e.Key] = string(e.Value)
	if e.Value == nil {
		f.seen[e.Key] = "unreadable"
	}
	f.changed <- struct{}{}
}

func (f *follower) Cut(error) {}

func (f *follower) await(t *testing.T, want map[state.Key]string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		f.mu.Lock()
		diff := cmp.Diff(want, f.seen)
		f.mu.Unlock()
		if diff == "" {
			return
		}
		select {
		case <-f.changed:
		case <-deadline:
			t.Fatal(diff)
		}
	}
}

func TestResealUsesTheNewKeyForEverything(t *testing.T) {
	p := open(t, sealed.Plain("/open"))
	put(t, p, "/open", secret)
	for i := range 20 {
		put(t, p, state.Key(fmt.Sprintf("/d/%02d", i)), secret)
	}
	if err := p.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, p, "/d/new", secret)
	fresh := raw(t, p, "/d/new")
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Reseal(ctx, func(done, _ int) {
		if done == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || p.stale(t) == 0 || p.stale(t) == 20 {
		t.Errorf("interrupted: %v, %d left", err, p.stale(t))
	}
	var calls, total int
	if err := p.Reseal(t.Context(), func(done, all int) { calls, total = done, all }); err != nil {
		t.Fatal(err)
	}
	if p.stale(t) != 0 || calls != total || total < 22 {
		t.Errorf("%d left, progress %d of %d", p.stale(t), calls, total)
	}
	if raw(t, p, "/d/new") != fresh || raw(t, p, "/open") != secret {
		t.Error("what was not stale was sealed anew")
	}
	before, err := p.inner.List(t.Context(), "/", state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Reseal(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if after, err := p.inner.List(t.Context(), "/", state.Page{}); err != nil || after.Revision != before.Revision {
		t.Errorf("a second run wrote something: %v", err)
	}
}

// stale counts the values that were sealed with a former key; all must open.
func (p place) stale(t *testing.T) int {
	t.Helper()
	list, err := p.inner.List(t.Context(), "/d/", state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, doc := range list.Documents {
		plain, stale, err := seal.Open(p.keys, doc.Value, string(doc.Key))
		if err != nil || string(plain) != secret {
			t.Fatalf("%s: %q, %v", doc.Key, plain, err)
		}
		if stale {
			n++
		}
	}
	return n
}

func TestResealLosesNoWriteOfOthers(t *testing.T) {
	p := open(t)
	const writers, writes = 4, 50
	for i := range writers {
		put(t, p, state.Key(fmt.Sprintf("/n/%d", i)), "")
	}
	nodes := make([]*sealed.Store, writers)
	for i := range nodes {
		nodes[i] = sealed.New(p.inner, p.sealer(t))
	}
	var wg sync.WaitGroup
	for i, node := range nodes {
		key := state.Key(fmt.Sprintf("/n/%d", i))
		wg.Go(func() {
			for range writes {
				_, err := state.Update(t.Context(), node, key, func(old []byte, _ bool) ([]byte, error) { return append(old, 'x'), nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		if err := p.keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Reseal(t.Context(), nil); err != nil && !errors.Is(err, state.ErrConflict) {
			t.Error(err)
		}
	}
	wg.Wait()
	for i := range writers {
		holds(t, p, state.Key(fmt.Sprintf("/n/%d", i)), strings.Repeat("x", writes))
	}
}

func TestResealGoesPastWhatDoesNotOpen(t *testing.T) {
	p := open(t)
	put(t, p.inner, "/a", "garbage")
	put(t, p, "/d/z", secret)
	if err := p.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Reseal(t.Context(), nil); !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), "/a") {
		t.Errorf("got %v", err)
	}
	if p.stale(t) != 0 {
		t.Error("the others were not sealed anew")
	}
}

func TestLeasesWorkThroughTheSealedStore(t *testing.T) {
	p := open(t)
	lease, err := p.Acquire(t.Context(), "work", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(t.Context(), state.Put("/k", []byte("v"), state.Any), lease.Fence()); err != nil {
		t.Error(err)
	}
	if _, err := p.List(t.Context(), "/", state.Page{}); err != nil {
		t.Errorf("leases are not to be opened: %v", err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := p.Write(t.Context(), state.Put("/k", []byte("w"), state.Any), lease.Fence()); !errors.Is(err, state.ErrConflict) {
		t.Errorf("fence of a lease that has ended: %v", err)
	}
}

func TestBoxesHoldWhatWasThereBefore(t *testing.T) {
	b := sealed.Box(memory.New(clock.Real{}), sealed.KeysetKey)
	ctx := t.Context()
	if _, err := b.Load(ctx); !errors.Is(err, problem.NotFound) {
		t.Errorf("empty: %v", err)
	}
	for i, step := range []struct {
		old, text string
		fails     bool
	}{{"x", "1", true}, {"", "1", false}, {"", "2", true}, {"2", "3", true}, {"1", "2", false}, {"1", "3", true}} {
		var old []byte
		if step.old != "" {
			old = []byte(step.old)
		}
		err := b.Replace(ctx, old, []byte(step.text))
		if step.fails != errors.Is(err, problem.Conflict) || !step.fails && err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if text, err := b.Load(ctx); string(text) != "2" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
