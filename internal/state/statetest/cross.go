package statetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Rounds of a comparison and operations of each.
const (
	crossRounds = 6
	crossSteps  = 300
)

// Cross does the same random operations on stores of two backends and wants the
// same results, the same kinds of error, the same lists and the same events.
// Revisions are compared by the writes they belong to.
func Cross(t *testing.T, a, b Open) {
	for seed := range uint64(crossRounds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			script(seed).compare(ctx, t, newSubject(ctx, t, a(t).Store), newSubject(ctx, t, b(t).Store))
		})
	}
}

// step is one operation. Conditions of a write that ask for a revision have the
// number of an earlier write there, counted from 2.
type step struct {
	what   string // "get", "list" or "write"
	key    state.Key
	page   state.Page
	ops    []state.Op
	prefix state.Key
}

type steps []step

func (s steps) compare(ctx context.Context, t *testing.T, a, b *subject) {
	for i, st := range s {
		ra, rb := a.do(ctx, st), b.do(ctx, st)
		if diff := cmp.Diff(ra, rb); diff != "" {
			t.Fatalf("step %d, %+v (-%s +%s):\n%s", i, st, a.store, b.store, diff)
		}
	}
	for n, prefix := range streamed {
		ea, eb := a.drain(ctx, t, n), b.drain(ctx, t, n)
		if diff := cmp.Diff(ea, eb); diff != "" {
			t.Errorf("events below %s (-%s +%s):\n%s", prefix, a.store, b.store, diff)
		}
	}
}

// streamed are the prefixes whose events are compared.
var streamed = []state.Key{"/", "/a/", "/b/c/"}

var crossKeys = []state.Key{"/a", "/a/1", "/a/2", "/a/2/3", "/A/1", "/ab", "/b", "/b/c/1", "/b/c/ä", "/b/c-d", "bad", "/bad/", "/leases/x"}

// script makes random steps; the last ones end the event streams.
func script(seed uint64) steps {
	r := rand.New(rand.NewPCG(seed, 20))
	var s steps
	for range crossSteps {
		switch r.IntN(6) {
		case 0:
			s = append(s, step{what: "get", key: pick(r, crossKeys)})
		case 1:
			prefix := pick(r, []state.Key{"/", "/a/", "/b/", "/b/c/", "/none/", "bad"})
			page := state.Page{Limit: r.IntN(6), KeysOnly: r.IntN(2) == 0}
			if r.IntN(2) == 0 {
				page.After = pick(r, crossKeys)
			}
			s = append(s, step{what: "list", prefix: prefix, page: page})
		default:
			s = append(s, step{what: "write", ops: randomOps(r)})
		}
	}
	for _, prefix := range slices.Backward(streamed) {
		s = append(s, step{what: "write", ops: []state.Op{state.Put(prefix+"~end", nil, state.Any)}})
	}
	return s
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func randomOps(r *rand.Rand) []state.Op {
	var ops []state.Op
	for range 1 + r.IntN(4) {
		keys := crossKeys[:10]
		if r.IntN(40) == 0 {
			keys = crossKeys
		}
		op := state.Op{Kind: state.OpKind(r.IntN(3)), Key: pick(r, keys), If: state.Any}
		if op.Kind == state.OpPut {
			op.Value = fmt.Append(nil, r.IntN(1000))
		}
		switch r.IntN(6) {
		case 0:
			op.If = state.Absent
		case 1:
			op.If = state.Revision(2 + r.IntN(100))
		case 2:
			op.If = state.Revision(1 << 40) // stands for the document's own
		}
		ops = append(ops, op)
	}
	return ops
}

// subject is one of the two stores with its revisions by number.
type subject struct {
	store   state.Store
	writes  []state.Revision // where the store began, then of each write that changed something
	streams []<-chan state.Event
}

func newSubject(ctx context.Context, t *testing.T, s state.Store) *subject {
	t.Helper()
	from := list(ctx, t, s, "/", state.Page{}).Revision
	sub := &subject{store: s, writes: []state.Revision{from}}
	for _, prefix := range streamed {
		sub.streams = append(sub.streams, watch(ctx, t, s, prefix, from))
	}
	return sub
}

// number gives the number of the write that has a revision.
func (s *subject) number(rev state.Revision) string {
	at, found := slices.BinarySearch(s.writes, rev)
	if !found {
		return fmt.Sprintf("unknown revision %d", rev)
	}
	return fmt.Sprintf("write %d", at+1)
}

// do gives the result of a step in words.
func (s *subject) do(ctx context.Context, st step) []string {
	switch st.what {
	case "get":
		doc, err := s.store.Get(ctx, st.key)
		return append(result(err), s.words(err, doc)...)
	case "list":
		listing, err := s.store.List(ctx, st.prefix, st.page)
		return append(append(result(err), fmt.Sprint("more ", listing.More)), s.words(err, listing.Documents...)...)
	}
	ops := slices.Clone(st.ops)
	for i, op := range ops {
		ops[i].If = s.condition(ctx, op)
	}
	rev, err := s.store.Write(ctx, ops...)
	if err == nil && rev > s.writes[len(s.writes)-1] {
		s.writes = append(s.writes, rev)
	}
	return append(result(err), fmt.Sprint("writes ", len(s.writes)))
}

// condition gives the revision that a condition of the script stands for.
func (s *subject) condition(ctx context.Context, op state.Op) state.Revision {
	switch {
	case op.If <= 0:
		return op.If
	case op.If == 1<<40:
		doc, _ := s.store.Get(ctx, op.Key)
		return doc.Revision
	case int(op.If) <= len(s.writes):
		return s.writes[op.If-1]
	}
	return op.If + 1<<40
}

func result(err error) []string {
	if err == nil {
		return []string{"ok"}
	}
	return []string{problem.KindOf(err).Error()}
}

func (s *subject) words(err error, docs ...state.Document) []string {
	var words []string
	for _, d := range docs {
		if err == nil {
			words = append(words, fmt.Sprintf("%s=%s (nil: %v) %s", d.Key, d.Value, d.Value == nil, s.number(d.Revision)))
		}
	}
	return words
}

// drain reads a stream up to the event that ends the script. The changes of one
// write are compared in the order of their keys: which comes first is not said.
func (s *subject) drain(ctx context.Context, t *testing.T, n int) []string {
	t.Helper()
	var words, together []string
	var last state.Revision
	flush := func() {
		slices.Sort(together)
		words, together = append(words, together...), nil
	}
	for {
		e := next(ctx, t, s.streams[n])
		if e.Kind == state.EventResync {
			return append(words, "resync")
		}
		if e.Revision != last {
			flush()
		}
		last = e.Revision
		text, _, _ := strings.Cut(show(e), " @")
		together = append(together, text+" "+s.number(e.Revision))
		if e.Key == streamed[n]+"~end" {
			flush()
			return words
		}
	}
}
