package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// Condition says what one key must be like for it to be changed.
type Condition struct {
	Section Section
	Name    string
	// Check is told the tag of the key as it is stored and whether there is one; with
	// its error nothing is changed, and it is returned. It may run more than once.
	Check func(tag string, exists bool) error
}

type conditionKey struct{}

// Provided gives a context with which changes of keys are made only if the
// condition holds. That is decided while the document is being changed, so that
// nobody comes between. It counts for changes of the document that has the key.
func Provided(ctx context.Context, c Condition) context.Context {
	return context.WithValue(ctx, conditionKey{}, c)
}

// checkProvided decides about the condition of a change, if it has one.
func (r *Ring) checkProvided(ctx context.Context, s *Scope, set accesskey.Set, existed bool) error {
	c, has := ctx.Value(conditionKey{}).(Condition)
	if !has {
		return nil
	}
	sec, at, err := r.find(c.Section, c.Name)
	if err != nil || at != s {
		return err
	}
	key, ok := named(sec, set, c.Name)
	if !ok || !existed {
		return c.Check("", false)
	}
	return c.Check(r.tag(s.doc, sec, set, key), true)
}

// named finds a key in a section as it is listed, by the names that mean it.
func named(sec Section, set accesskey.Set, name string) (accesskey.Key, bool) {
	if sec.Kind == accesskey.Master && !isFormerMaster(name) {
		name = accesskey.MasterName
	}
	keys := sec.list(set)
	at := indexOf(keys, name)
	if at < 0 {
		return accesskey.Key{}, false
	}
	return keys[at], true
}

// Tagged is List with the entity tags of the keys: a tag is another one once
// anything that is kept about its key is, the value and former values too. Without
// Config.TagKey tags are "".
func (r *Ring) Tagged(ctx context.Context, sec Section) (keys []accesskey.Key, tags []string, err error) {
	s, err := r.scopeOf(sec)
	if err != nil {
		return nil, nil, err
	}
	set, err := r.current(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	keys = sec.list(set)
	tags = make([]string, len(keys))
	for i, k := range keys {
		tags[i], keys[i] = r.tag(s.doc, sec, set, k), sec.shown(k)
	}
	return keys, tags, nil
}

// Tag gives the entity tag of a key as it is in use here, without asking the store;
// "" if it is not known.
func (r *Ring) Tag(sec Section, name string) string {
	sec, s, err := r.find(sec, name)
	if err != nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := named(sec, s.document.Keys, name)
	if !s.known || !ok {
		return ""
	}
	return r.tag(s.doc, sec, s.document.Keys, key)
}

// tag is made with a secret: those who may not read values must not be able to try
// guesses of one.
func (r *Ring) tag(doc keystore.Doc, sec Section, set accesskey.Set, k accesskey.Key) string {
	if len(r.cfg.TagKey) == 0 {
		return ""
	}
	sum := hmac.New(sha256.New, r.cfg.TagKey)
	add := func(part string) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
		_, _ = sum.Write(size[:])
		_, _ = sum.Write([]byte(part))
	}
	for _, part := range []string{string(doc), sec.Kind.String(), strings.ToLower(k.Name), k.Value, metaText(k)} {
		add(part)
	}
	for _, former := range formerOf(sec, set, k) {
		add(former)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// metaText gives what is kept about a key, in one form for equal content.
func metaText(k accesskey.Key) string {
	m, err := k.Meta()
	if err != nil {
		return string(k.Extra[accesskey.MetaMember])
	}
	return string(m.Format())
}

// formerOf names the former values of a key that are keys of their own.
func formerOf(sec Section, set accesskey.Set, k accesskey.Key) []string {
	var names []string
	for _, other := range sec.list(set) {
		if m, _ := other.Meta(); m.Retires != "" && strings.EqualFold(m.Retires, k.Name) {
			names = append(names, strings.ToLower(other.Name))
		}
	}
	slices.Sort(names)
	return names
}
