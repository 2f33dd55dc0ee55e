// Package keyowners owns the answer to the question whose key a value is: it reads
// key documents, keeps digests, and compares in constant time. It does not know who
// may ask, where apps are, nor how values are found (see scan).
package keyowners

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

// Owners tells which keys a value is. It holds digests, no keys. Its zero value knows
// none. Once all is read it is safe for concurrent use.
type Owners struct {
	// Unread has an error for each key document that could not be read; its keys
	// are not recognised.
	Unread []error

	known []knownKey
}

type knownKey struct {
	digest [sha256.Size]byte
	// hashed says that only a verifier of the value is kept: digest is a sum with
	// salt, of the value as it was made.
	hashed bool
	salt   accesskey.Salt
	owner  scan.Owner
}

// Read adds the keys in a store: those of an app, of functions that are gone too.
// names has the app's own spelling of its functions; others are called as their
// documents. Nothing is created or changed. It returns the error of the store if its
// documents cannot be listed; what single ones cannot be read for is in Unread.
func (o *Owners) Read(ctx context.Context, store keystore.Store, app string, names map[keystore.Doc]string) error {
	docs, err := store.List(ctx)
	if err != nil {
		return err
	}
	r := reader{o, app, names}
	for _, doc := range docs {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.read(ctx, store, doc)
	}
	return nil
}

// reader adds the keys of one app.
type reader struct {
	*Owners
	app   string
	names map[keystore.Doc]string
}

func (o reader) read(ctx context.Context, store keystore.Store, doc keystore.Doc) {
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
	o.add(doc, accesskey.Master, append([]accesskey.Key{master}, formerMasters(master)...))
	o.add(doc, accesskey.Host, d.Keys.Keys)
	o.add(doc, accesskey.System, d.Keys.System)
}

func (o reader) add(doc keystore.Doc, kind accesskey.Kind, keys []accesskey.Key) {
	for _, key := range keys {
		if key.Value == "" {
			continue
		}
		owner := scan.Owner{App: o.app, Name: key.Name, Kind: kind}
		if kind == accesskey.Function {
			owner.Function = o.spelling(doc)
		}
		k := knownKey{digest: digestOf(key.Value), owner: owner}
		if v, ok := accesskey.ParseVerifier(key.Value); ok {
			k.digest, k.salt, k.hashed = v.Sum, v.Salt, true
		}
		o.known = append(o.known, k)
	}
}

// formerMasters gives the earlier values of the master key, which are kept as
// verifiers with it, under the names that they are reported by.
func formerMasters(master accesskey.Key) (keys []accesskey.Key) {
	m, err := master.Meta()
	if err != nil {
		return nil
	}
	for _, f := range m.Former {
		keys = append(keys, accesskey.Key{Name: accesskey.RetiredName(accesskey.MasterName, f.Expires), Value: f.Verifier})
	}
	return keys
}

func (o reader) spelling(doc keystore.Doc) string {
	if name, ok := o.names[doc]; ok {
		return name
	}
	return string(doc)
}

// Identify gives the keys that have a value, padded or not, those of which only a
// hash is kept included. All keys are compared, in constant time.
func (o *Owners) Identify(value string) []scan.Owner {
	plain := digestOf(value)
	bare := strings.TrimRight(value, "=")
	var owners []scan.Owner
	for i := range o.known {
		k := &o.known[i]
		same := subtle.ConstantTimeCompare(plain[:], k.digest[:])
		if k.hashed {
			same = 0
			for _, padding := range []string{"", "=", "=="} {
				sum := k.salt.Sum(bare + padding)
				same |= subtle.ConstantTimeCompare(sum[:], k.digest[:])
			}
		}
		if same == 1 {
			owners = append(owners, k.owner)
		}
	}
	return owners
}

func digestOf(value string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.TrimRight(value, "=")))
}
