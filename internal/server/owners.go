package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/scan"
)

// Owners tells which keys of an app a value is. It holds digests, no keys. It is
// immutable and safe for concurrent use.
type Owners struct {
	// Unread has an error for each key document that could not be read; its keys
	// are not recognised.
	Unread []error

	app   string
	names map[keystore.Doc]string // the app's own spelling of its functions
	known []knownKey
}

type knownKey struct {
	digest [sha256.Size]byte
	owner  scan.Owner
}

// OpenOwners reads all keys in the store of the app in cfg.Dir, those of
// functions that are gone included. Nothing is created or changed. It returns
// problem.Unsupported for a store this version does not have, and the error of
// the store if its documents cannot be listed.
func OpenOwners(ctx context.Context, cfg Config) (*Owners, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	view, err := viewKeys(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	docs, err := view.store.List(ctx)
	if err != nil {
		return nil, err
	}
	o := &Owners{app: appName(cfg.Dir, s), names: functionNames(cfg)}
	for _, doc := range docs {
		o.read(ctx, view.store, doc)
	}
	return o, nil
}

// functionNames gives the names of an app's functions by document; none if the
// folder is not an app's.
func functionNames(cfg Config) map[keystore.Doc]string {
	names := map[keystore.Doc]string{}
	model, err := loadModel(cfg)
	if err != nil {
		return names
	}
	for i := range model.Functions {
		name := model.Functions[i].Name
		names[keystore.FunctionDoc(name)] = name
	}
	return names
}

func (o *Owners) read(ctx context.Context, store keystore.Store, doc keystore.Doc) {
	d, _, err := store.Load(ctx, doc)
	if err != nil {
		o.Unread = append(o.Unread, fmt.Errorf("key document %q: %w", string(doc), err))
		return
	}
	if !doc.IsHost() {
		o.add(doc, accesskey.Function, d.Keys.Keys)
		return
	}
	master := d.Keys.Master
	master.Name = accesskey.MasterName
	o.add(doc, accesskey.Master, []accesskey.Key{master})
	o.add(doc, accesskey.Host, d.Keys.Keys)
	o.add(doc, accesskey.System, d.Keys.System)
}

func (o *Owners) add(doc keystore.Doc, kind accesskey.Kind, keys []accesskey.Key) {
	for _, key := range keys {
		if key.Value == "" {
			continue
		}
		owner := scan.Owner{App: o.app, Name: key.Name, Kind: kind}
		if kind == accesskey.Function {
			owner.Function = o.spelling(doc)
		}
		o.known = append(o.known, knownKey{digestOf(key.Value), owner})
	}
}

func (o *Owners) spelling(doc keystore.Doc) string {
	if name, ok := o.names[doc]; ok {
		return name
	}
	return string(doc)
}

// Identify gives the keys that have a value, padded or not. All keys are
// compared, in constant time.
func (o *Owners) Identify(value string) []scan.Owner {
	digest := digestOf(value)
	var owners []scan.Owner
	for i := range o.known {
		if subtle.ConstantTimeCompare(digest[:], o.known[i].digest[:]) == 1 {
			owners = append(owners, o.known[i].owner)
		}
	}
	return owners
}

func digestOf(value string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.TrimRight(value, "=")))
}
