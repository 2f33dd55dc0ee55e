package concern

import (
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// Times around the end of a key.
const (
	Soon       = 14 * 24 * time.Hour // before its end a key is said to end
	Lately     = 14 * 24 * time.Hour // after its end one that was in use is said to have ended
	FormerSoon = 48 * time.Hour      // as Soon, for former values: they are meant to end
	InUse      = 24 * time.Hour      // a key is in use that was used within this time before
)

// Key is what is known of a key.
type Key struct {
	Kind     string // as in [Concern]
	Function string
	Name     string
	Meta     accesskey.Meta
	Used     time.Time // last; zero: not known
	Refused  time.Time // when it was presented last and did not work; zero: not known
	// FormerUsed is when one of Meta.Former was used last; zero: not known.
	FormerUsed time.Time
}

// OfKeys gives what is to be looked at of the keys of an app, and when that will
// change by itself; the zero time is never.
func OfKeys(keys []Key, now time.Time) (found []Concern, next time.Time) {
	at := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, k := range keys {
		if k.Meta.Disabled {
			continue
		}
		c, changes := k.concern(now)
		if c.Kind != "" {
			found = append(found, c)
		}
		for _, t := range changes {
			at(t)
		}
		for _, f := range k.Meta.Former {
			former := Key{Kind: k.Kind, Name: accesskey.RetiredName(k.Name, f.Expires), Meta: accesskey.Meta{Expires: f.Expires, Retires: k.Name}, Used: k.FormerUsed}
			c, changes := former.concern(now)
			if c.Kind != "" {
				found = append(found, c)
			}
			for _, t := range changes {
				at(t)
			}
		}
	}
	return found, next
}

// concern gives what is to be looked at, if it has a kind, and when that can change.
func (k Key) concern(now time.Time) (c Concern, changes []time.Time) {
	ends := k.Meta.Expires
	former := k.Meta.Retires != ""
	if base, until, ok := accesskey.ParseRetiredName(k.Name); ok {
		former = true
		if k.Meta.Retires == "" {
			k.Meta.Retires = base
		}
		if ends.IsZero() || until.Before(ends) {
			ends = until
		}
	}
	if ends.IsZero() {
		return c, nil
	}
	c = Concern{Name: k.Name, KeyKind: k.Kind, Function: k.Function, At: ends, LastUsed: k.Used, Refused: k.Refused}
	switch {
	case former && now.Before(ends):
		changes = []time.Time{ends.Add(-FormerSoon), ends, k.Used.Add(InUse)}
		if ends.Sub(now) <= FormerSoon && !k.Used.IsZero() && now.Sub(k.Used) <= InUse {
			c.Kind = FormerInUse
		}
	case now.Before(ends):
		changes = []time.Time{ends.Add(-Soon), ends}
		if ends.Sub(now) <= Soon {
			c.Kind = KeyEnds
		}
	default:
		changes = []time.Time{ends.Add(Lately)}
		used := !k.Used.IsZero() && ends.Sub(k.Used) <= InUse || k.Refused.After(ends)
		if used && now.Sub(ends) <= Lately {
			c.Kind = KeyEnded
		}
	}
	return c, changes
}
