package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

func isKeep(err error) bool { return errors.Is(err, errKeep) }

// assignment is one key getting a value.
type assignment struct {
	ring        *Ring
	sec         Section
	name, value string

	key     accesskey.Key // as it is stored
	created bool
}

// edit gives the key the value. Its restrictions stay; former values of it end,
// as whoever replaces a value outright wants the old ones gone. With the value it
// has, nothing changes but the spelling of the name.
func (a *assignment) edit(set *accesskey.Set, _ bool) error {
	old, exists := set.Find(a.sec.Kind, a.name)
	meta, metaErr := old.Meta()
	switch _, _, retired := accesskey.ParseRetiredName(a.name); {
	case exists && meta.Retires != "":
		return errFormer(meta.Retires)
	case retired:
		return problem.New(problem.Invalid, "a key name that ends like this one is for former values").
			WithNext("choose another name; rotating a key makes such names")
	}
	if exists && holds(old, a.value) {
		return a.again(set, old, meta, metaErr)
	}
	if err := a.clash(*set); err != nil {
		return err
	}
	next := accesskey.Key{Name: a.name, Value: a.value, Extra: old.Clone().Extra}
	if metaErr != nil {
		meta = accesskey.Meta{}
	}
	meta.Former = nil
	switch hashed := a.ring.hashed(a.sec, old); {
	case hashed && len(a.value) < accesskey.MinHashedLen:
		return problem.New(problem.Invalid, fmt.Sprintf("key value has fewer than %d bytes, too few for one of which only a hash is kept", accesskey.MinHashedLen)).
			WithNext("leave the value out and have one generated")
	case hashed, exists && old.HasMeta():
		next = a.ring.valued(*set, a.sec, withName(old, a.name), meta, a.value, a.ring.cfg.Clock.Now())
	}
	if exists {
		endFormer(set, a.sec.Kind, old.Name)
	}
	a.key, a.created = a.sec.put(set, next)
	return nil
}

// again gives the key the value it has: only the way in which that is kept may
// change, from the value to a verifier of it.
func (a *assignment) again(set *accesskey.Set, old accesskey.Key, meta accesskey.Meta, metaErr error) error {
	if metaErr != nil || !a.ring.toHash(a.sec, old, a.value) {
		a.key, a.created = a.sec.set(set, a.name, old.Value)
		return nil
	}
	made := meta.Created
	if made.IsZero() {
		made = a.ring.cfg.Clock.Now() // its age is not known: it is counted from here
	}
	a.key, a.created = a.sec.put(set, a.ring.valued(*set, a.sec, withName(old, a.name), meta, a.value, made))
	return nil
}

// toHash reports whether a verifier takes the place of a key's value when that value
// is given to it again.
func (r *Ring) toHash(sec Section, old accesskey.Key, value string) bool {
	return r.hashed(sec, old) && !accesskey.LooksLikeVerifier(old.Value) && len(value) >= accesskey.MinHashedLen
}

func withName(k accesskey.Key, name string) accesskey.Key {
	k.Name = name
	return k
}

// holds reports whether a stored key is of that value.
func holds(k accesskey.Key, value string) bool {
	if v, ok := accesskey.ParseVerifier(k.Value); ok {
		sum := v.Salt.Sum(value)
		return bytes.Equal(sum[:], v.Sum[:])
	}
	return k.Value == value
}

// clash refuses a value that a key with metadata has: under another name it would
// get around the restrictions of that key, or bring a retired value back.
func (a *assignment) clash(set accesskey.Set) error {
	for _, kind := range []accesskey.Kind{accesskey.Master, accesskey.System, accesskey.Host} {
		for _, k := range set.List(kind) {
			same := kind == a.sec.Kind || kind == accesskey.Host && a.sec.Kind == accesskey.Function
			if same && strings.EqualFold(k.Name, a.name) {
				continue
			}
			m, _ := k.Meta()
			if (k.HasMeta() || m.Retires != "") && holds(k, a.value) {
				return errClash(k.Name)
			}
		}
	}
	m, _ := set.Master.Meta()
	for _, f := range m.Former {
		if holds(accesskey.Key{Value: f.Verifier}, a.value) {
			return errClash("a former master key")
		}
	}
	return nil
}

func errClash(name string) error {
	return problem.New(problem.Invalid, "the value is that of "+name+", which is restricted or retired").
		WithNext("leave the value out and have one generated")
}

// hashed reports whether only a verifier of a key's value is kept. The master key
// and system keys are needed in clear: to talk to the app's host, and in the
// addresses that extensions hand out.
func (r *Ring) hashed(sec Section, old accesskey.Key) bool {
	if sec.Kind != accesskey.Host && sec.Kind != accesskey.Function {
		return false
	}
	return r.hashOnly.Load() || accesskey.LooksLikeVerifier(old.Value)
}

// saltOf gives the salt of the verifiers in a document, so that recognising one
// costs the same however many there are.
func saltOf(set accesskey.Set) accesskey.Salt {
	for _, k := range set.Keys {
		if v, ok := accesskey.ParseVerifier(k.Value); ok {
			return v.Salt
		}
	}
	return accesskey.NewSalt()
}
