package statetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/state"
)

func listChecks() []check {
	return []check{
		{"lists are sorted and keep to their prefix", prefixes},
		{"lists come in pages", pages},
		{"a list is one moment", consistent},
		{"a list and a watch from it have no gap", listThenWatch},
	}
}

// tree has keys that sort differently by segments and by bytes.
var tree = []state.Key{"/a", "/a/1", "/a/10", "/a/2", "/a/2/x", "/a-b/1", "/a.b", "/ab/1", "/A/1", "/b/ä", "/b/z", "/b/~"}

func keysOf(docs []state.Document) []state.Key {
	keys := []state.Key{}
	for _, d := range docs {
		keys = append(keys, d.Key)
	}
	return keys
}

// below gives the keys of tree that a prefix covers, after a key, in order.
func below(prefix, after state.Key) []state.Key {
	keys := []state.Key{}
	for _, k := range slices.Sorted(slices.Values(tree)) {
		if strings.HasPrefix(string(k), string(prefix)) && k > after {
			keys = append(keys, k)
		}
	}
	return keys
}

func prefixes(ctx context.Context, t *testing.T, h Harness) {
	put(ctx, t, h.Store, tree...)
	for _, prefix := range []state.Key{"/", "/a/", "/a/2/", "/b/", "/A/", "/a/1/", "/none/", "/zz/"} {
		listing := list(ctx, t, h.Store, prefix, state.Page{})
		if diff := cmp.Diff(below(prefix, ""), keysOf(listing.Documents)); diff != "" || listing.More {
			t.Errorf("below %s, more %v (-want +got):\n%s", prefix, listing.More, diff)
		}
		for _, doc := range listing.Documents {
			if string(doc.Value) != string(doc.Key) || doc.Revision != listing.Revision {
				t.Errorf("%s has %q at %d", doc.Key, doc.Value, doc.Revision)
			}
		}
	}
}

func pages(ctx context.Context, t *testing.T, h Harness) {
	rev := put(ctx, t, h.Store, tree...)
	afters := append([]state.Key{"", "/", "/0", "/a/", "/a/15", "/a/zzz", "/zzz", "zzz"}, tree...)
	for _, prefix := range []state.Key{"/", "/a/", "/b/", "/none/"} {
		for _, after := range afters {
			for _, limit := range []int{0, 1, 2, 3, len(tree) - 1, len(tree), 1000} {
				page := state.Page{After: after, Limit: limit, KeysOnly: limit == 3}
				want := below(prefix, after)
				more := limit > 0 && len(want) > limit
				if more {
					want = want[:limit]
				}
				got := list(ctx, t, h.Store, prefix, page)
				if diff := cmp.Diff(want, keysOf(got.Documents)); diff != "" || got.More != more {
					t.Errorf("below %s %+v: more %v, want %v (-want +got):\n%s", prefix, page, got.More, more, diff)
				}
				for _, doc := range got.Documents {
					if doc.Revision != rev || page.KeysOnly != (doc.Value == nil) {
						t.Errorf("below %s %+v: %+v", prefix, page, doc)
					}
				}
			}
		}
	}
}

