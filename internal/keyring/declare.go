package keyring

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// Declared is what a configuration says that a key is to be.
type Declared struct {
	Name  string
	Value string // "": the one it has, a generated one if there is no such key
	// Meta changes the metadata to what is declared, and may run more than once;
	// nil: it stays.
	Meta func(*accesskey.Meta)
	// New refuses a key that is there already, with problem.Exists.
	New bool
	// Told says that the caller hands the value on, so that one of which only a
	// verifier is kept may be generated.
	Told bool
	// Record notes when the value was made, if it is made now and the store keeps
	// metadata.
	Record bool
}

// Format keeps the value out of everything that package fmt prints.
func (d Declared) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%q", d.Name) }

// Outcome says what a declaration came to.
type Outcome uint8

const (
	Unchanged Outcome = iota // the key is as declared
	Created                  // there was no such key
	Updated                  // it has another value or other metadata now
	Failed                   // see the error
)

// String gives the outcome as reports show it.
func (o Outcome) String() string {
	return [...]string{"unchanged", "created", "updated", "failed"}[o]
}

// DeclaredKey is what became of one declared key.
type DeclaredKey struct {
	Name     string
	Outcome  Outcome
	Replaced bool // the value that the key had no longer works
	Err      error

	value string // that the key was given; "" if it kept its own
}

// Format keeps the value out of everything that package fmt prints.
func (d DeclaredKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%q %s", d.Name, d.Outcome)
}

// Declare makes keys of a section as they are declared, with all their
// restrictions in one write of the document, and without any write if all are so.
// Keys that are not declared are left alone, a value that nothing was said about
// is never replaced, and former values end where a value is. A key that cannot
// be as declared is reported, and left as it is; the others are not kept from it.
// The result has a member for each declaration, in their order.
//
// Errors of single keys are those of Set and SetMeta; problem.Undecryptable for
// metadata that cannot be understood; problem.Invalid for a generated value of
// which only a verifier would be kept. The error returned is the store's; then
// nothing is changed.
func (r *Ring) Declare(ctx context.Context, sec Section, list []Declared) ([]DeclaredKey, error) {
	s, err := r.scopeOf(sec)
	if err != nil {
		return nil, err
	}
	have, err := r.current(ctx, s)
	if err != nil {
		return nil, err
	}
	d := declaring{ring: r, sec: sec, list: list}
	// A store that cannot be written may have all keys as they are declared.
	if err := d.edit(&have, true); isKeep(err) {
		return d.done, r.checkProvided(ctx, s, have, true)
	}
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	events, err := r.writeInTurn(ctx, s, d.edit)
	s.give()
	if err == nil {
		events = append(events, d.events(s)...)
	}
	r.emit(events)
	return d.done, unlessKept(err)
}

// declaring is the keys of a section on their way to what is declared.
type declaring struct {
	ring *Ring
	sec  Section
	list []Declared
	done []DeclaredKey
}

// edit makes the keys as declared; errKeep says that they are so.
func (d *declaring) edit(set *accesskey.Set, existed bool) error {
	d.done = make([]DeclaredKey, len(d.list))
	changed := false
	for i, want := range d.list {
		next := set.Clone()
		done, err := d.one(&next, want, existed)
		if err != nil {
			done = DeclaredKey{Outcome: Failed, Err: err}
		} else if done.Outcome != Unchanged {
			*set, changed = next, true
		}
		done.Name = want.Name
		d.done[i] = done
	}
	if !changed {
		return errKeep
	}
	return nil
}

