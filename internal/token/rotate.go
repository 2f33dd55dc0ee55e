package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	leaseName = "token-keys"
	leaseTTL  = 30 * time.Second
	// tendEvery is how often keys are looked after.
	tendEvery = time.Hour
)

// Ready makes sure that there are keys, so that the first caller need not wait for
// one to be generated. Errors are the store's, or problem.Undecryptable.
func (a *Authority) Ready(ctx context.Context) error {
	_, err := a.current(ctx)
	return err
}

// Run keeps up with the keys and replaces them by age, or because their algorithm
// is no longer that of the config, until ctx ends. One node
// replaces them, all use the new ones.
func (a *Authority) Run(ctx context.Context) {
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		a.tend(ctx)
	}()
	state.Follow(ctx, a.cfg.Store, Prefix, a.cfg.Clock, (*follower)(a))
	a.keys.Store(nil)
	<-tended
}

type follower Authority

// Reset takes the document as it is now.
func (f *follower) Reset(documents []state.Document) {
	for _, doc := range documents {
		if doc.Key == keysKey {
			f.take(doc)
			return
		}
	}
	f.keys.Store(nil)
}

// Apply takes a change.
func (f *follower) Apply(e state.Event) {
	switch {
	case e.Key != keysKey:
	case e.Kind == state.EventDelete:
		f.keys.Store(nil)
	default:
		f.take(e.Document)
	}
}

// Cut makes calls read the store: keys that were revoked must not go on.
func (f *follower) Cut(error) { f.keys.Store(nil) }

func (f *follower) take(doc state.Document) {
	f.writing.Lock()
	defer f.writing.Unlock()
	if now := f.keys.Load(); now != nil && now.revision >= doc.Revision {
		return // our own change, seen already
	}
	set, err := decodeKeys(doc)
	if err != nil {
		f.cfg.Log.Error("the token signing keys cannot be used", slog.String("error", err.Error()), slog.String("next", problem.NextOf(err)))
	}
	f.keys.Store(set)
}

// wrote makes the own change count at once, if the keys are being followed.
func (a *Authority) wrote(set *keySet) {
	a.writing.Lock()
	defer a.writing.Unlock()
	if now := a.keys.Load(); now != nil && now.revision < set.revision {
		a.keys.Store(set)
	}
}

// Rotate publishes a new key, which begins to sign after the lead time of the
// config. Tokens of the old ones stay valid until they expire. It returns
// problem.Conflict while a new key is waiting to sign.
func (a *Authority) Rotate(ctx context.Context) error {
	_, err := a.replace(ctx, a.successor)
	return err
}

// Revoke replaces all keys at once, for when one became known to others: every
// token there is becomes invalid.
func (a *Authority) Revoke(ctx context.Context) error {
	_, err := a.replace(ctx, func([]*storedKey, time.Time) ([]*storedKey, time.Duration, error) { return nil, 0, nil })
	return err
}

// plan says which keys stay, and after what time the new one signs.
type plan func(old []*storedKey, now time.Time) (stay []*storedKey, lead time.Duration, err error)

// successor lets the old keys retire once the last token signed with them, just
// before the new key takes over, has expired.
func (a *Authority) successor(old []*storedKey, now time.Time) ([]*storedKey, time.Duration, error) {
	var stay []*storedKey
	for _, k := range old {
		if k.Signs.After(now) {
			return nil, 0, problem.New(problem.Conflict, fmt.Sprintf("key %s is published already and signs from %s", k.ID, k.Signs.Format(time.RFC3339)))
		}
		if k.gone(now) {
			continue
		}
		if k.Retires.IsZero() {
			k.Retires = now.Add(a.cfg.Lead + MaxLifetime + 2*a.cfg.Skew)
		}
		stay = append(stay, k)
	}
	return stay, a.cfg.Lead, nil
}

// replace writes the keys that stay and a new one.
func (a *Authority) replace(ctx context.Context, p plan, also ...state.Op) (*keySet, error) {
	var fresh *storedKey
	return a.update(ctx, func(old []*storedKey, now time.Time) ([]*storedKey, error) {
		stay, lead, err := p(old, now)
		if err != nil {
			return nil, err
		}
		if fresh == nil { // generating takes long; a second attempt uses the same
			if fresh, err = newKey(a.cfg.Algorithm, now, now); err != nil {
				return nil, err
			}
		}
		fresh.Signs = now.Add(lead)
		return append(stay, fresh), nil
	}, also...)
}

