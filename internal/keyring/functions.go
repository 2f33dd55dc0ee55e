package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// rosterEvery is the longest time between two looks at functions that are gone.
const rosterEvery = time.Hour

// functions is what a ring knows about the app's functions coming and going.
type functions struct {
	mu      sync.Mutex
	current map[keystore.Doc]string // nil: nobody has said
	kept    tenures                 // as last read or written; nil: not yet
	left    map[keystore.Doc]bool   // went while the ring was there
	nudge   chan struct{}           // buffered by one
	turn    sync.Mutex              // held while the roster is tended
}

func (f *functions) keep(t tenures) {
	f.mu.Lock()
	f.kept = maps.Clone(t)
	f.mu.Unlock()
}

func (f *functions) wake() {
	select {
	case f.nudge <- struct{}{}:
	default:
	}
}

// Deployed tells which functions the app has, whether they can be run or not. An
// app that could not be loaded is no reason to call it. It does not wait.
//
// With a Config.Roster, functions that were there before and are not any more are
// gone: their keys are kept as they are, and open nothing. If the function is
// back within Limits.GoneKept the keys work again; after that they are removed,
// and a function of that name gets new ones. Nothing is removed from a store that
// cannot be written, nor while it cannot be read, nor when somebody else has
// changed the keys since: then the time begins anew.
func (r *Ring) Deployed(names []string) {
	if !r.tendsFunctions() {
		return
	}
	current := make(map[keystore.Doc]string, len(names))
	for _, name := range names {
		if doc := keystore.FunctionDoc(name); doc != "" && !doc.IsHost() && keystore.CheckDoc(doc) == nil {
			current[doc] = name
		}
	}
	f := &r.functions
	f.mu.Lock()
	var back []keystore.Doc
	for doc := range current {
		_, before := f.current[doc]
		if f.left[doc] || f.current != nil && !before { // somebody may have looked at what it had
			delete(f.left, doc)
			back = append(back, doc)
		}
	}
	for doc := range f.current {
		if _, here := current[doc]; !here {
			f.left[doc] = true
		}
	}
	f.current = current
	f.mu.Unlock()
	for _, doc := range back {
		r.drop(r.life, doc) // to be read when it is needed
	}
	f.wake()
}

func (r *Ring) tendsFunctions() bool {
	return r.cfg.Roster != nil && !r.cfg.Store.Capabilities().ReadOnly
}

// drop forgets what is held of a document.
func (r *Ring) drop(ctx context.Context, doc keystore.Doc) {
	r.mu.Lock()
	s := r.byDoc[doc]
	r.mu.Unlock()
	if s == nil || s.take(ctx) != nil {
		return
	}
	events := r.forget(s)
	s.give()
	r.emit(events)
}

// away reports whether the function of a document went and is not back.
func (r *Ring) away(s *Scope) bool {
	r.functions.mu.Lock()
	defer r.functions.mu.Unlock()
	return r.functions.left[s.doc]
}

// errAway stands for the keys of a function that is gone, and takes out of use
// what is held of them. Callers have the turn.
func (r *Ring) errAway(s *Scope) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.known, s.present, s.fault = true, false, nil
	s.document, s.revision = keystore.Document{}, ""
	s.stored, s.salts, s.ledgers, s.tallies = nil, nil, nil, nil
	r.publish()
	return problem.New(problem.NotFound, fmt.Sprintf("function '%s' is gone; its keys are kept for a while in case it comes back", s.name))
}

// TendFunctions enters which functions the app has now, and removes the keys of
// those that have been gone for longer than Limits.GoneKept. A started ring does
// it by itself. It returns the errors of all functions joined.
func (r *Ring) TendFunctions(ctx context.Context) error {
	if !r.tendsFunctions() {
		return nil
	}
	f := &r.functions
	f.turn.Lock()
	defer f.turn.Unlock()
	kept, err := r.enter(ctx)
	if err != nil {
		return err
	}
	errs := []error{r.note(ctx, kept)}
	for doc, t := range kept {
		if r.expired(t, r.cfg.Clock.Now()) {
			errs = append(errs, r.settleScope(ctx, doc, t))
		}
	}
	return errors.Join(errs...)
}

