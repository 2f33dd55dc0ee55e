package keyring

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// Rotation is what became of a key that was rotated.
type Rotation struct {
	Key     accesskey.Key // with the new value, also if only a verifier of it is kept
	Retired string        // the name under which the old value is kept
	Until   time.Time     // when the old value ends
}

// Rotate gives a key a new, generated value and keeps the old one valid for an
// overlap, 0 standing for a day, under a name of its own, in one change of the
// document. Both are subject to the key's restrictions and share its rate and
// quota. The old value does not live longer than the key would have. A former
// master key is kept as a verifier in the metadata of the master key, and listed
// beside it.
//
// Errors: problem.NotFound if there is no such key; problem.Invalid for an
// overlap out of range and for a former value; problem.Undecryptable for a key
// whose metadata cannot be understood; problem.Unsupported for the master key
// where the store keeps no metadata; otherwise the store's. Then nothing is
// changed.
func (r *Ring) Rotate(ctx context.Context, sec Section, name string, overlap time.Duration) (Rotation, error) {
	return r.rotate(ctx, sec, name, Local, func(m accesskey.Meta) (time.Duration, error) { return overlap, nil })
}

func (r *Ring) rotate(ctx context.Context, sec Section, name string, cause Cause, overlapOf func(accesskey.Meta) (time.Duration, error)) (Rotation, error) {
	sec, s, err := r.find(sec, name)
	if err == nil && sec.Kind == accesskey.Master && r.needMetadata() != nil {
		err = problem.New(problem.Unsupported, r.store()+" keeps names and values of keys only, so a former master key cannot stay valid there").
			WithNext("renew the master key instead, which ends the old one at once")
	}
	if err != nil {
		return Rotation{}, err
	}
	value, err := r.generate(sec.Kind)
	if err != nil {
		return Rotation{}, err
	}
	t := turnover{ring: r, sec: sec, name: name, value: value, overlapOf: overlapOf}
	err = r.write(ctx, s, t.edit, func() Event {
		e := sec.event(KeyRotated, s, t.out.Key.Name, sec.changeText(t.out.Key.Name, "Rotated"))
		e.Retired, e.Cause = t.out.Retired, cause
		return e
	})
	if err != nil {
		return Rotation{}, err
	}
	t.out.Key = sec.shown(t.out.Key)
	t.out.Key.Value = value
	return t.out, nil
}

// turnover is one rotation.
type turnover struct {
	ring      *Ring
	sec       Section
	name      string
	value     string
	overlapOf func(accesskey.Meta) (time.Duration, error)
	out       Rotation
}

func (t *turnover) edit(set *accesskey.Set, existed bool) error {
	old, ok := set.Find(t.sec.Kind, t.name)
	if !ok || !existed {
		return errNoKey()
	}
	meta, err := old.Meta()
	if err != nil {
		return err
	}
	if meta.Retires != "" {
		return errFormer(meta.Retires)
	}
	overlap, err := t.overlapOf(meta)
	if err == nil {
		err = accesskey.CheckOverlap(overlap)
	}
	if err != nil {
		return err
	}
	if overlap == 0 {
		overlap = accesskey.DefaultOverlap
	}
	now := t.ring.cfg.Clock.Now().UTC().Truncate(time.Second)
	until := now.Add(overlap)
	if !meta.Expires.IsZero() && meta.Expires.Before(until) {
		until = meta.Expires
	}
	if t.sec.Kind == accesskey.Master {
		return t.master(set, old, meta, now, until)
	}
	return t.ordinary(set, old, meta, now, until)
}

// ordinary keeps the old value as a key of its own.
func (t *turnover) ordinary(set *accesskey.Set, old accesskey.Key, meta accesskey.Meta, now, until time.Time) error {
	if n := retiredOf(*set, t.sec.Kind, old.Name); n >= accesskey.MaxRetired {
		return problem.New(problem.Invalid, fmt.Sprintf("the key has %d former values already", n)).
			WithNext("delete those that are no longer used, or end them all")
	}
	name := accesskey.RetiredName(old.Name, until)
	for taken(*set, t.sec.Kind, name) {
		until = until.Add(-time.Second)
		name = accesskey.RetiredName(old.Name, until)
	}
	former := meta.Clone()
	former.Retires, former.Expires, former.RotateEvery, former.Overlap = old.Name, until, 0, 0
	retired := old
	retired.Name = name
	*set, _ = set.Put(t.sec.Kind, retired.WithMeta(former))
	t.out.Key = t.ring.valued(*set, t.sec, old, meta, t.value, now)
	*set, _ = set.Put(t.sec.Kind, t.out.Key)
	t.out.Retired, t.out.Until = name, until
	return nil
}

