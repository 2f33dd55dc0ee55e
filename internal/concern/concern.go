// Package concern owns what about apps somebody should look at: which kinds there
// are, which keys are among them and from when on, and an index over all apps that
// is kept as they change, so that asking costs no look at them. It does not know
// where keys, references and states are kept, nor who may know of what.
package concern

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/resource"
)

// Kind is what a concern is about.
type Kind string

// Kinds, the most pressing first.
const (
	AppFails       Kind = "appFails"         // the app does not run as it should
	RevisionFails  Kind = "revisionFails"    // likewise, of a container app
	KeysUnreadable Kind = "keysUnreadable"   // the key store cannot be reached, or what it has cannot be understood
	ReferenceFails Kind = "referenceFails"   // a reference has no value
	KeyEnded       Kind = "keyEnded"         // a key that was in use has expired lately
	FormerInUse    Kind = "formerValueInUse" // a former value of a key is in use and ends soon
	KeyEnds        Kind = "keyEnds"          // a key expires soon
	ReferenceStale Kind = "referenceStale"   // a reference has its last good value, reading it anew fails
)

// Kinds gives all kinds, the most pressing first.
func Kinds() []Kind {
	return []Kind{AppFails, RevisionFails, KeysUnreadable, ReferenceFails, KeyEnded, FormerInUse, KeyEnds, ReferenceStale}
}

// Rank orders kinds, the most pressing first.
func (k Kind) Rank() int { return slices.Index(Kinds(), k) }

// Concern is one thing to look at.
type Concern struct {
	Kind     Kind
	Resource resource.ID // the app
	Name     string      // of the key, the setting or the revision; "" for the app itself
	KeyKind  string      // "master", "host", "system" or "function", for keys
	Function string      // whose key it is, for those of functions
	Section  string      // of the setting, for references
	Why      string      // for people, never a secret; may be empty
	Next     string      // what to do; may be empty
	At       time.Time   // when the key ends or ended, or since when it is so; zero: not known
	LastUsed time.Time   // of the key; zero: not known
	Refused  time.Time   // when the key was presented last since it ended; zero: not known
	Place    string      // in the order of all concerns; see [Concern.Settle]
}

// ID tells a concern from all others.
func (c Concern) ID() string {
	parts := []string{string(c.Kind)}
	for _, p := range []string{c.Section, c.KeyKind, c.Function, c.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ":")
}

// Settle computes Place. It is to be called once a concern is complete.
func (c *Concern) Settle() {
	at := int64(0)
	if c.Kind == KeyEnds || c.Kind == FormerInUse {
		at = max(c.At.Unix(), 0)
	}
	c.Place = fmt.Sprintf("%02d %011d %s %s", c.Kind.Rank(), at, c.Resource.Key(), c.ID())
}

// Compare orders concerns that are settled: the most pressing first, then by the time
// of ends, then by app and name.
func Compare(a, b Concern) int { return strings.Compare(a.Place, b.Place) }
