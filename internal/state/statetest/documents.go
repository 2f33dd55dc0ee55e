package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/state"
)

func documentChecks() []check {
	return []check{
		{"absent documents are not found", absent},
		{"put creates and replaces", createReplace},
		{"values are kept byte by byte", values},
		{"delete removes", remove},
		{"revisions grow and are shared by a write", revisions},
		{"keys that break a rule are refused", badKeys},
		{"keys differ by every byte", distinctKeys},
		{"limits", limits},
		{"malformed writes are refused", malformed},
		{"values belong to the caller", ownership},
		{"no update is lost", counter},
		{"one of many creators wins", creators},
	}
}

func absent(ctx context.Context, t *testing.T, h Harness) {
	put(ctx, t, h.Store, "/a/b")
	for _, key := range []state.Key{"/a", "/a/b/c", "/a/bb", "/A/b", "/b"} {
		if doc, err := h.Store.Get(ctx, key); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("get %q: %+v, %v", key, doc, err)
		}
	}
}

func createReplace(ctx context.Context, t *testing.T, h Harness) {
	for _, text := range []string{"one", "two", "two"} {
		rev := write(ctx, t, h.Store, state.Put("/a", []byte(text), state.Any))
		if doc := get(ctx, t, h.Store, "/a"); doc.Key != "/a" || string(doc.Value) != text || doc.Revision != rev {
			t.Errorf("got %+v after writing %q at %d", doc, text, rev)
		}
	}
}

func values(ctx context.Context, t *testing.T, h Harness) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	events := watch(ctx, t, h.Store, "/", list(ctx, t, h.Store, "/", state.Page{}).Revision)
	for _, value := range [][]byte{nil, {}, {0}, {0, 0}, []byte("\n"), []byte("{}"), all, []byte("\xff\xfe")} {
		write(ctx, t, h.Store, state.Put("/a", value, state.Any))
		if doc := get(ctx, t, h.Store, "/a"); !bytes.Equal(doc.Value, value) || doc.Value == nil {
			t.Errorf("put %q, got %#v", value, doc.Value)
		}
		if docs := list(ctx, t, h.Store, "/", state.Page{}).Documents; !bytes.Equal(docs[0].Value, value) || docs[0].Value == nil {
			t.Errorf("put %q, listed %#v", value, docs[0].Value)
		}
		if e := next(ctx, t, events); !bytes.Equal(e.Value, value) || e.Value == nil {
			t.Errorf("put %q, watched %#v", value, e.Value)
		}
	}
}

