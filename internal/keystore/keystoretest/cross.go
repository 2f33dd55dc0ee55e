package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// EnvSeed replays a cross test that failed: it prints the value to set.
const EnvSeed = "LATCHKEY_SEED"

// crossOps is how many operations a cross test applies.
const crossOps = 1000

// CrossTest applies the same 1,000 random operations to each of the stores,
// which must be empty, and fails if an answer differs from the first store's.
func CrossTest(t *testing.T, stores ...keystore.Store) {
	t.Helper()
	if len(stores) < 2 {
		t.Fatal("a cross test compares at least two stores")
	}
	g := Group{Reference: stores[0]}
	for _, s := range stores[1:] {
		g.Entrants = append(g.Entrants, Entrant{Store: s, Ops: crossOps})
	}
	Cross(t, crossOps, g)
}

// Group is stores that must answer as their reference does. All must be empty.
type Group struct {
	Reference keystore.Store
	Entrants  []Entrant
}

// Entrant is a store in a cross test.
type Entrant struct {
	Store keystore.Store
	Ops   int // it takes part in this many operations, the first ones
}

// Cross applies the same random operations, ops of them, to all stores of all
// groups: to a group's reference first, then to its entrants, which run side by
// side. A store fails at its first answer that differs from its reference's. A
// failure prints the seed; EnvSeed replays it.
func Cross(t *testing.T, ops int, groups ...Group) {
	t.Helper()
	seed := Seed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	list := randomOps(seed, ops, groups)
	var wg sync.WaitGroup
	for _, g := range groups {
		want := make([]outcome, ops)
		for i, op := range list {
			want[i] = op.run(ctx, g.Reference)
		}
		for _, e := range g.Entrants {
			wg.Go(func() { compete(t, ctx, g.Reference.String(), want, list[:min(e.Ops, ops)], e.Store) })
		}
	}
	wg.Wait()
}

func compete(t *testing.T, ctx context.Context, reference string, want []outcome, list []op, s keystore.Store) {
	began := time.Now()
	for i, op := range list {
		if got := op.run(ctx, s); !reflect.DeepEqual(want[i], got) {
			t.Errorf("operation %d, %s: %s (-) and %s (+) differ:\n%s", i, op.name, reference, s, cmp.Diff(want[i], got))
			return
		}
	}
	t.Logf("%d operations agree in %v: %s", len(list), time.Since(began).Round(time.Millisecond), s)
}

func randomOps(seed uint64, n int, groups []Group) []op {
	metadata := true
	for _, g := range groups {
		metadata = metadata && g.Reference.Capabilities().Metadata
		for _, e := range g.Entrants {
			metadata = metadata && e.Store.Capabilities().Metadata
		}
	}
	rnd := rand.New(rand.NewPCG(seed, seed))
	list := make([]op, n)
	for i := range list {
		list[i] = randomOp(rnd, metadata)
	}
	return list
}

// Seed gives a random number, or what EnvSeed says, and has a failure print how to
// replay it.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := crossSeed(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay with %s=%d", EnvSeed, seed)
		}
	})
	return seed
}

func crossSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(EnvSeed)
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q is not a number", EnvSeed, text)
	}
	return seed
}

// outcome is what can be compared of an operation's answer.
type outcome struct {
	Doc   keystore.Document
	Found bool // the document has a revision
	Kind  string
	List  []keystore.Doc
}

func result(d keystore.Document, rev keystore.Revision, err error) outcome {
	if err != nil {
		return outcome{Kind: problem.KindOf(err).Error()}
	}
	return outcome{Doc: d.Clone(), Found: rev != ""}
}

// op is one operation, the same however often it runs.
type op struct {
	name string
	run  func(ctx context.Context, s keystore.Store) outcome
}

var crossDocs = []keystore.Doc{keystore.HostDoc, "a", "ab", "a-b", "a_b", "b1", "B", "../a"}

func randomOp(rnd *rand.Rand, metadata bool) op {
	doc := crossDocs[rnd.IntN(len(crossDocs))]
	switch n := rnd.IntN(100); {
	case n < 55:
		edit := randomEdit(rnd, doc, metadata)
		return op{"update " + string(doc), func(ctx context.Context, s keystore.Store) outcome {
			return result(s.Update(ctx, doc, edit))
		}}
	case n < 80:
		return op{"load " + string(doc), func(ctx context.Context, s keystore.Store) outcome {
			return result(s.Load(ctx, doc))
		}}
	case n < 90:
		return op{"delete " + string(doc), func(ctx context.Context, s keystore.Store) outcome {
			return result(keystore.Document{}, "", s.Delete(ctx, doc))
		}}
	default:
		return op{"list", func(ctx context.Context, s keystore.Store) outcome {
			docs, err := s.List(ctx)
			o := result(keystore.Document{}, "", err)
			o.List = append(o.List, docs...)
			return o
		}}
	}
}

// randomEdit gives a change: mostly a key set, sometimes one dropped, a rule
// broken, or an error.
func randomEdit(rnd *rand.Rand, doc keystore.Doc, metadata bool) keystore.Change {
	names := []string{"default", "DEFAULT", "one", "Two", "with space", "é", "a/b.c"}
	k := accesskey.Key{Name: names[rnd.IntN(len(names))], Value: fmt.Sprintf("v%d<&>\"\\é", rnd.IntN(1000))}
	if metadata && rnd.IntN(3) == 0 {
		k.Extra = map[string][]byte{"x": fmt.Appendf(nil, `{"n":%d,"s":" <é> "}`, rnd.IntN(10))}
	}
	kind, top := rnd.IntN(20), metadata && rnd.IntN(4) == 0
	return func(old keystore.Document, exists bool) (keystore.Document, error) {
		if doc.IsHost() && !exists {
			old.Keys.Master = accesskey.Key{Value: "first master"}
		}
		if top {
			old.Extra = map[string][]byte{"y": []byte(`[ ]`)}
		}
		switch {
		case kind == 0:
			return old, errors.New("not wanted")
		case kind == 1: // breaks the rule about names if there is such a key
			old.Keys.Keys = append(old.Keys.Keys, k)
		case kind == 2:
			old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: "empty"})
		case kind < 6:
			old.Keys.Keys = without(old.Keys.Keys, k.Name)
		case kind < 9: // breaks the rule about kinds in a function document
			old.Keys.System = append(without(old.Keys.System, k.Name), k)
		case kind == 9:
			old.Keys.Master = k
		default:
			old.Keys.Keys = append(without(old.Keys.Keys, k.Name), k)
		}
		return old, nil
	}
}

func without(keys []accesskey.Key, name string) []accesskey.Key {
	var out []accesskey.Key
	for _, k := range keys {
		if !strings.EqualFold(k.Name, name) {
			out = append(out, k)
		}
	}
	return out
}