// enter brings the roster up to date and tells what is new.
func (r *Ring) enter(ctx context.Context) (tenures, error) {
	f := &r.functions
	f.mu.Lock()
	current := f.current
	f.mu.Unlock()
	var left, back []tenure
	kept, err := r.revise(ctx, func(t tenures) (changed bool) {
		if current == nil {
			return false
		}
		left, back, changed = r.muster(t, current, r.cfg.Clock.Now())
		return changed
	})
	if err != nil {
		return nil, err
	}
	r.withhold(ctx, current)
	for _, t := range left {
		r.emit([]Event{t.event(KeysQuarantined, slog.LevelWarn, "function '%s' is gone; its keys open nothing, and are kept until %s in case it comes back",
			t.Name, t.Gone.Add(r.cfg.Limits.GoneKept).Format(time.RFC3339))})
	}
	for _, t := range back {
		r.emit([]Event{t.event(KeysReturned, slog.LevelWarn, "function '%s' is back; its keys, kept since %s, work again",
			t.Name, t.Gone.Format(time.RFC3339))})
	}
	return kept, nil
}

func (t tenure) event(kind EventType, level slog.Level, format string, args ...any) Event {
	return Event{Type: kind, Cause: Local, Level: level, Function: t.Name, Text: fmt.Sprintf(format, args...)}
}

// withhold takes out of use what is held of functions that went.
func (r *Ring) withhold(ctx context.Context, current map[keystore.Doc]string) {
	r.mu.Lock()
	var gone []*Scope
	for _, s := range r.scopes {
		if _, here := current[s.doc]; !here && s.known && s.present && r.away(s) {
			gone = append(gone, s)
		}
	}
	r.mu.Unlock()
	for _, s := range gone {
		if s.take(ctx) == nil {
			if r.away(s) {
				_ = r.errAway(s)
			}
			s.give()
		}
	}
}

// note remembers the revision that the keys of functions have that went.
func (r *Ring) note(ctx context.Context, kept tenures) error {
	var errs []error
	found := tenures{}
	for doc, t := range kept {
		if !t.gone() || t.Revision != "" {
			continue
		}
		inner, stop := r.bounded(ctx)
		_, rev, err := r.cfg.Store.Load(inner, doc)
		stop()
		switch {
		case err == nil:
			t.Revision = rev
			found[doc] = t
		case missing(err):
			found[doc] = tenure{}
		case !errors.Is(err, keystore.ErrUndecryptable):
			errs = append(errs, err)
		}
	}
	if len(found) > 0 {
		_, err := r.revise(ctx, func(now tenures) bool { return merged(now, found) })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// merged enters revisions that were found; functions without keys are left out.
func merged(now, found tenures) (changed bool) {
	for doc, t := range found {
		have := now[doc]
		switch {
		case !have.gone() || have.Revision != "" || !have.Purging.IsZero():
			continue
		case t.Revision == "":
			delete(now, doc)
		default:
			have.Revision = t.Revision
			now[doc] = have
		}
		changed = true
	}
	return changed
}

// keepFunctions tends the roster until the ring is closed.
func (r *Ring) keepFunctions() {
	told := ""
	for {
		err := r.TendFunctions(r.life)
		if r.life.Err() != nil {
			return
		}
		if err != nil && err.Error() != told {
			r.cfg.Log.Warn("what becomes of the keys of functions that are gone could not be settled; this is tried again", "error", err)
		}
		told = ""
		if err != nil {
			told = err.Error()
		}
		if !r.pauseFunctions(err != nil) {
			return
		}
	}
}

// pauseFunctions waits until there may be something to do.
func (r *Ring) pauseFunctions(failed bool) bool {
	var fire <-chan time.Time
	if wait := r.nextLook(failed); wait > 0 {
		timer := r.cfg.Clock.NewTimer(wait)
		defer timer.Stop()
		fire = timer.C()
	}
	select {
	case <-r.life.Done():
		return false
	case <-r.functions.nudge:
	case <-fire:
	}
	return true
}

// nextLook gives the time until the roster is to be looked at; 0 when that is not
// needed.
func (r *Ring) nextLook(failed bool) time.Duration {
	if failed {
		return r.cfg.Limits.RetryMost
	}
	r.functions.mu.Lock()
	defer r.functions.mu.Unlock()
	now, wait := r.cfg.Clock.Now(), time.Duration(0)
	for _, t := range r.functions.kept {
		if !t.gone() {
			continue
		}
		left := t.Gone.Add(r.cfg.Limits.GoneKept).Sub(now)
		if left <= 0 || left > rosterEvery {
			left = rosterEvery
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}
