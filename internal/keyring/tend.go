package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Retire removes the former values that ended longer than Limits.RetiredKept ago
// from all documents read so far: until then, their use names them in the
// operator's log. A store that cannot be written keeps them. It returns the errors
// of all documents joined.
func (r *Ring) Retire(ctx context.Context) (removed []KeyRef, err error) {
	return r.retire(ctx, r.present())
}

func (r *Ring) retire(ctx context.Context, scopes []*Scope) (removed []KeyRef, err error) {
	if r.cfg.Store.Capabilities().ReadOnly {
		return nil, nil
	}
	var errs []error
	before := r.cfg.Clock.Now().Add(-r.cfg.Limits.RetiredKept)
	for _, s := range scopes {
		var refs []KeyRef
		edit := func(set *accesskey.Set, existed bool) error {
			if refs = outlived(s, set, before); len(refs) == 0 || !existed {
				return errKeep
			}
			return nil
		}
		if set := r.held(s); len(outlived(s, &set, before)) == 0 {
			continue
		}
		err := r.write(ctx, s, edit, func() Event {
			e := Section{Kind: refs[0].Kind, Function: s.name}.event(KeyRetired, s, refs[0].Name,
				fmt.Sprintf("%d former values among %s were removed", len(refs), s.label()))
			e.Cause = Scheduled
			return e
		})
		if err == nil {
			removed = append(removed, refs...)
		}
		errs = append(errs, unlessKept(err))
	}
	return removed, errors.Join(errs...)
}

// outlived removes the former values that ended before a time and names them.
func outlived(s *Scope, set *accesskey.Set, before time.Time) (refs []KeyRef) {
	for kind, k := range effective(s.doc, *set) {
		m, err := k.Meta()
		if err != nil {
			continue
		}
		if m.Retires != "" && m.Expires.Before(before) {
			*set, _ = set.Remove(kind, k.Name)
			refs = append(refs, KeyRef{Kind: kind, Function: functionOf(s), Name: k.Name})
		}
		kept := slices.DeleteFunc(slices.Clone(m.Former), func(f accesskey.Former) bool { return f.Expires.Before(before) })
		if len(kept) < len(m.Former) {
			m.Former = kept
			*set, _ = set.SetMaster(set.Master.WithMeta(m))
			refs = append(refs, KeyRef{Kind: kind, Name: accesskey.MasterName})
		}
	}
	return refs
}

// Due gives the keys whose value is older than their RotateEvery, of all
// documents read so far. Keys that have expired are not among them, nor those of
// whose next value only a verifier would be kept: nobody would learn it.
func (r *Ring) Due(now time.Time) []KeyRef { return r.dueIn(r.present(), now) }

func (r *Ring) dueIn(scopes []*Scope, now time.Time) []KeyRef {
	var due []KeyRef
	for _, s := range scopes {
		for kind, k := range effective(s.doc, r.held(s)) {
			if m, err := k.Meta(); err == nil && isDue(m, now) && !r.hashed(Section{Kind: kind}, k) {
				due = append(due, KeyRef{Kind: kind, Function: functionOf(s), Name: k.Name})
			}
		}
	}
	return due
}

func isDue(m accesskey.Meta, now time.Time) bool {
	at := dueAt(m)
	return !at.IsZero() && !now.Before(at) && (m.Expires.IsZero() || now.Before(m.Expires))
}

// dueAt gives when a key is to be rotated; zero: never.
func dueAt(m accesskey.Meta) time.Time {
	if m.RotateEvery <= 0 || m.Retires != "" || m.Created.IsZero() {
		return time.Time{}
	}
	return m.Created.Add(m.RotateEvery)
}

// RotateDue rotates the keys that are due, each with its own overlap. Of several
// nodes that do so at the same time one rotates a key. It returns what was
// rotated and the errors joined; problem.ReadOnly if keys are due in a store that
// cannot be written, which is then not tried.
func (r *Ring) RotateDue(ctx context.Context) (done []Rotation, err error) {
	return r.rotateDue(ctx, r.present())
}

func (r *Ring) rotateDue(ctx context.Context, scopes []*Scope) (done []Rotation, err error) {
	due := r.dueIn(scopes, r.cfg.Clock.Now())
	if len(due) > 0 && r.cfg.Store.Capabilities().ReadOnly {
		return nil, problem.New(problem.ReadOnly, fmt.Sprintf("%d keys are due to be rotated, the first of them %s, and %s cannot be written", len(due), due[0].Name, r.store())).
			WithNext("rotate them where the store is written, or take rotateEvery from them")
	}
	var errs []error
	for _, ref := range due {
		rotation, err := r.rotate(ctx, ref.Section(), ref.Name, Scheduled, func(m accesskey.Meta) (time.Duration, error) {
			if !isDue(m, r.cfg.Clock.Now()) {
				return 0, errKeep
			}
			return m.Overlap, nil
		})
		if err == nil {
			done = append(done, rotation)
		}
		errs = append(errs, unlessKept(err))
	}
	return done, errors.Join(errs...)
}