// one makes one key as declared. existed is false for a document that is being
// made, whose keys are generated.
func (d *declaring) one(set *accesskey.Set, want Declared, existed bool) (DeclaredKey, error) {
	sec, _, err := d.ring.aim(d.sec, want.Name)
	if err != nil {
		return DeclaredKey{}, err
	}
	old, exists := set.Find(sec.Kind, want.Name)
	if want.New && exists && existed {
		return DeclaredKey{}, problem.New(problem.Exists, "there is a key of that name already")
	}
	if _, err := old.Meta(); err != nil {
		return DeclaredKey{}, problem.Wrap(problem.Undecryptable, "the key's metadata cannot be understood; the key is left as it is", err)
	}
	value, err := d.value(sec, want, old, exists)
	if err != nil {
		return DeclaredKey{}, err
	}
	done := DeclaredKey{}
	same := exists && holds(old, value)
	if value != "" && (!same || want.Told && d.ring.toHash(sec, old, value)) {
		a := assignment{ring: d.ring, sec: sec, name: want.Name, value: value}
		if err := a.edit(set, existed); err != nil {
			return DeclaredKey{}, err
		}
		done.Outcome, done.Replaced, done.value = Updated, exists && existed && !same, value
		if !same {
			d.record(sec, set, want)
		}
	}
	changed, err := d.restrict(sec, set, want)
	switch {
	case err != nil:
		return DeclaredKey{}, err
	case !exists || !existed:
		done.Outcome = Created
	case changed:
		done.Outcome = Updated
	}
	return done, nil
}

// value gives the value that a key is to have; "" for the one it has.
func (d *declaring) value(sec Section, want Declared, old accesskey.Key, exists bool) (string, error) {
	switch {
	case want.Value != "":
		return want.Value, d.ring.checkValue(sec.Kind, want.Value)
	case exists:
		return "", nil
	case d.ring.hashed(sec, old) && !want.Told:
		return "", problem.New(problem.Invalid, "only a hash of the value would be kept, so that nobody would learn a generated one").
			WithNext("declare the value, or create the key with latchkey keys renew")
	}
	return d.ring.generate(sec.Kind)
}

// record notes that a key's value was made now, where that is asked for.
func (d *declaring) record(sec Section, set *accesskey.Set, want Declared) {
	if !want.Record || d.ring.needMetadata() != nil {
		return
	}
	key, _ := set.Find(sec.Kind, want.Name)
	m, _ := key.Meta() // understood, see one
	m.Created = d.ring.cfg.Clock.Now().UTC().Truncate(time.Second)
	*set, _ = set.Put(sec.Kind, key.WithMeta(m))
}

// restrict gives a key the declared metadata, and says whether that is other than
// what it had.
func (d *declaring) restrict(sec Section, set *accesskey.Set, want Declared) (bool, error) {
	if want.Meta == nil {
		return false, nil
	}
	key, _ := set.Find(sec.Kind, want.Name)
	old, _ := key.Meta() // understood, see one
	next, now := old.Clone(), d.ring.cfg.Clock.Now()
	want.Meta(&next)
	if bytes.Equal(next.Format(), old.Format()) {
		return false, nil
	}
	if next.RotateEvery != 0 && next.Created.IsZero() {
		next.Created = now
	}
	err := d.ring.needMetadata()
	if err == nil {
		err = next.Validate(sec.Kind, old, now)
	}
	if err == nil {
		err = d.ring.checkFor(sec.Kind, next, old, key)
	}
	if err != nil {
		return false, err
	}
	*set, _ = set.Put(sec.Kind, key.WithMeta(next))
	return true, nil
}

// Put is Declare for one key, whose error it returns. The key is as in List, with
// the value that it was given, if it was given one. created says whether there was
// none of that name.
func (r *Ring) Put(ctx context.Context, sec Section, want Declared) (key accesskey.Key, created bool, err error) {
	done, err := r.Declare(ctx, sec, []Declared{want})
	if err == nil {
		err = done[0].Err
	}
	if err != nil {
		return accesskey.Key{}, false, err
	}
	key, err = r.Get(ctx, sec, want.Name)
	if value := done[0].value; value != "" {
		key.Value = value
	}
	return key, done[0].Outcome == Created, err
}

func (d *declaring) events(s *Scope) (list []Event) {
	for _, k := range d.done {
		sec, _, _ := d.ring.aim(d.sec, k.Name) // was good before
		switch {
		case k.Outcome == Created:
			list = append(list, keyEvent(KeyCreated, sec, s, k.Name, "Created"))
		case k.Replaced:
			list = append(list, keyEvent(KeyUpdated, sec, s, k.Name, "Updated"))
		case k.Outcome == Updated:
			list = append(list, sec.event(KeyRestricted, s, k.Name, sec.changeText(k.Name, "Restrictions updated")))
		}
	}
	return list
}
