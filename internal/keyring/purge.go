package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// settle sees to it, before a function's document comes into use, that keys of a
// former function of that name do not. Callers have the turn.
func (r *Ring) settle(ctx context.Context, s *Scope) error {
	if !r.tendsFunctions() || s.doc.IsHost() {
		return nil
	}
	kept, err := r.tenures(ctx)
	if err != nil { // an app must not go without its keys for the sake of old ones
		r.cfg.Log.Warn("whether keys are those of a former function is not known; they are used", "function", s.name, "error", err)
		return nil
	}
	if !r.expired(kept[s.doc], r.cfg.Clock.Now()) {
		return nil
	}
	return r.purge(ctx, s)
}

// tenures gives what is kept as last seen.
func (r *Ring) tenures(ctx context.Context) (tenures, error) {
	r.functions.mu.Lock()
	kept := r.functions.kept
	r.functions.mu.Unlock()
	if kept != nil {
		return kept, nil
	}
	return r.revise(ctx, func(tenures) bool { return false })
}

// settleScope removes the keys of a function that has been gone for too long.
// Without word of what the app has now, nothing is removed.
func (r *Ring) settleScope(ctx context.Context, doc keystore.Doc, t tenure) error {
	r.functions.mu.Lock()
	told := r.functions.current != nil
	r.functions.mu.Unlock()
	s := r.Function(t.Name)
	if !told || s == nil || s.doc != doc {
		return nil
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	inner, stop := r.bounded(ctx)
	defer stop()
	return r.purge(inner, s)
}

// purge removes the keys of a function that has been gone for too long, at one
// node at a time. Callers have the turn.
func (r *Ring) purge(ctx context.Context, s *Scope) error {
	was, ours, err := r.claim(ctx, s)
	if err != nil || !ours {
		return err
	}
	_, rev, err := r.cfg.Store.Load(ctx, s.doc)
	switch {
	case missing(err):
		return r.purged(ctx, s, was, false)
	case errors.Is(err, keystore.ErrUndecryptable): // it opens nothing, and somebody may want to mend it
		return r.release(ctx, s, was)
	case err != nil:
		return errors.Join(err, r.release(ctx, s, was))
	case rev != was.Revision:
		return r.keepAgain(ctx, s, was, rev)
	}
	err = keystore.DeleteAt(ctx, r.cfg.Store, s.doc, rev)
	switch {
	case err == nil || missing(err):
		return r.purged(ctx, s, was, true)
	case errors.Is(err, keystore.ErrConflict): // somebody wrote since
		_, now, bad := r.cfg.Store.Load(ctx, s.doc)
		if bad == nil {
			return r.keepAgain(ctx, s, was, now)
		}
		return errors.Join(err, r.release(ctx, s, was))
	case errors.Is(err, keystore.ErrReadOnly):
		err = problem.Wrap(problem.Denied, fmt.Sprintf("the keys of the former function '%s' cannot be removed and are not used", s.name), err).
			WithNext("allow this app to delete them in " + r.store() + ", or delete them there")
		return errors.Join(err, r.release(ctx, s, was))
	}
	return err // they may have been removed; the claim ends by itself
}

// keepAgain keeps keys for as long again that somebody else changed.
func (r *Ring) keepAgain(ctx context.Context, s *Scope, was tenure, rev keystore.Revision) error {
	was.Gone, was.Revision = r.cfg.Clock.Now().UTC(), rev
	r.emit([]Event{was.event(KeysQuarantined, slog.LevelWarn, "somebody else changed the keys of function '%s' while it was gone; they are kept for as long again", s.name)})
	return r.release(ctx, s, was)
}

// claim makes the removal this node's; ours is false when there is nothing to
// remove any more.
func (r *Ring) claim(ctx context.Context, s *Scope) (was tenure, ours bool, err error) {
	busy := false
	_, err = r.revise(ctx, func(kept tenures) bool {
		now := r.cfg.Clock.Now()
		was = kept[s.doc]
		busy = was.claimed(now)
		if ours = r.expired(was, now) && !busy; !ours {
			return false
		}
		claimed := was
		claimed.Purging = now.UTC()
		kept[s.doc] = claimed
		return true
	})
	if err == nil && busy {
		err = problem.New(problem.Unavailable, fmt.Sprintf("the keys of the former function '%s' are being removed", s.name))
	}
	return was, ours, err
}

// release ends the claim; the rest of the entry becomes as in t.
func (r *Ring) release(ctx context.Context, s *Scope, t tenure) error {
	t.Purging = time.Time{}
	_, err := r.revise(ctx, func(kept tenures) bool {
		kept[s.doc] = t
		return true
	})
	return err
}

// purged enters that the keys are no more.
func (r *Ring) purged(ctx context.Context, s *Scope, was tenure, removed bool) error {
	if r.cfg.Memory != nil {
		if err := r.cfg.Memory.Remember(ctx, s.doc, nil); err != nil {
			return err
		}
		s.recalled, s.remembered, s.before = false, nil, accesskey.Set{}
	}
	events := r.forget(s)
	if removed {
		events = append(events, was.event(DocumentPruned, slog.LevelWarn,
			"the keys of function '%s', gone since %s, were removed from %s; a function of that name gets new ones",
			s.name, was.Gone.Format("2006-01-02"), r.store()))
	}
	r.emit(events)
	_, err := r.revise(ctx, func(kept tenures) bool {
		delete(kept, s.doc)
		r.functions.mu.Lock()
		defer r.functions.mu.Unlock()
		if name, here := r.functions.current[s.doc]; here {
			kept[s.doc] = tenure{Name: name}
		}
		return true
	})
	return err
}