// Tended is what [Ring.Tend] did.
type Tended struct {
	Rotated []Rotation
	Removed []KeyRef
	// Next is when something comes due if nobody changes anything, in the past after
	// failures; zero: never.
	Next time.Time
}

// Tend rotates what is due and removes former values that ended long ago, in all
// documents that the store has, read so far or not: it is for whoever looks after
// an app that may not run. Documents are read as far as this ring does not follow
// their changes; none are made. What could be done is done and told even where it
// returns errors, joined: problem.ReadOnly if keys are due in a store that cannot
// be written, otherwise the store's. Keys of functions that are gone are left as
// they are.
func (r *Ring) Tend(ctx context.Context) (Tended, error) {
	docs, err := r.cfg.Store.List(ctx)
	if err != nil {
		return Tended{}, err
	}
	gone, err := r.gone(ctx)
	errs := []error{err}
	var scopes []*Scope
	for _, doc := range docs {
		if gone(doc) {
			continue
		}
		s := r.home
		if !doc.IsHost() {
			s = r.Function(string(doc))
		}
		if s == nil {
			continue
		}
		there, err := r.survey(ctx, s)
		if there {
			scopes = append(scopes, s)
		}
		errs = append(errs, err)
	}
	var t Tended
	t.Rotated, err = r.rotateDue(ctx, scopes)
	errs = append(errs, err)
	t.Removed, err = r.retire(ctx, scopes)
	t.Next = r.nextDue(scopes)
	return t, errors.Join(append(errs, err)...)
}

// gone tells the documents of functions that are gone, whose keys neither change
// nor come into use. While that is not known, all functions count as such.
func (r *Ring) gone(ctx context.Context) (func(keystore.Doc) bool, error) {
	if !r.tendsFunctions() {
		return func(keystore.Doc) bool { return false }, nil
	}
	kept, err := r.revise(ctx, func(tenures) bool { return false }) // others may have changed it
	if err != nil {
		return func(doc keystore.Doc) bool { return !doc.IsHost() }, err
	}
	return func(doc keystore.Doc) bool { return kept[doc].gone() }, nil
}

// survey brings a document up to date if the store has it, and reports whether it
// has. Unlike for a request, nothing is made, and a document that nobody needed so
// far and that cannot be read says nothing about the health of the ring.
func (r *Ring) survey(ctx context.Context, s *Scope) (there bool, err error) {
	if err := s.take(ctx); err != nil {
		return false, err
	}
	there, events, err := r.surveyInTurn(ctx, s)
	s.give()
	r.emit(events)
	return there, err
}

func (r *Ring) surveyInTurn(ctx context.Context, s *Scope) (there bool, _ []Event, _ error) {
	r.mu.Lock()
	fresh := s.present && s.fault == nil && r.watching
	r.mu.Unlock()
	if fresh {
		return true, nil, nil
	}
	inner, stop := r.bounded(ctx)
	defer stop()
	if err := r.recallMeta(inner, s); err != nil {
		return false, nil, err
	}
	begun := r.cfg.Clock.Now()
	doc, rev, err := r.cfg.Store.Load(inner, s.doc)
	switch {
	case err != nil && missing(err): // it was removed a moment ago
		return false, nil, nil
	case err != nil:
		return false, nil, err
	}
	got := r.repair(inner, s, fetched{document: doc, revision: rev, inClear: doc.InClear, ignored: doc.Ignored})
	events := r.accept(s, got, Scheduled, r.cfg.Clock.Now().Sub(begun))
	r.remember(inner, s)
	return true, events, nil
}

// nextDue gives when the first key of the documents is to be rotated or the first
// former value to be removed; zero: never.
func (r *Ring) nextDue(scopes []*Scope) (next time.Time) {
	sooner := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	can := r.cfg.Store.Capabilities()
	for _, s := range scopes {
		for kind, k := range effective(s.doc, r.held(s)) {
			m, err := k.Meta()
			if err != nil {
				continue
			}
			if r.hashed(Section{Kind: kind}, k) {
				m.RotateEvery = 0 // see Due
			}
			if at := dueAt(m); m.Expires.IsZero() || at.Before(m.Expires) {
				sooner(at)
			}
			if can.ReadOnly {
				continue
			}
			if m.Retires != "" {
				sooner(m.Expires.Add(r.cfg.Limits.RetiredKept))
			}
			for _, f := range m.Former {
				sooner(f.Expires.Add(r.cfg.Limits.RetiredKept))
			}
		}
	}
	return next
}

// present gives the scopes that have a document.
func (r *Ring) present() []*Scope {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Scope
	for _, s := range r.scopes {
		if s.present {
			out = append(out, s)
		}
	}
	return out
}

// held gives the keys of a document that are in use.
func (r *Ring) held(s *Scope) accesskey.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.document.Clone().Keys
}
