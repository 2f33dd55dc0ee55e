package keyring

import (
	"context"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// SetMeta changes the note, owner and restrictions of a key; they apply when it
// returns. change gets the present ones, may run more than once, and its error is
// returned. What Latchkey keeps track of by itself stays whatever change does:
// Created (set now, where it is not known, with RotateEvery), Retires, Former, Hint and unknown members. Metadata that could not be
// understood is replaced. The key it gives is as in List.
//
// Errors: problem.NotFound if there is no such key; problem.Invalid beginning
// with the name of the member at fault; problem.Unsupported where the store keeps
// no metadata; otherwise the store's. Then nothing is changed.
func (r *Ring) SetMeta(ctx context.Context, sec Section, name string, change func(*accesskey.Meta) error) (accesskey.Key, error) {
	return r.restrict(ctx, sec, name, func(m *accesskey.Meta, k accesskey.Key, kind accesskey.Kind) error {
		old := m.Clone()
		if err := change(m); err != nil {
			return err
		}
		m.Created, m.Retires, m.Former, m.Hint, m.Unknown = old.Created, old.Retires, old.Former, old.Hint, old.Unknown
		if m.RotateEvery != 0 && m.Created.IsZero() {
			m.Created = r.cfg.Clock.Now() // its age is not known: it is counted from here
		}
		if err := m.Validate(kind, old, r.cfg.Clock.Now()); err != nil {
			return err
		}
		return r.checkFor(kind, *m, old, k)
	})
}

// checkFor reports what this key in particular cannot have. A rotation that it has
// already, from when its value was kept, is not judged again: the key must still be
// disabled when need be.
func (r *Ring) checkFor(kind accesskey.Kind, m, old accesskey.Meta, k accesskey.Key) error {
	_, until, retired := accesskey.ParseRetiredName(k.Name)
	switch {
	case retired && (m.Expires.IsZero() || m.Expires.After(until)):
		return problem.New(problem.Invalid, "expires: a former value ends at the time in its name at the latest").
			WithNext("choose an earlier time, or rotate the key anew with a longer overlap")
	case m.RotateEvery != 0 && m.Retires != "":
		return problem.New(problem.Invalid, "rotateEvery: a former value is not rotated").WithNext("set it on the key " + m.Retires)
	case m.RotateEvery != 0 && m.RotateEvery != old.RotateEvery && r.hashed(Section{Kind: kind}, k):
		return problem.New(problem.Invalid, "rotateEvery: nobody would learn the new values, as they are not kept").
			WithNext("rotate the key by hand")
	}
	return nil
}

// Disable switches a key off until Enable; it does not work when Disable returns.
// Errors are those of SetMeta; problem.Invalid for the master key.
func (r *Ring) Disable(ctx context.Context, sec Section, name string) (accesskey.Key, error) {
	return r.SetMeta(ctx, sec, name, func(m *accesskey.Meta) error { m.Disabled = true; return nil })
}

// Enable undoes Disable. All other restrictions stay.
func (r *Ring) Enable(ctx context.Context, sec Section, name string) (accesskey.Key, error) {
	return r.SetMeta(ctx, sec, name, func(m *accesskey.Meta) error { m.Disabled = false; return nil })
}

// Expire has a key end at a time, or right away for the zero time. Errors are
// those of SetMeta; problem.Invalid for the master key and for a time in the past.
func (r *Ring) Expire(ctx context.Context, sec Section, name string, at time.Time) (accesskey.Key, error) {
	if !at.IsZero() {
		return r.SetMeta(ctx, sec, name, func(m *accesskey.Meta) error { m.Expires = at; return nil })
	}
	return r.restrict(ctx, sec, name, func(m *accesskey.Meta, _ accesskey.Key, kind accesskey.Kind) error {
		now := r.cfg.Clock.Now().UTC().Truncate(time.Second)
		if !m.Expires.IsZero() && m.Expires.Before(now) {
			return errKeep
		}
		m.Expires = now
		return m.Validate(kind, m.Clone(), now)
	})
}

// restrict changes the metadata of one key.
func (r *Ring) restrict(ctx context.Context, sec Section, name string, change func(*accesskey.Meta, accesskey.Key, accesskey.Kind) error) (key accesskey.Key, err error) {
	sec, s, err := r.find(sec, name)
	if err == nil {
		err = r.needMetadata()
	}
	if err != nil {
		return accesskey.Key{}, err
	}
	edit := func(set *accesskey.Set, existed bool) error {
		k, ok := set.Find(sec.Kind, name)
		if !ok || !existed {
			return errNoKey()
		}
		m, metaErr := k.Meta()
		if metaErr != nil {
			m = retiredMeta(k.Name)
		}
		key = k
		if err := change(&m, k, sec.Kind); err != nil {
			return err
		}
		key = k.WithMeta(m)
		*set, _ = set.Put(sec.Kind, key)
		return nil
	}
	err = unlessKept(r.write(ctx, s, edit, func() Event {
		return sec.event(KeyRestricted, s, key.Name, sec.changeText(key.Name, "Restrictions updated"))
	}))
	if err != nil {
		return accesskey.Key{}, err
	}
	return sec.shown(key), nil
}

// retiredMeta is what the name alone says about a key.
func retiredMeta(name string) accesskey.Meta {
	m, _ := accesskey.Key{Name: name}.Meta()
	return m
}

// unlessKept makes an edit that found nothing to change no error.
func unlessKept(err error) error {
	if isKeep(err) {
		return nil
	}
	return err
}

// find is aim for keys that are there: names are not judged.
func (r *Ring) find(sec Section, name string) (Section, *Scope, error) {
	s, err := r.scopeOf(sec)
	switch {
	case err != nil:
		return sec, nil, err
	case sec.Kind == accesskey.Master:
		return sec, s, checkMasterName(name)
	case accesskey.IsMasterName(name) && sec.Kind != accesskey.Function:
		return MasterKey(), s, nil
	}
	return sec, s, nil
}

func (r *Ring) needMetadata() error {
	if r.cfg.Store.Capabilities().Metadata {
		return nil
	}
	return problem.New(problem.Unsupported, r.store()+" keeps names and values of keys only: a key there cannot be disabled, limited, noted about, or expire").
		WithNext("delete or renew the key to end it; or keep the keys in a store that keeps metadata (docs/stores/metadata.md lists them)")
}

// event describes a change to a key of the section.
func (sec Section) event(t EventType, s *Scope, name, text string) Event {
	if sec.Kind == accesskey.Master {
		name = accesskey.MasterName
	}
	return Event{Type: t, Cause: Local, Level: slog.LevelInfo, Function: s.name, Kind: sec.Kind, Name: name, Text: text}
}

// shown gives a key as it is listed: a value that is not kept is masked.
func (sec Section) shown(k accesskey.Key) accesskey.Key {
	if sec.Kind == accesskey.Master && !isFormerMaster(k.Name) {
		k.Name = accesskey.MasterName
	}
	if accesskey.LooksLikeVerifier(k.Value) {
		m, _ := k.Meta()
		k.Value, k.HashOnly = m.Hint, true
		if k.Value == "" {
			k.Value = "…"
		}
	}
	return k
}
