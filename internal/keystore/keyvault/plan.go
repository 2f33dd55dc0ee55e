package keyvault

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const maxValue = 25_000 // bytes of a secret's value, a little less than vaults allow

// plan is what must be written to make a document what it shall be.
type plan struct {
	now   content
	app   string
	write string // which update writes
	sets  []set  // the one that makes the document exist first
	drops []secret
	kept  map[string]bool // names of secrets that stay or are set, lower-cased
}

// set is one secret to be written.
type set struct {
	name string
	base *secret // what it replaces; nil for nothing
	to   azsecrets.SetSecretParameters
}

// makePlan compares. A nil target is no document at all.
func makePlan(now content, target *keystore.Document, app, write string) (*plan, error) {
	p := &plan{now: now, app: app, write: write, kept: map[string]bool{}}
	if target != nil {
		if err := p.keys(target); err != nil {
			return nil, err
		}
		if err := p.rest(target); err != nil {
			return nil, err
		}
	}
	for _, s := range now.secrets() {
		if !p.kept[strings.ToLower(s.name)] {
			p.drops = append(p.drops, s)
		}
	}
	return p, nil
}

func (p *plan) empty() bool { return len(p.sets) == 0 && len(p.drops) == 0 }

func (p *plan) keys(target *keystore.Document) error {
	if !p.now.doc.IsHost() {
		return p.list(accesskey.Function, target.Keys.Keys)
	}
	if err := p.key(accesskey.Master, target.Keys.Master, nil); err != nil {
		return err
	}
	if err := p.list(accesskey.Host, target.Keys.Keys); err != nil {
		return err
	}
	return p.list(accesskey.System, target.Keys.System)
}

// spot is a place in a list.
type spot struct {
	order int
	name  string
}

func (p *plan) list(kind accesskey.Kind, keys []accesskey.Key) error {
	var last spot
	for _, k := range keys {
		if err := p.key(kind, k, &last); err != nil {
			return err
		}
	}
	return nil
}

// key plans for one key; last is the place of the one before, nil for a key that
// has no place.
func (p *plan) key(kind accesskey.Kind, k accesskey.Key, last *spot) error {
	old, there := p.now.find(kind, k.Name)
	l := labels{app: p.app, write: p.write, extra: k.Extra}
	s := set{name: place{p.now.doc, kind, k.Name}.secretName()}
	if there {
		s.name, s.base, l.order = old.secret.name, &old.secret, old.order
	}
	if last != nil {
		if !there || old.compare(last.order, last.name) <= 0 {
			l.order = last.order + 1
		}
		*last = spot{l.order, strings.ToLower(s.name)}
	}
	if kind != accesskey.Master {
		l.name = k.Name // a vault may spell the secret as one of an earlier life
	}
	if err := p.keep(s.name, k.Name, there); err != nil {
		return err
	}
	if there && old.value == k.Value && old.key == k.Name && old.order == l.order && maps.EqualFunc(old.extra, k.Extra, bytes.Equal) {
		return nil
	}
	return p.set(s, l, fmt.Sprintf("%s key %q", kind, k.Name), k.Value)
}

// keep notes that a name is in use, and refuses one that cannot be used.
func (p *plan) keep(name, key string, there bool) error {
	lower := strings.ToLower(name)
	same := func(n string) bool { return strings.EqualFold(n, name) }
	switch {
	case len(name) > maxName:
		return problem.New(keystore.ErrInvalid, fmt.Sprintf("key %q would need a secret whose name is longer than the %d characters a vault allows", key, maxName)).
			WithNext("shorten it; other characters than letters and digits count as four")
	case slices.ContainsFunc(p.now.off, func(o property) bool { return same(o.name) }):
		return problem.New(problem.Conflict, fmt.Sprintf("secret %s is disabled, or has no value, in the vault", name)).
			WithNext("enable it there, or delete it")
	case p.kept[lower], !there && slices.ContainsFunc(p.now.secrets(), func(s secret) bool { return same(s.name) }):
		return problem.New(keystore.ErrInvalid, fmt.Sprintf("key %q needs the same secret, %s, as another key", key, name)).
			WithNext("choose another name")
	}
	p.kept[lower] = true
	return nil
}

func (p *plan) set(s set, l labels, what, value string) error {
	if len(value) > maxValue {
		return problem.New(keystore.ErrInvalid, fmt.Sprintf("%s is longer than the %d bytes a vault allows", what, maxValue))
	}
	var others map[string]string
	s.to.Value = &value
	if s.base != nil {
		others, s.to.ContentType = s.base.tags, s.base.contentType
		if s.base.value == value && (s.base.expires != nil || s.base.notBefore != nil) {
			s.to.SecretAttributes = &azsecrets.SecretAttributes{Expires: s.base.expires, NotBefore: s.base.notBefore}
		}
	}
	tags, err := l.pack(others)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.to.Tags = pointers(tags)
	p.sets = append(p.sets, s)
	return nil
}

// rest plans for what the document has besides keys. A function document without
// keys needs it to exist.
func (p *plan) rest(target *keystore.Document) error {
	text := encodeExtra(target.Extra)
	if text == "" {
		text = "{}"
	}
	bare := !p.now.doc.IsHost() && len(target.Keys.Keys) == 0
	if p.now.rest == nil && text == "{}" && !bare {
		return nil
	}
	s := set{name: place{doc: p.now.doc}.secretName(), base: p.now.rest}
	if s.base != nil {
		s.name = s.base.name
	}
	if err := p.keep(s.name, string(p.now.doc), s.base != nil); err != nil {
		return err
	}
	if s.base != nil && s.base.value == text {
		return nil
	}
	return p.set(s, labels{app: p.app, write: p.write}, "what the document has besides keys", text)
}
