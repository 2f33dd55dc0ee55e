package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// createTries bounds how often a document is looked for again after somebody
// else seems to have created it first.
const createTries = 3

// errTaken leaves a document alone that somebody else created first.
var errTaken = errors.New("the document exists by now")

// fetched is what asking the store for a document came to.
type fetched struct {
	document keystore.Document
	revision keystore.Revision
	absent   bool // there is none and none can be created
	created  bool
	resealed bool
	inClear  []string // keys that were in clear where values are sealed
	ignored  []string // what the store left out
	meta     found
}

// read asks the store for a document, in its turn, and puts the answer in force.
func (r *Ring) read(ctx context.Context, s *Scope, cause Cause) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	events, err := r.readInTurn(ctx, s, cause)
	s.give()
	r.emit(events)
	return err
}

func (r *Ring) readInTurn(ctx context.Context, s *Scope, cause Cause) ([]Event, error) {
	if r.away(s) {
		return nil, r.errAway(s)
	}
	inner, stop := r.bounded(ctx)
	defer stop()
	begun := r.cfg.Clock.Now()
	got, err := r.fetch(inner, s)
	if err == nil && !got.absent {
		defer func() { r.remember(inner, s) }() // after it was accepted, before stop
	}
	took := r.cfg.Clock.Now().Sub(begun)
	switch {
	case err == nil && got.absent:
		return r.acceptAbsent(s, cause, took), nil
	case err == nil:
		return r.accept(s, got, cause, took), nil
	case ctx.Err() != nil: // nobody waits any more; that says nothing about the store
		return nil, err
	case inner.Err() != nil:
		err = problem.Wrap(problem.Unavailable, fmt.Sprintf("no answer within %v", r.cfg.Limits.LoadTimeout), err)
	}
	err = r.preserve(inner, s, err)
	return r.reject(s, err, cause, took), err
}

// fetch loads a document and, only if there is none and never was one as far as
// this ring knows, creates it. Callers have the turn.
func (r *Ring) fetch(ctx context.Context, s *Scope) (fetched, error) {
	if err := r.settle(ctx, s); err != nil {
		return fetched{}, err
	}
	if err := r.recallMeta(ctx, s); err != nil {
		return fetched{}, err
	}
	for range createTries {
		doc, rev, err := r.load(ctx, s)
		switch {
		case err == nil:
			return r.repair(ctx, s, fetched{document: doc, revision: rev, inClear: doc.InClear, ignored: doc.Ignored}), nil
		case !missing(err):
			return fetched{}, err
		case s.present || r.damaged(s):
			return fetched{}, r.vanished(s, err)
		case r.cfg.Store.Capabilities().ReadOnly:
			return fetched{absent: true}, nil
		}
		got, err := r.create(ctx, s)
		if !errors.Is(err, errTaken) && !errors.Is(err, keystore.ErrConflict) {
			return got, err
		}
	}
	return fetched{}, problem.New(problem.Conflict, s.label()+" are being created and removed by others at the same time")
}

// missing reports whether an error says for certain that there is no document.
// Anything else that went wrong must never lead to new keys.
func missing(err error) bool {
	return errors.Is(err, keystore.ErrNotFound) && problem.KindOf(err) == keystore.ErrNotFound &&
		!errors.Is(err, keystore.ErrUnavailable) && !errors.Is(err, keystore.ErrUndecryptable)
}

// damaged reports whether the last that was seen of a document is that it is
// there and cannot be understood. Should it go away then, somebody is at work on
// it; a restart is the word that new keys are wanted.
func (r *Ring) damaged(s *Scope) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.fault != nil && errors.Is(s.fault.err, keystore.ErrUndecryptable)
}

func (r *Ring) vanished(s *Scope, cause error) error {
	return problem.Wrap(keystore.ErrNotFound, s.label()+" were there before", cause).
		WithNext("put the document back from a backup; a running app that still has its last good keys writes all of them back " +
			"when one is changed through its own /admin API, not through the command line")
}

// create makes a document with generated keys unless somebody else does first.
func (r *Ring) create(ctx context.Context, s *Scope) (fetched, error) {
	doc, rev, err := r.cfg.Store.Update(ctx, s.doc, func(_ keystore.Document, exists bool) (keystore.Document, error) {
		if exists {
			return keystore.Document{}, errTaken
		}
		return r.fresh(ctx, s.doc)
	})
	if errors.Is(err, keystore.ErrReadOnly) {
		return fetched{absent: true}, nil
	}
	return fetched{document: doc, revision: rev, created: true}, err
}

