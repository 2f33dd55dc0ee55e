package migrate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
)

// named is a store with a name and capabilities of its own.
type named struct {
	keystore.Store
	name  string
	can   keystore.Capabilities
	after func() // runs after each update
}

func (n named) String() string                      { return n.name }
func (n named) Capabilities() keystore.Capabilities { return n.can }

func (n named) Update(ctx context.Context, doc keystore.Doc, c keystore.Change) (keystore.Document, keystore.Revision, error) {
	d, r, err := n.Store.Update(ctx, doc, c)
	if n.after != nil {
		n.after()
	}
	return d, r, err
}

func pair() (from, to named) {
	all := keystore.Capabilities{Metadata: true}
	return named{memory.New(), "source", all, nil}, named{memory.New(), "destination", all, nil}
}

func put(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) {
	t.Helper()
	if _, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil }); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s keystore.Store, doc keystore.Doc) keystore.Document {
	t.Helper()
	d, _, err := s.Load(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func plan(t *testing.T, from, to keystore.Store) []migrate.Step {
	t.Helper()
	steps, err := migrate.Plan(t.Context(), from, to, migrate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestAPlanChangesNothingAndApplyingItTwiceIsOnce(t *testing.T) {
	from, to := pair()
	put(t, from, "host", keystoretest.Host("a"))
	put(t, from, "hello", keystoretest.Function("a"))
	put(t, to, "other", keystoretest.Function("stays"))
	steps := plan(t, from, to)
	if docs, err := to.List(t.Context()); err != nil || len(docs) != 1 || len(steps) != 2 || steps[0].State != migrate.Missing {
		t.Fatalf("%v %v %+v", docs, err, steps)
	}
	done, err := migrate.Apply(t.Context(), from, to, steps)
	if err != nil || done[0].State != migrate.Copied || done[1].State != migrate.Copied || steps[0].State != migrate.Missing {
		t.Fatalf("%+v %v", done, err)
	}
	for _, doc := range []keystore.Doc{"host", "hello"} {
		if diff := cmp.Diff(load(t, from, doc), load(t, to, doc)); diff != "" {
			t.Errorf("%s: %s", doc, diff)
		}
	}
	for _, s := range plan(t, from, to) {
		if s.State != migrate.Same {
			t.Errorf("again: %+v", s)
		}
	}
}

func TestWhatWasInterruptedIsCompleted(t *testing.T) {
	from, to := pair()
	whole := keystoretest.Function("a")
	whole.Keys.Keys = append(whole.Keys.Keys, accesskey.Key{Name: "more", Value: "another value"})
	put(t, from, "hello", whole)
	put(t, to, "hello", keystoretest.Function("a"))
	if _, err := migrate.Apply(t.Context(), from, to, plan(t, from, to)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(load(t, from, "hello"), load(t, to, "hello")); diff != "" {
		t.Error(diff)
	}
}

// TestNothingIsWrittenIfSomethingIsInTheWay: each case has a second document that
// could be copied, and is not.
func TestNothingIsWrittenIfSomethingIsInTheWay(t *testing.T) {
	limited := keystoretest.Function("a")
	limited.Keys.Keys[0].Extra = map[string][]byte{"disabled": []byte("true")}
	tests := map[string]struct {
		source, have *keystore.Document
		can          keystore.Capabilities
		kind         error
	}{
		"other values":        {source: ptr(keystoretest.Function("a")), have: ptr(keystoretest.Function("b")), can: keystore.Capabilities{Metadata: true}, kind: problem.Conflict},
		"read-only":           {source: ptr(keystoretest.Function("a")), can: keystore.Capabilities{ReadOnly: true}, kind: problem.ReadOnly},
		"limits that go lost": {source: &limited, kind: problem.Unsupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from, to := pair()
			to.can = tt.can
			put(t, from, "hello", *tt.source)
			put(t, from, "zebra", keystoretest.Function("z"))
			if tt.have != nil {
				put(t, to, "hello", *tt.have)
			}
			_, err := migrate.Apply(t.Context(), from, to, plan(t, from, to))
			if !errors.Is(err, tt.kind) {
				t.Errorf("got %v", err)
			}
			if _, _, err := to.Load(t.Context(), "zebra"); !errors.Is(err, keystore.ErrNotFound) {
				t.Errorf("something was written: %v", err)
			}
			if tt.have != nil && !cmp.Equal(load(t, to, "hello"), *tt.have) {
				t.Error("the destination was changed")
			}
		})
	}
}

func ptr(d keystore.Document) *keystore.Document { return &d }

func TestAChangeMeanwhileIsNoticed(t *testing.T) {
	from, to := pair()
	put(t, from, "hello", keystoretest.Function("a"))
	to.after = func() { put(t, from, "hello", keystoretest.Function("changed")) }
	if _, err := migrate.Apply(t.Context(), from, to, plan(t, from, to)); !errors.Is(err, problem.Conflict) {
		t.Errorf("got %v", err)
	}
}

func TestAStoreIsNotCopiedOntoItself(t *testing.T) {
	from, _ := pair()
	if _, err := migrate.Plan(t.Context(), from, from, migrate.Options{}); !errors.Is(err, problem.Invalid) {
		t.Errorf("got %v", err)
	}
}

// TestAChangeOfWhatWasCopiedAlreadyIsNoticed: the last document's copy is the moment
// when another one changes.
func TestAChangeOfWhatWasCopiedAlreadyIsNoticed(t *testing.T) {
	for name, doc := range map[string]keystore.Doc{"changed": "hello", "new": "late"} {
		t.Run(name, func(t *testing.T) {
			from, to := pair()
			put(t, from, "hello", keystoretest.Function("a"))
			put(t, from, "zebra", keystoretest.Function("z"))
			steps, writes := plan(t, from, to), 0
			to.after = func() {
				if writes++; writes == 2 {
					put(t, from, doc, keystoretest.Function("changed"))
				}
			}
			if _, err := migrate.Apply(t.Context(), from, to, steps); !errors.Is(err, problem.Conflict) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNotesAndLimitsCome: what is noted of a key is part of it; what only the
// destination notes stays, and what both note otherwise is in the way.
func TestNotesAndLimitsCome(t *testing.T) {
	noted := func(text string) keystore.Document {
		d := keystoretest.Function("a")
		d.Keys.Keys[0].Extra = map[string][]byte{"latchkey": []byte(text)}
		return d
	}
	const limits, same, other = `{"v":1,"disabled":true}`, `{ "disabled": true, "v": 1 }`, `{"v":1}`
	tests := map[string]struct {
		source, have keystore.Document
		state        migrate.State
		want         string // what the destination notes in the end
	}{
		"only the source":      {noted(limits), keystoretest.Function("a"), migrate.Missing, limits},
		"only the destination": {keystoretest.Function("a"), noted(limits), migrate.Same, limits},
		"both, spelled apart":  {noted(limits), noted(same), migrate.Same, `{"disabled":true,"v":1}`},
		"both, otherwise":      {noted(limits), noted(other), migrate.Blocked, other},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from, to := pair()
			put(t, from, "hello", tt.source)
			put(t, to, "hello", tt.have)
			steps := plan(t, from, to)
			if steps[0].State != tt.state {
				t.Errorf("%+v", steps)
			}
			_, err := migrate.Apply(t.Context(), from, to, steps)
			if (err != nil) != (tt.state == migrate.Blocked) {
				t.Error(err)
			}
			if got := load(t, to, "hello").Keys.Keys[0].Extra["latchkey"]; string(got) != tt.want {
				t.Errorf("noted: %s", got)
			}
		})
	}
}

// TestAnOldCopyIsReplacedOnlyIfAsked: and only what the plan named.
func TestAnOldCopyIsReplacedOnlyIfAsked(t *testing.T) {
	from, to := pair()
	put(t, from, "hello", keystoretest.Function("new"))
	put(t, to, "hello", keystoretest.Function("old"))
	if steps := plan(t, from, to); steps[0].State != migrate.Blocked {
		t.Fatalf("%+v", steps)
	}
	replace := func() []migrate.Step {
		steps, err := migrate.Plan(t.Context(), from, to, migrate.Options{Replace: true})
		if err != nil {
			t.Fatal(err)
		}
		return steps
	}
	steps := replace()
	if steps[0].State != migrate.Differs || len(steps[0].Replaced) == 0 {
		t.Fatalf("%+v", steps)
	}
	more := keystoretest.Function("old")
	more.Keys.Keys = append(more.Keys.Keys, accesskey.Key{Name: "later", Value: "a key of later"})
	put(t, to, "hello", more)
	if _, err := migrate.Apply(t.Context(), from, to, steps); !errors.Is(err, problem.Conflict) {
		t.Errorf("a key that the plan did not name: %v", err)
	}
	done, err := migrate.Apply(t.Context(), from, to, replace())
	if err != nil || done[0].State != migrate.Copied {
		t.Fatalf("%+v %v", done, err)
	}
	if diff := cmp.Diff(load(t, from, "hello"), load(t, to, "hello")); diff != "" {
		t.Error(diff)
	}
}
