// Package migrate owns copying an app's key documents from one store to another:
// it says beforehand what would happen, copies what is missing, and compares what
// arrived with what was read. It takes nothing away, neither from the source nor
// from what the destination has, so it can be run again at any time. It does not
// know which stores these are.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// State is how a document stands.
type State string

// States of documents.
const (
	Missing State = "missing" // the destination lacks it, or some of its keys
	Same    State = "same"    // the destination has the same keys
	Copied  State = "copied"  // it was missing and is now the same, as was read back
	Blocked State = "blocked" // it cannot be copied; Err says why
)

// Step is one document of the source. It holds no values of keys.
type Step struct {
	Doc   keystore.Doc
	State State
	Keys  int   // in the source
	Err   error // of a Blocked document
}

// Plan compares two stores, changing nothing: a step for each document of the
// source, in order. A document is Blocked if it cannot be read, if the destination
// has other keys than the source, or if it would lose metadata there. The error is
// that of a source that cannot list its documents or of a destination that cannot be
// reached, and problem.Invalid for a store and itself.
func Plan(ctx context.Context, from, to keystore.Store) ([]Step, error) {
	if from.String() == to.String() {
		return nil, problem.New(problem.Invalid, "the keys are in "+to.String()+" already").
			WithNext("name two different stores, or two folders")
	}
	docs, err := from.List(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := to.List(ctx); errors.Is(err, keystore.ErrUnavailable) {
		return nil, err // else it would be said for each document
	}
	steps := make([]Step, len(docs))
	for i, doc := range docs {
		steps[i] = compare(ctx, from, to, doc)
	}
	return steps, nil
}

// Blockers gives what keeps steps from being applied; nil for nothing.
func Blockers(steps []Step) error {
	var errs []error
	for _, s := range steps {
		if s.State == Blocked {
			errs = append(errs, s.Err)
		}
	}
	return errors.Join(errs...)
}

func compare(ctx context.Context, from, to keystore.Store, doc keystore.Doc) Step {
	s := Step{Doc: doc}
	source, _, err := from.Load(ctx, doc)
	if err != nil {
		return s.blocked(fmt.Errorf("key document %q of the source: %w", string(doc), err))
	}
	s.Keys = len(all(source))
	have, _, err := to.Load(ctx, doc)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return s.blocked(fmt.Errorf("key document %q of the destination: %w", string(doc), err))
	}
	s.State = Missing
	if err == nil && equal(source, have) {
		s.State = Same
	} else if err := copyable(doc, source, have, to); err != nil {
		return s.blocked(err)
	}
	return s
}

func (s Step) blocked(err error) Step {
	s.State, s.Err = Blocked, err
	return s
}

// copyable says why a document of the source must not take the place of what the
// destination has.
func copyable(doc keystore.Doc, source, have keystore.Document, to keystore.Store) error {
	if _, err := keystore.Normal(doc, source); err != nil {
		return err
	}
	if to.Capabilities().ReadOnly {
		return problem.New(problem.ReadOnly, to.String()+" cannot be written from here").
			WithNext("its documentation says how keys come there")
	}
	wanted := all(source)
	for id, key := range all(have) {
		if other, ok := wanted[id]; !ok || other.Value != key.Value {
			return problem.New(problem.Conflict, fmt.Sprintf("%s has another %s of %q than the source", to, id, string(doc))).
				WithNext("decide which one counts, and delete the other; nothing was changed")
		}
	}
	if name := described(source); name != "" && !to.Capabilities().Metadata {
		return problem.New(problem.Unsupported, fmt.Sprintf("%s cannot keep what %s of %q has besides its value, such as limits", to, name, string(doc))).
			WithNext("take that off the key, or choose a store that keeps it: files or blob")
	}
	return nil
}

// described names something in a document that has extra members; "" for none.
func described(d keystore.Document) string {
	for id, key := range all(d) {
		if len(key.Extra) > 0 {
			return id
		}
	}
	if len(d.Extra) > 0 {
		return "the document"
	}
	return ""
}

// all gives the keys of a document by what they are called in messages.
func all(d keystore.Document) map[string]accesskey.Key {
	keys := map[string]accesskey.Key{}
	if d.Keys.Master.Value != "" {
		keys["master key"] = d.Keys.Master
	}
	for _, k := range d.Keys.Keys {
		keys[fmt.Sprintf("key %q", strings.ToLower(k.Name))] = k
	}
	for _, k := range d.Keys.System {
		keys[fmt.Sprintf("system key %q", strings.ToLower(k.Name))] = k
	}
	return keys
}

// equal reports whether two documents have the same keys, by name and value.
func equal(a, b keystore.Document) bool {
	left, right := all(a), all(b)
	for id, key := range left {
		if other, ok := right[id]; !ok || other.Value != key.Value {
			return false
		}
	}
	return len(left) == len(right)
}

// Apply copies what is Missing, reads each document back from both stores and
// compares them: the steps tell how all of it stands then. It writes nothing if a
// step is Blocked. It ends at the first error; to go on, plan and apply again. It
// returns problem.Conflict if a store was changed meanwhile.
func Apply(ctx context.Context, from, to keystore.Store, steps []Step) ([]Step, error) {
	steps = slices.Clone(steps)
	if err := Blockers(steps); err != nil {
		return steps, err
	}
	for i, s := range steps {
		if s.State != Missing {
			continue
		}
		if err := transfer(ctx, from, to, s.Doc); err != nil {
			return steps, err
		}
		steps[i].State = Copied
	}
	return steps, nil
}

func transfer(ctx context.Context, from, to keystore.Store, doc keystore.Doc) error {
	source, _, err := from.Load(ctx, doc)
	if err != nil {
		return err
	}
	_, _, err = to.Update(ctx, doc, func(have keystore.Document, _ bool) (keystore.Document, error) {
		return source, copyable(doc, source, have, to)
	})
	if err != nil {
		return err
	}
	if check := compare(ctx, from, to, doc); check.State == Blocked {
		return check.Err
	} else if check.State != Same {
		return problem.New(problem.Conflict, fmt.Sprintf("key document %q was changed while it was copied", string(doc))).
			WithNext("do it again when nobody changes keys")
	}
	return nil
}
