package reference

import (
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/keyref"
)

// target is a setting that is a reference.
type target struct {
	key     string // of its record
	section app.Section
	name    string
	ref     keyref.Ref
	reader  string              // the identity that reads it, as ReferenceIdentity names one
	fault   *keyref.SyntaxError // nil for one that can be fetched
}

// secretKey names a secret in the index of who refers to it. The domain does not
// count: references that name only the vault have none.
func secretKey(vault, secret string) string { return strings.ToLower(vault + "/" + secret) }

func (t target) secret() string { return secretKey(t.ref.Vault, t.ref.Secret) }

// targets gives the references among an app's settings, in order of sections and
// names.
func (r *Resolver) targets(a app.Snapshot) []target {
	found := r.targetsIn(a, app.AppSettings, a.Settings)
	return append(found, r.targetsIn(a, app.ConnectionStrings, connectionValues(a.Connections))...)
}

func (r *Resolver) targetsIn(a app.Snapshot, s app.Section, values map[string]string) []target {
	var found []target
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if ref, is, fault := keyref.Parse(values[name]); is {
			found = append(found, target{recordKey(s, name), s, name, ref, r.cfg.Reader(a, s, name), fault})
		}
	}
	return found
}

func connectionValues(connections map[string]app.Connection) map[string]string {
	values := make(map[string]string, len(connections))
	for name, c := range connections {
		values[name] = c.Value
	}
	return values
}

// demand says which references of an app are to be fetched, besides those that
// were not attempted since the app became what it is.
type demand struct {
	all     bool
	refused bool            // that a change of permissions can heal
	keys    map[string]bool // of records
	secrets map[string]bool // by secretKey
	vaults  map[string]bool // all of their secrets; names in lower case
}

func (d demand) wants(t target, r record) bool {
	return d.all || d.refused && r.Status.refused() || d.keys[t.key] || d.secrets[t.secret()] || d.vaults[strings.ToLower(t.ref.Vault)]
}

// add joins what is wanted.
func (d *demand) add(other demand) {
	d.all, d.refused = d.all || other.all, d.refused || other.refused
	d.keys, d.secrets, d.vaults = join(d.keys, other.keys), join(d.secrets, other.secrets), join(d.vaults, other.vaults)
}

func join(a, b map[string]bool) map[string]bool {
	if len(a) == 0 {
		return maps.Clone(b)
	}
	maps.Copy(a, b)
	return a
}
