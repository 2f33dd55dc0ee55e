// Package migrate owns copying an app's key documents from one store to another:
// it says beforehand what would happen, copies what is missing, and compares what
// arrived with what was read. It takes nothing away, neither from the source nor
// from what the destination has, so it can be run again at any time. It does not
// know which stores these are.
package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
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
	Differs State = "differs" // the destination has other keys, which copying would replace; only if that is asked for
	Copied  State = "copied"  // it was missing or differed and is now the same, as was read back
	Blocked State = "blocked" // it cannot be copied; Err says why
)

// Step is one document of the source. It holds no values of keys.
type Step struct {
	Doc   keystore.Doc
	State State
	Keys  int   // in the source
	Err   error // of a Blocked document
	// Replaced names the keys of the destination whose values a Differs document
	// takes from it.
	Replaced []string
}

// Options say what else a migration may do.
type Options struct {
	// Replace lets what the source has take the place of what the destination has:
	// a former copy, in a store that nobody uses.
	Replace bool
}

// Plan compares two stores, changing nothing: a step for each document of the
// source, in order. A document is Blocked if it cannot be read, if the destination
// has other keys or metadata than the source, unless they may be replaced, or if it
// would lose metadata there. A document that the destination cannot read is never
// replaced. The error is
// that of a source that cannot list its documents or of a destination that cannot be
// reached, and problem.Invalid for a store and itself.
func Plan(ctx context.Context, from, to keystore.Store, o Options) ([]Step, error) {
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
		steps[i] = compare(ctx, from, to, doc, o)
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

func compare(ctx context.Context, from, to keystore.Store, doc keystore.Doc, o Options) Step {
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
	if err == nil && contains(have, source) && len(all(have)) == len(all(source)) {
		s.State = Same
		return s
	}
	if err := writable(doc, source, to); err != nil {
		return s.blocked(err)
	}
	if clash := clashes(source, have); len(clash) > 0 {
		if !o.Replace {
			return s.blocked(inTheWay(doc, clash, to))
		}
		s.State, s.Replaced = Differs, clash
	}
	return s
}

func (s Step) blocked(err error) Step {
	s.State, s.Err = Blocked, err
	return s
}

func inTheWay(doc keystore.Doc, clash []string, to keystore.Store) error {
	return problem.New(problem.Conflict, fmt.Sprintf("%s has another %s of %q than the source", to, strings.Join(clash, ", "), string(doc))).
		WithNext("decide which one counts, and delete the other; if what the destination has is an old copy that nobody uses, add --replace; nothing was changed")
}

// writable says why a document of the source cannot be written to the destination
// whatever is there.
func writable(doc keystore.Doc, source keystore.Document, to keystore.Store) error {
	if _, err := keystore.Normal(doc, source); err != nil {
		return err
	}
	if to.Capabilities().ReadOnly {
		return problem.New(problem.ReadOnly, to.String()+" cannot be written from here").
			WithNext("its documentation says how keys come there")
	}
	if names := described(source); len(names) > 0 && !to.Capabilities().Metadata {
		return problem.New(problem.Unsupported, fmt.Sprintf("%s cannot keep what %s of %q has besides its value, such as limits",
			to, strings.Join(names, ", "), string(doc))).
			WithNext("take that off, or choose a store that keeps it: files or blob")
	}
	return nil
}

// clashes names what the destination has and the source has otherwise or not.
func clashes(source, have keystore.Document) []string {
	var names []string
	wanted := all(source)
	for id, key := range all(have) {
		other, ok := wanted[id]
		if !ok || other.Value != key.Value {
			names = append(names, id)
		} else if len(key.Extra) > 0 && len(other.Extra) > 0 && !sameExtra(other.Extra, key.Extra) {
			names = append(names, "notes or limits of "+id)
		}
	}
	if len(have.Extra) > 0 && len(source.Extra) > 0 && !sameExtra(source.Extra, have.Extra) {
		names = append(names, "notes of the document")
	}
	slices.Sort(names)
	return names
}

// merged is what is written: the source's document, with what the destination alone
// notes of a key of the same value.
func merged(source, have keystore.Document) keystore.Document {
	d := source.Clone()
	known := all(have)
	keep := func(id string, key *accesskey.Key) {
		if old, ok := known[id]; ok && len(key.Extra) == 0 && old.Value == key.Value {
			key.Extra = old.Extra
		}
	}
	keep(masterID, &d.Keys.Master)
	for i := range d.Keys.Keys {
		keep(keyID(d.Keys.Keys[i]), &d.Keys.Keys[i])
	}
	for i := range d.Keys.System {
		keep(systemID(d.Keys.System[i]), &d.Keys.System[i])
	}
	if len(d.Extra) == 0 {
		d.Extra = have.Extra
	}
	return d
}

// described names what a document has extra members of.
func described(d keystore.Document) []string {
	var names []string
	for id, key := range all(d) {
		if len(key.Extra) > 0 {
			names = append(names, id)
		}
	}
	if len(d.Extra) > 0 {
		names = append(names, "the document")
	}
	slices.Sort(names)
	return names
}

const masterID = "master key"

func keyID(k accesskey.Key) string    { return fmt.Sprintf("key %q", strings.ToLower(k.Name)) }
func systemID(k accesskey.Key) string { return fmt.Sprintf("system key %q", strings.ToLower(k.Name)) }

// all gives the keys of a document by what they are called in messages.
func all(d keystore.Document) map[string]accesskey.Key {
	keys := map[string]accesskey.Key{}
	if d.Keys.Master.Value != "" {
		keys[masterID] = d.Keys.Master
	}
	for _, k := range d.Keys.Keys {
		keys[keyID(k)] = k
	}
	for _, k := range d.Keys.System {
		keys[systemID(k)] = k
	}
	return keys
}

// contains reports whether have has every key of source, with its value and what is
// noted of it.
func contains(have, source keystore.Document) bool {
	known := all(have)
	for id, key := range all(source) {
		other, ok := known[id]
		if !ok || other.Value != key.Value || len(key.Extra) > 0 && !sameExtra(key.Extra, other.Extra) {
			return false
		}
	}
	return len(source.Extra) == 0 || sameExtra(source.Extra, have.Extra)
}

// sameExtra compares members by what their JSON means: stores may write it otherwise.
func sameExtra(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return reflect.DeepEqual(meaning(x), meaning(y)) })
}

