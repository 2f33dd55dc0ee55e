package keyvault

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// content is what the vault has of one document.
type content struct {
	doc  keystore.Doc
	keys []entry // as they are ordered in their lists
	rest *secret // what the document has besides keys; nil for none
	off  []property
	// fault says why the document cannot be used; the secrets are known all the same.
	fault error
}

// entry is a key's secret.
type entry struct {
	place
	labels
	secret
}

// build sorts the secrets of a document. Those in off are disabled.
func build(doc keystore.Doc, secrets []secret, off []property) content {
	c := content{doc: doc, off: off}
	for _, s := range secrets {
		p, _ := parseName(s.name)
		switch {
		case s.value == "": // no key, and not a free name either
			c.off = append(c.off, s.property)
		case p.kind == accesskey.None:
			c.rest = &s
		default:
			c.add(p, s)
		}
	}
	slices.SortFunc(c.keys, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), a.compare(b.order, b.name()))
	})
	c.dropDoubles()
	slices.SortFunc(c.off, func(a, b property) int { return strings.Compare(a.name, b.name) })
	return c
}

func (c *content) add(p place, s secret) {
	l, err := unpack(s.tags)
	if err != nil && c.fault == nil {
		c.fault = fmt.Errorf("secret %s: %w", s.name, err)
	}
	if l.name != "" {
		p.key = l.name
	}
	c.keys = append(c.keys, entry{p, l, s})
}

// dropDoubles keeps the first of keys whose names differ in case at most, which
// only people make.
func (c *content) dropDoubles() {
	kept := c.keys[:0]
	for _, e := range c.keys {
		if slices.ContainsFunc(kept, func(k entry) bool { return k.kind == e.kind && strings.EqualFold(k.key, e.key) }) {
			c.off = append(c.off, e.property)
			continue
		}
		kept = append(kept, e)
	}
	c.keys = kept
}

// name gives the secret's name as vaults compare it.
func (e entry) name() string { return strings.ToLower(e.secret.name) }

// compare orders entries of a list: those without a number come first.
func (e entry) compare(order int, name string) int {
	return cmp.Or(cmp.Compare(e.order, order), strings.Compare(e.name(), name))
}

func (c content) exists() bool { return len(c.keys) > 0 || len(c.off) > 0 || c.rest != nil }

// secrets gives what build was given, but for off.
func (c content) secrets() []secret {
	var all []secret
	for _, e := range c.keys {
		all = append(all, e.secret)
	}
	if c.rest != nil {
		all = append(all, *c.rest)
	}
	return all
}

func (c content) find(kind accesskey.Kind, name string) (entry, bool) {
	i := slices.IndexFunc(c.keys, func(e entry) bool {
		return e.kind == kind && (kind == accesskey.Master || strings.EqualFold(e.key, name))
	})
	if i < 0 {
		return entry{}, false
	}
	return c.keys[i], true
}

// document gives the keys. It returns ErrUndecryptable for a document that is
// there and cannot be used: nobody may take it for one that is to be made.
func (c content) document() (keystore.Document, error) {
	if c.fault != nil {
		return keystore.Document{}, c.fault
	}
	var d keystore.Document
	for _, e := range c.keys {
		k := accesskey.Key{Name: e.key, Value: e.value, Extra: e.extra}
		switch e.kind {
		case accesskey.Master:
			d.Keys.Master = k
		case accesskey.System:
			d.Keys.System = append(d.Keys.System, k)
		default:
			d.Keys.Keys = append(d.Keys.Keys, k)
		}
	}
	if c.doc.IsHost() && d.Keys.Master.Value == "" {
		return keystore.Document{}, c.masterless()
	}
	if c.rest != nil {
		extra, err := decodeExtra([]byte(c.rest.value))
		if err != nil {
			return keystore.Document{}, problem.New(keystore.ErrUndecryptable, "secret "+c.rest.name+" is not JSON").
				WithNext("set it to {}, or to its version before")
		}
		d.Extra = extra
	}
	return d.Clone(), nil
}

func (c content) masterless() error {
	name := place{kind: accesskey.Master}.secretName()
	if slices.ContainsFunc(c.off, func(p property) bool { return strings.EqualFold(p.name, name) }) {
		return problem.New(keystore.ErrUndecryptable, "secret "+name+" is disabled or empty").
			WithNext("enable it, or set it to a new value; no master key is made while other host keys are there")
	}
	return problem.New(keystore.ErrUndecryptable, "there are host keys but no secret "+name).
		WithNext("recover the deleted secret, or set one; no master key is made while other host keys are there")
}

// revision identifies the state of all secrets of the document.
func (c content) revision() keystore.Revision {
	if !c.exists() {
		return ""
	}
	h := sha256.New()
	all := c.secrets()
	slices.SortFunc(all, func(a, b secret) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	for _, s := range all {
		fmt.Fprintf(h, "%q %q\n", strings.ToLower(s.name), s.version)
		writeTags(h, s.tags)
	}
	for _, p := range c.off {
		fmt.Fprintf(h, "off %q %d %v\n", strings.ToLower(p.name), p.updated, p.enabled)
		writeTags(h, p.tags)
	}
	return keystore.Revision(hex.EncodeToString(h.Sum(nil)[:16]))
}

func writeTags(w io.Writer, tags map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		_, _ = fmt.Fprintf(w, "%q=%q\n", name, tags[name])
	}
}