func (a *Authority) update(ctx context.Context, change func(old []*storedKey, now time.Time) ([]*storedKey, error), also ...state.Op) (*keySet, error) {
	doc, err := state.Update(ctx, a.cfg.Store, keysKey, func(text []byte, exists bool) ([]byte, error) {
		old := &keySet{}
		if exists {
			var err error
			if old, err = decodeKeys(state.Document{Key: keysKey, Value: text}); err != nil {
				return nil, err
			}
		}
		next, err := change(old.keys, a.cfg.Clock.Now().UTC().Truncate(time.Second))
		if err != nil {
			return nil, err
		}
		return json.Marshal(next)
	}, also...)
	if err != nil {
		return nil, err
	}
	set, err := decodeKeys(doc)
	if err == nil {
		a.wrote(set)
	}
	return set, err
}

// first makes the first key, on one node of all and once on each.
func (a *Authority) first(ctx context.Context) (*keySet, error) {
	a.making.Lock()
	defer a.making.Unlock()
	if doc, err := a.cfg.Store.Get(ctx, keysKey); !errors.Is(err, state.ErrNotFound) {
		if err != nil {
			return nil, err
		}
		return decodeKeys(doc)
	}
	set, err := a.replace(ctx, func(old []*storedKey, _ time.Time) ([]*storedKey, time.Duration, error) {
		if len(old) > 0 {
			return nil, 0, state.ErrUnchanged // another node was faster
		}
		return nil, 0, nil
	})
	return set, err
}

// tend replaces keys by age or algorithm and clears away those that have retired.
func (a *Authority) tend(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.tendOnce(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("the token signing keys could not be looked after; this is tried again", slog.String("error", err.Error()))
		}
		if clock.Sleep(ctx, a.cfg.Clock, tendEvery) != nil {
			return
		}
	}
}

func (a *Authority) tendOnce(ctx context.Context) error {
	set, err := a.current(ctx)
	if err != nil || !a.due(set.keys, a.cfg.Clock.Now()) {
		return err
	}
	lease, err := a.cfg.Store.Acquire(ctx, leaseName, leaseTTL)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	_, err = a.replaceIfDue(ctx, lease.Fence())
	return err
}

func (a *Authority) replaceIfDue(ctx context.Context, fence state.Op) (*keySet, error) {
	set, err := a.replace(ctx, func(old []*storedKey, now time.Time) ([]*storedKey, time.Duration, error) {
		if !a.outdated(old, now) {
			return nil, 0, errYoung
		}
		return a.successor(old, now)
	}, fence)
	if !errors.Is(err, errYoung) {
		if err == nil {
			a.cfg.Log.Info("a new token signing key is published", slog.String("algorithm", string(set.keys[len(set.keys)-1].algorithm)), slog.Time("signs", set.keys[len(set.keys)-1].Signs))
		}
		return set, err
	}
	return a.update(ctx, func(old []*storedKey, now time.Time) ([]*storedKey, error) {
		if stay := living(old, now); len(stay) < len(old) {
			return stay, nil
		}
		return nil, state.ErrUnchanged // another node was faster
	}, fence)
}

var errYoung = errors.New("the newest key is young and of the right algorithm")

func (a *Authority) due(keys []*storedKey, now time.Time) bool {
	return a.outdated(keys, now) || len(living(keys, now)) < len(keys)
}

// outdated says whether a key should take over: the newest one is old, or it signs
// with an algorithm that is not wanted. One that still waits to sign is let take
// over first, so that nodes with different configs replace keys once per lead time
// at most.
func (a *Authority) outdated(keys []*storedKey, now time.Time) bool {
	if len(keys) == 0 || keys[len(keys)-1].Signs.After(now) {
		return false
	}
	return keys[len(keys)-1].algorithm != a.cfg.Algorithm || a.old(keys, now)
}

// old says whether the newest key has signed for its time, less the lead of the
// next one.
func (a *Authority) old(keys []*storedKey, now time.Time) bool {
	for _, k := range keys {
		if now.Before(k.Signs.Add(a.cfg.KeyAge - a.cfg.Lead)) {
			return false
		}
	}
	return true
}

func living(keys []*storedKey, now time.Time) (stay []*storedKey) {
	for _, k := range keys {
		if !k.gone(now) {
			stay = append(stay, k)
		}
	}
	return stay
}