// master keeps a verifier of the old value beside the new one, as there can only
// be one master key.
func (t *turnover) master(set *accesskey.Set, old accesskey.Key, meta accesskey.Meta, now, until time.Time) error {
	meta.Former = slices.DeleteFunc(meta.Former, func(f accesskey.Former) bool { return !now.Before(f.Expires) })
	salt := accesskey.NewSalt()
	if len(meta.Former) > 0 {
		v, _ := accesskey.ParseVerifier(meta.Former[0].Verifier)
		salt = v.Salt
	}
	meta.Former = append(meta.Former, accesskey.Former{
		Verifier: accesskey.NewVerifier(salt, old.Value).String(), Since: now, Expires: until,
	})
	if err := meta.Validate(accesskey.Master, meta, now); err != nil {
		return err
	}
	meta.Created = now
	k := old.WithMeta(meta)
	k.Value = t.value
	*set, _ = set.SetMaster(k)
	t.out.Key = k
	t.out.Retired, t.out.Until = accesskey.RetiredName(accesskey.MasterName, until), until
	return nil
}

// valued gives a key another value with the metadata that goes with it.
func (r *Ring) valued(set accesskey.Set, sec Section, k accesskey.Key, meta accesskey.Meta, value string, now time.Time) accesskey.Key {
	meta.Created, meta.Hint = now.UTC().Truncate(time.Second), ""
	k.Value = value
	if r.hashed(sec, k) {
		k.Value = accesskey.NewVerifier(saltOf(set), value).String()
		meta.Hint = accesskey.Mask(value)
	}
	return k.WithMeta(meta)
}

func retiredOf(set accesskey.Set, kind accesskey.Kind, name string) (n int) {
	for _, k := range set.List(kind) {
		if m, _ := k.Meta(); m.Retires != "" && strings.EqualFold(m.Retires, name) {
			n++
		}
	}
	return n
}

func taken(set accesskey.Set, kind accesskey.Kind, name string) bool {
	_, ok := set.Find(kind, name)
	return ok
}

func errFormer(of string) error {
	return problem.New(problem.Invalid, "this is a former value of the key "+of+", which ends by itself").
		WithNext("change the key " + of + " instead, or delete this one")
}

// EndOverlap ends all former values of a key at once; it is no error if there
// are none. problem.NotFound if there is no such key.
func (r *Ring) EndOverlap(ctx context.Context, sec Section, name string) error {
	sec, s, err := r.find(sec, name)
	if err != nil {
		return err
	}
	edit := func(set *accesskey.Set, existed bool) error {
		if k, ok := set.Find(sec.Kind, name); !ok || !existed {
			return errNoKey()
		} else if !endFormer(set, sec.Kind, k.Name) {
			return errKeep
		}
		return nil
	}
	return unlessKept(r.write(ctx, s, edit, func() Event {
		return sec.event(KeyRetired, s, name, sec.changeText(name, "Former values removed"))
	}))
}

// endFormer removes the former values of a key and reports whether there were any.
func endFormer(set *accesskey.Set, kind accesskey.Kind, name string) bool {
	if kind == accesskey.Master {
		m, err := set.Master.Meta()
		if err != nil || len(m.Former) == 0 {
			return false
		}
		m.Former = nil
		*set, _ = set.SetMaster(set.Master.WithMeta(m))
		return true
	}
	any := false
	for _, k := range set.List(kind) {
		if m, _ := k.Meta(); m.Retires != "" && strings.EqualFold(m.Retires, name) {
			*set, _ = set.Remove(kind, k.Name)
			any = true
		}
	}
	return any
}