// fresh makes a document with generated keys: a default key, and for the host a
// master key.
func (r *Ring) fresh(ctx context.Context, doc keystore.Doc) (keystore.Document, error) {
	var d keystore.Document
	if r.cfg.MayMake != nil {
		if err := r.cfg.MayMake(ctx, doc); err != nil {
			return d, err
		}
	}
	kind := accesskey.Function
	if doc.IsHost() {
		kind = accesskey.Host
		if err := r.addMaster(&d.Keys); err != nil {
			return d, err
		}
	}
	value, err := r.generate(kind)
	if err != nil {
		return d, err
	}
	k := accesskey.Key{Name: accesskey.DefaultName, Value: value}
	if sec := (Section{Kind: kind}); r.hashed(sec, k) {
		k = r.valued(d.Keys, sec, k, accesskey.Meta{}, value, r.cfg.Clock.Now())
	}
	d.Keys.Keys = []accesskey.Key{k}
	return d, nil
}

func (r *Ring) addMaster(set *accesskey.Set) error {
	value, err := r.generate(accesskey.Master)
	set.Master.Name, set.Master.Value = accesskey.MasterStoredName, value
	return err
}

func (r *Ring) generate(kind accesskey.Kind) (string, error) {
	value, err := r.cfg.Format.Generate(kind)
	if err != nil {
		return "", problem.Wrap(problem.Internal, "no key could be generated", err)
	}
	return value, nil
}

// repair has a document rewritten whose values are in clear or sealed with an old
// key, or whose keys have lost their metadata. The keys are good either way, so
// failing is no reason not to use them. A document that was seen before is not
// repaired again: what did not help then does not help now.
func (r *Ring) repair(ctx context.Context, s *Scope, got fetched) fetched {
	if !s.present || s.revision != got.revision {
		got.document, got.meta = r.whole(s, got.document)
	}
	can := r.cfg.Store.Capabilities()
	if can.ReadOnly || !got.document.Stale && (len(got.meta.restored) == 0 || !can.Metadata) {
		return got
	}
	return r.rewrite(ctx, s, got)
}

func (r *Ring) rewrite(ctx context.Context, s *Scope, got fetched) fetched {
	inClear, meta, stale := got.inClear, got.meta, got.document.Stale
	doc, rev, err := r.cfg.Store.Update(ctx, s.doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		if !exists {
			return old, errTaken
		}
		inClear, stale = old.InClear, old.Stale
		old, meta = r.whole(s, tidy(old))
		return old, nil
	})
	if err != nil {
		r.cfg.Log.Warn(s.label()+" could not be written anew; the keys stay in use as they are", "why", got.why(), "store", r.store(), "error", err)
		return got
	}
	return fetched{document: doc, revision: rev, resealed: stale, inClear: inClear, ignored: got.ignored, meta: meta}
}

// why says what a document is to be written anew for.
func (f fetched) why() string {
	if f.document.Stale {
		return form(f.inClear)
	}
	return "without the metadata of keys"
}

// form says how a stale document's values are kept.
func form(inClear []string) string {
	if len(inClear) > 0 {
		return "not all sealed"
	}
	return "sealed with an old key"
}

// accept puts a document in force. Callers have the turn.
func (r *Ring) accept(s *Scope, got fetched, cause Cause, took time.Duration) []Event {
	news := !s.present || s.revision != got.revision
	var keys prepared
	if news {
		keys = r.prepare(s, got.document.Keys)
	}
	read, odd := r.inspect(s, got.document.Keys, cause)
	read.Took = took
	events := []Event{read}
	r.mu.Lock()
	defer r.mu.Unlock()
	wasKnown := s.known
	s.known, s.present, s.fault = true, true, nil
	if news {
		s.document, s.revision = got.document, got.revision
		s.stored, s.salts, s.ledgers, s.tallies = keys.stored, keys.salts, keys.ledgers, keys.tallies
		r.publish()
		events = append(events, r.newsEvents(s, got, cause, wasKnown)...)
		events = append(events, odd...)
	}
	return append(events, r.assess(cause)...)
}

func (r *Ring) newsEvents(s *Scope, got fetched, cause Cause, wasKnown bool) []Event {
	var events []Event
	if got.created {
		events = append(events, Event{
			Type: DocumentCreated, Cause: cause, Level: slog.LevelInfo, Function: s.name,
			Text: s.label() + " did not exist in " + r.store() + " and were generated",
		})
	}
	if got.resealed {
		events = append(events, Event{
			Type: DocumentResealed, Cause: cause, Level: slog.LevelInfo, Function: s.name,
			Text: s.label() + " in " + r.store() + " were " + form(got.inClear) + "; they are sealed with the primary one now",
		})
	}
	if len(got.inClear) > 0 {
		events = append(events, r.inClearEvent(s, got, cause))
	}
	if len(got.ignored) > 0 {
		events = append(events, Event{
			Type: KeysIgnored, Cause: cause, Level: slog.LevelWarn, Function: s.name,
			Text: fmt.Sprintf("%s in %s: not in use, and gone with the next change: %s", s.label(), r.store(), strings.Join(got.ignored, ", ")),
		})
	}
	events = append(events, got.meta.events(s, r.store(), cause)...)
	if cause == Local || wasKnown && !got.created {
		events = append(events, s.changedEvent(cause))
	}
	if s.doc.IsHost() && got.document.Keys.Master.Value == "" {
		events = append(events, Event{
			Type: MasterMissing, Cause: cause, Level: slog.LevelWarn, Kind: accesskey.Master,
			Text: "the host keys in " + r.store() + " have no master key; none was generated",
		})
	}
	return events
}