func meaning(raw []byte) any {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return string(raw)
	}
	return v
}

// Apply copies what is Missing or Differs, reads each document back from both stores
// and compares them; when all are copied it compares everything once more: the steps
// tell how all of it stands then. It writes nothing if a step is Blocked. It ends at
// the first error; to go on, plan and apply again. It returns problem.Conflict if a
// store was changed meanwhile.
func Apply(ctx context.Context, from, to keystore.Store, steps []Step) ([]Step, error) {
	steps = slices.Clone(steps)
	if err := Blockers(steps); err != nil {
		return steps, err
	}
	for i, s := range steps {
		if s.State != Missing && s.State != Differs {
			continue
		}
		if err := transfer(ctx, from, to, s); err != nil {
			return steps, err
		}
		steps[i].State = Copied
	}
	return steps, verify(ctx, from, to)
}

// verify makes sure that nothing of the source is missing from the destination.
func verify(ctx context.Context, from, to keystore.Store) error {
	now, err := Plan(ctx, from, to, Options{})
	if err != nil {
		return err
	}
	for _, s := range now {
		if s.State != Same {
			return changedMeanwhile(s.Doc)
		}
	}
	return nil
}

func changedMeanwhile(doc keystore.Doc) error {
	return problem.New(problem.Conflict, fmt.Sprintf("key document %q was changed while it was copied", string(doc))).
		WithNext("do it again when nobody changes keys")
}

func transfer(ctx context.Context, from, to keystore.Store, s Step) error {
	source, _, err := from.Load(ctx, s.Doc)
	if err != nil {
		return err
	}
	_, _, err = to.Update(ctx, s.Doc, func(have keystore.Document, _ bool) (keystore.Document, error) {
		if err := writable(s.Doc, source, to); err != nil {
			return have, err
		}
		// Only what the plan named is replaced.
		clash := clashes(source, have)
		clash = slices.DeleteFunc(clash, func(id string) bool { return slices.Contains(s.Replaced, id) })
		if len(clash) > 0 {
			return have, inTheWay(s.Doc, clash, to)
		}
		return merged(source, have), nil
	})
	if err != nil {
		return err
	}
	if check := compare(ctx, from, to, s.Doc, Options{Replace: true}); check.State == Blocked {
		return check.Err
	} else if check.State != Same {
		return changedMeanwhile(s.Doc)
	}
	return nil
}