func remove(ctx context.Context, t *testing.T, h Harness) {
	put(ctx, t, h.Store, "/a", "/b")
	first := get(ctx, t, h.Store, "/a").Revision
	write(ctx, t, h.Store, state.Delete("/a", state.Any))
	if _, err := h.Store.Get(ctx, "/a"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	get(ctx, t, h.Store, "/b")
	write(ctx, t, h.Store, state.Delete("/a", state.Any))
	write(ctx, t, h.Store, state.Delete("/never", state.Any), state.Put("/c", nil, state.Any))
	get(ctx, t, h.Store, "/c")
	put(ctx, t, h.Store, "/a")
	if again := get(ctx, t, h.Store, "/a").Revision; again <= first {
		t.Errorf("made anew it has revision %d, the old one had %d", again, first)
	}
}

func revisions(ctx context.Context, t *testing.T, h Harness) {
	last := list(ctx, t, h.Store, "/", state.Page{}).Revision
	for i := range 20 {
		a, b := state.Key(fmt.Sprintf("/a/%d", i%3)), state.Key(fmt.Sprintf("/b/%d", i))
		rev := put(ctx, t, h.Store, a, b)
		if rev <= last || rev <= 0 {
			t.Fatalf("revision %d after %d", rev, last)
		}
		if ra, rb := get(ctx, t, h.Store, a).Revision, get(ctx, t, h.Store, b).Revision; ra != rev || rb != rev {
			t.Errorf("a write at %d made documents at %d and %d", rev, ra, rb)
		}
		if now := list(ctx, t, h.Store, "/b/", state.Page{}).Revision; now < rev {
			t.Errorf("listed at %d after a write at %d", now, rev)
		}
		last = rev
	}
	if rev := get(ctx, t, h.Store, "/b/0").Revision; rev >= last {
		t.Errorf("writes of others moved a document to %d", rev)
	}
}

func badKeys(ctx context.Context, t *testing.T, h Harness) {
	for _, key := range []state.Key{"", "/", "a", "a/b", "/a/", "//a", "/a//b", "/\x00", "/a\nb", "/a\x7f", "/\xff", state.Key("/" + strings.Repeat("k", state.MaxKey))} {
		want := state.ErrInvalid
		if len(key) > state.MaxKey {
			want = state.ErrTooLarge
		}
		_, err := h.Store.Get(ctx, key)
		wantRefused(t, "get", key, err, want)
		for _, op := range []state.Op{state.Put(key, nil, state.Any), state.Delete(key, state.Any), state.Check(key, state.Absent)} {
			_, err = h.Store.Write(ctx, state.Put("/good", nil, state.Any), op)
			wantRefused(t, "write", key, err, want)
		}
	}
	for _, prefix := range []state.Key{"", "a", "/a", "a/", "//", "/a//", "/\x00/", "/a\nb/", "/\xff/", state.Key("/" + strings.Repeat("k", state.MaxKey) + "/")} {
		want := state.ErrInvalid
		if len(prefix) > state.MaxKey {
			want = state.ErrTooLarge
		}
		_, err := h.Store.List(ctx, prefix, state.Page{})
		wantRefused(t, "list", prefix, err, want)
		_, err = h.Store.Watch(ctx, prefix, 0)
		wantRefused(t, "watch", prefix, err, want)
	}
	if docs := list(ctx, t, h.Store, "/", state.Page{}).Documents; len(docs) != 0 {
		t.Errorf("refused writes left %v", docs)
	}
}

func wantRefused(t *testing.T, what string, key state.Key, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s %.40q: %v, want %v", what, key, err, want)
	}
}

func distinctKeys(ctx context.Context, t *testing.T, h Harness) {
	keys := []state.Key{"/a", "/A", "/a ", "/ a", "/ä", "/a\u0308", "/a%2fb", "/a/b", "/.", "/..", "/a/.", "/世界", "/\u2028", "/a?b", "/*", "/a\\b",
		state.Key("/" + strings.Repeat("k", state.MaxKey-1))}
	put(ctx, t, h.Store, keys...)
	for _, key := range keys {
		if doc := get(ctx, t, h.Store, key); string(doc.Value) != string(key) {
			t.Errorf("%.40q has the value of %.40q", key, doc.Value)
		}
	}
	if docs := list(ctx, t, h.Store, "/", state.Page{}).Documents; len(docs) != len(keys) {
		t.Errorf("%d documents for %d keys", len(docs), len(keys))
	}
}

func limits(ctx context.Context, t *testing.T, h Harness) {
	largest := bytes.Repeat([]byte("v"), h.MaxValue)
	write(ctx, t, h.Store, state.Put("/large", largest, state.Any))
	if doc := get(ctx, t, h.Store, "/large"); !bytes.Equal(doc.Value, largest) {
		t.Errorf("the largest value came back with %d bytes", len(doc.Value))
	}
	half := largest[:h.MaxValue/2]
	write(ctx, t, h.Store, state.Put("/half/1", half, state.Any), state.Put("/half/2", half, state.Any))
	var most []state.Op
	for i := range state.MaxOps {
		most = append(most, state.Put(state.Key(fmt.Sprintf("/many/%d", i)), []byte("x"), state.Any))
	}
	write(ctx, t, h.Store, most...)
	over := map[string][]state.Op{
		"one value":  {state.Put("/over", append(largest, 'v'), state.Any)},
		"values":     {state.Put("/over", half, state.Any), state.Put("/over/2", append(half[:len(half):len(half)], "vvv"...), state.Any)},
		"operations": append(most, state.Put("/over", nil, state.Any)),
	}
	for name, ops := range over {
		if _, err := h.Store.Write(ctx, ops...); !errors.Is(err, state.ErrTooLarge) {
			t.Errorf("%s over the limit: %v", name, err)
		}
	}
	if _, err := h.Store.Get(ctx, "/over"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a refused write left something: %v", err)
	}
	if n := len(list(ctx, t, h.Store, "/many/", state.Page{}).Documents); n != state.MaxOps {
		t.Errorf("the largest write left %d documents", n)
	}
}