// inClearEvent names keys that came without having been sealed: an operator knows
// whether they brought them.
func (r *Ring) inClearEvent(s *Scope, got fetched, cause Cause) Event {
	now := "they are still in clear"
	if got.resealed || cause == Local {
		now = "they are sealed now"
	}
	return Event{
		Type: KeysInClear, Cause: cause, Level: slog.LevelWarn, Function: s.name,
		Text: fmt.Sprintf("%s in %s: in clear where values are sealed: %s; they are in force, and %s; delete those that you did not put there, and see who can write there",
			s.label(), r.store(), strings.Join(got.inClear, ", "), now),
	}
}

// inspect counts keys by format and names the odd ones: those that can never
// match and, in a strict mode, those that are not identifiable.
func (r *Ring) inspect(s *Scope, set accesskey.Set, cause Cause) (read Event, odd []Event) {
	read = Event{Type: DocumentRead, Cause: cause, Level: levelQuiet, Function: s.name}
	ignored := len(set.System) + len(set.Keys)
	for kind, key := range effective(s.doc, set) {
		if kind != accesskey.Master {
			ignored--
		}
		if len(key.Value) > MaxValue {
			ignored++
		}
		if _, err := key.Meta(); err != nil {
			odd = append(odd, brokenEvent(s, kind, key.Name, cause, err))
		}
		if accesskey.LooksLikeVerifier(key.Value) {
			continue // its format was seen to when it was set
		}
		if r.cfg.Format.Identifiable(kind, key.Value) {
			read.Identifiable++
			continue
		}
		read.NotIdentifiable++
		if r.cfg.Mode != Default {
			odd = append(odd, weakEvent(r.cfg.Mode, s, kind, key.Name, cause))
		}
	}
	if ignored > 0 {
		odd = append(odd, Event{
			Type: KeysIgnored, Cause: cause, Level: slog.LevelWarn, Function: s.name,
			Text: fmt.Sprintf("%d of %s in %s never match: without name or value, longer than %d bytes, or with a name that occurs before",
				ignored, s.label(), r.store(), MaxValue),
		})
	}
	return read, odd
}

// acceptAbsent notes that there is no document and that none can be created:
// nothing is in force for it, which is reported once.
func (r *Ring) acceptAbsent(s *Scope, cause Cause, took time.Duration) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := []Event{{Type: DocumentRead, Cause: cause, Level: levelQuiet, Function: s.name, Took: took}}
	if !s.known {
		events = append(events, Event{
			Type: DocumentMissing, Cause: cause, Level: slog.LevelWarn, Function: s.name, Text: r.missingText(s),
		})
	}
	s.known, s.fault = true, nil
	r.publish()
	return append(events, r.assess(cause)...)
}

// reject notes a failed read. What was in force stays in force.
func (r *Ring) reject(s *Scope, err error, cause Cause, took time.Duration) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	level, tries := slog.LevelError, 1
	if s.fault != nil {
		tries = s.fault.tries + 1
		if s.fault.err.Error() == err.Error() {
			level = levelQuiet
		}
	}
	s.fault = &fault{err: err, tries: tries, retry: r.cfg.Clock.Now().Add(r.backoff(tries))}
	h := r.faulty(s)
	events := []Event{{
		Type: DocumentFailed, Cause: cause, Level: level, Function: s.name,
		Text: h.Reason, Health: h, Took: took, Err: err,
	}}
	r.wake()
	return append(events, r.assess(cause)...)
}

// backoff gives the wait after the n-th failure in a row.
func (r *Ring) backoff(tries int) time.Duration {
	wait := r.cfg.Limits.RetryFirst
	for range tries - 1 {
		if wait *= 2; wait >= r.cfg.Limits.RetryMost {
			break
		}
	}
	return min(wait, r.cfg.Limits.RetryMost)
}

// bounded gives a context that also ends after the load timeout, by the ring's
// clock. stop releases it.
func (r *Ring) bounded(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := r.cfg.Clock.NewTimer(r.cfg.Limits.LoadTimeout)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-timer.C():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		timer.Stop()
		cancel()
		<-ended
	}
}