// consistent changes the first and the last of many documents together, and
// never wants to see them differ.
func consistent(ctx context.Context, t *testing.T, h Harness) {
	for i := 0; i < 1200; i += state.MaxOps {
		var keys []state.Key
		for n := range state.MaxOps {
			keys = append(keys, state.Key(fmt.Sprintf("/m/%06d", i+n)))
		}
		put(ctx, t, h.Store, keys...)
	}
	pair := func(value string) []state.Op {
		return []state.Op{state.Put("/m/!", []byte(value), state.Any), state.Put("/m/~", []byte(value), state.Any)}
	}
	write(ctx, t, h.Store, pair("0")...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 60 {
			if _, err := h.Store.Write(ctx, pair(fmt.Sprint(i))...); err != nil {
				t.Error(err)
				return
			}
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for again := true; again; {
		select {
		case <-done:
			again = false // once more, so that there was at least one
		default:
		}
		listing := list(ctx, t, h.Store, "/m/", state.Page{})
		first, last := listing.Documents[0], listing.Documents[len(listing.Documents)-1]
		if len(listing.Documents) != 1202 || string(first.Value) != string(last.Value) || first.Revision != last.Revision || first.Revision > listing.Revision {
			t.Errorf("%d documents at %d: first %q at %d, last %q at %d", len(listing.Documents), listing.Revision,
				first.Value, first.Revision, last.Value, last.Revision)
			again = false
		}
	}
	<-done
}

// replica is what a list and the events after it make of a store.
type replica map[state.Key]string

func (r replica) apply(e state.Event) {
	if e.Kind == state.EventDelete {
		delete(r, e.Key)
		return
	}
	r[e.Key] = fmt.Sprintf("%s @%d", e.Value, e.Revision)
}

func replicaOf(docs []state.Document) replica {
	r := replica{}
	for _, d := range docs {
		r.apply(state.Event{Document: d})
	}
	return r
}

// listThenWatch lets watchers begin at any moment while others write, and wants
// them all to end with the same documents.
func listThenWatch(ctx context.Context, t *testing.T, h Harness) {
	const writers, each, watchers = 4, 50, 6
	var writing, watching sync.WaitGroup
	for w := range writers {
		writing.Go(func() { scribble(ctx, t, h.Store, w, each) })
	}
	results := make([]replica, watchers)
	for n := range watchers {
		watching.Go(func() { results[n] = follow(ctx, t, h.Store, n*20) })
	}
	writing.Wait()
	if _, err := h.Store.Write(ctx, state.Put("/w/end", nil, state.Any)); err != nil {
		t.Error(err)
	}
	watching.Wait()
	want := replicaOf(list(ctx, t, h.Store, "/w/", state.Page{}).Documents)
	for n, got := range results {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("watcher %d ends with other documents (-want +got):\n%s", n, diff)
		}
	}
}

// scribble puts and deletes a few documents again and again.
func scribble(ctx context.Context, t *testing.T, s state.Store, who, times int) {
	for i := range times {
		a, b := state.Key(fmt.Sprintf("/w/%d/%d", who, i%5)), state.Key(fmt.Sprintf("/w/shared/%d", i%7))
		ops := []state.Op{state.Put(a, fmt.Append(nil, i), state.Any), state.Put(b, fmt.Append(nil, who, i), state.Any)}
		if i%3 == 0 {
			ops[0] = state.Delete(a, state.Any)
		}
		if _, err := s.Write(ctx, ops...); err != nil {
			t.Error(err)
			return
		}
	}
}

// follow waits until there have been a few writes, lists, and applies events
// until the document that ends the test.
func follow(ctx context.Context, t *testing.T, s state.Store, after int) replica {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := s.Watch(ctx, "/w/", 0)
	for i := 0; err == nil && i < after; i++ {
		if e := <-events; e.Kind == state.EventResync || e.Key == "/w/end" {
			break
		}
	}
	listing, err2 := s.List(ctx, "/w/", state.Page{})
	changes, err3 := s.Watch(ctx, "/w/", listing.Revision)
	if err != nil || err2 != nil || err3 != nil {
		t.Errorf("%v, %v, %v", err, err2, err3)
		return nil
	}
	r, last := replicaOf(listing.Documents), listing.Revision
	if _, over := r["/w/end"]; over {
		return r
	}
	for e := range changes {
		if e.Kind == state.EventResync || e.Revision < last || e.Revision <= listing.Revision {
			t.Errorf("%s after revision %d, listed at %d", show(e), last, listing.Revision)
			return nil
		}
		last = e.Revision
		if r.apply(e); e.Key == "/w/end" {
			return r
		}
	}
	t.Error("the watch ended early")
	return nil
}