func malformed(ctx context.Context, t *testing.T, h Harness) {
	writes := map[string][]state.Op{
		"nothing":              nil,
		"a key twice":          {state.Put("/a", nil, state.Any), state.Delete("/a", state.Any)},
		"a condition below":    {state.Put("/a", nil, -2)},
		"an unknown kind":      {{Kind: 77, Key: "/a"}},
		"a check with value":   {{Kind: state.OpCheck, Key: "/a", Value: []byte("x")}},
		"a put among leases":   {state.Put(state.LeasePrefix+"x", nil, state.Any)},
		"a delete from leases": {state.Delete(state.LeasePrefix+"x", state.Any)},
	}
	for name, ops := range writes {
		if _, err := h.Store.Write(ctx, ops...); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Store.List(ctx, "/", state.Page{Limit: -1}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("list with a negative limit: %v", err)
	}
	if docs := list(ctx, t, h.Store, "/", state.Page{}).Documents; len(docs) != 0 {
		t.Errorf("refused writes left %v", docs)
	}
}

func ownership(ctx context.Context, t *testing.T, h Harness) {
	value := []byte("mine")
	rev := write(ctx, t, h.Store, state.Put("/a", value, state.Any))
	one, two := watch(ctx, t, h.Store, "/", rev-1), watch(ctx, t, h.Store, "/", rev-1)
	copy(value, "xxxx")
	copy(get(ctx, t, h.Store, "/a").Value, "yyyy")
	copy(list(ctx, t, h.Store, "/", state.Page{}).Documents[0].Value, "zzzz")
	copy(next(ctx, t, one).Value, "wwww")
	if e := next(ctx, t, two); string(e.Value) != "mine" {
		t.Errorf("the event has %q", e.Value)
	}
	if doc := get(ctx, t, h.Store, "/a"); string(doc.Value) != "mine" {
		t.Errorf("the document has %q", doc.Value)
	}
}

func counter(ctx context.Context, t *testing.T, h Harness) {
	const workers, each = 8, 15
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := count(ctx, h.Store, "/counter"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if doc := get(ctx, t, h.Store, "/counter"); len(doc.Value) != workers*each {
		t.Errorf("counted to %d, want %d", len(doc.Value), workers*each)
	}
}

// count makes a document longer by one byte, however many others do so too.
func count(ctx context.Context, s state.Store, key state.Key) error {
	for {
		_, err := state.Update(ctx, s, key, func(old []byte, _ bool) ([]byte, error) {
			return append(old, 'i'), nil
		})
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
}

func creators(ctx context.Context, t *testing.T, h Harness) {
	const rounds, workers = 5, 8
	for round := range rounds {
		key := state.Key(fmt.Sprintf("/name/%d", round))
		won := make(chan int, workers)
		var wg sync.WaitGroup
		for n := range workers {
			wg.Go(func() {
				_, err := h.Store.Write(ctx, state.Put(key, []byte{byte(n)}, state.Absent))
				switch {
				case err == nil:
					won <- n
				case !errors.Is(err, state.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d writers created one document", len(won))
		}
		if doc := get(ctx, t, h.Store, key); doc.Value[0] != byte(<-won) {
			t.Error("the document is another's than the winner's")
		}
	}
}
