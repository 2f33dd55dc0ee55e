package keyring

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// KeyRef names a key of an app.
type KeyRef struct {
	Kind     accesskey.Kind
	Function string // in lower case, with accesskey.Function only
	Name     string // as stored; the master key's is accesskey.MasterName
}

// Section gives the section that the key is in.
func (k KeyRef) Section() Section { return Section{Kind: k.Kind, Function: k.Function} }

// AddressClass says from what kind of address a key was used. Addresses
// themselves are not kept.
type AddressClass uint8

const (
	UnknownAddress AddressClass = iota
	Loopback
	Private // private and link-local networks
	Public
)

var classNames = [...]string{"unknown", "loopback", "private", "public"}

// String gives the class's name.
func (c AddressClass) String() string { return classNames[c&3] }

func classOf(a netip.Addr) AddressClass {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return UnknownAddress
	case a.IsLoopback():
		return Loopback
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return Private
	}
	return Public
}

// Used is what was used of a quota in the period that began at Start.
type Used struct {
	Start time.Time
	Count int64
}

// Use says how a key has been used, by requests that it was allowed for.
type Use struct {
	Key KeyRef
	// Since is when the value that is counted was made, by which all nodes tell it
	// from earlier ones. It is zero for keys whose metadata does not say; their
	// counts go on when the value changes.
	Since time.Time
	Count int64
	Last  time.Time // zero: never
	From  AddressClass
	Quota Used // of the key's name, whatever its value
}

// Merge adds what was counted elsewhere. Counts are those of the latest value and
// the latest period; older ones are dropped.
func (u Use) Merge(more Use) Use {
	u.Quota = u.Quota.merge(more.Quota)
	switch {
	case more.Since.After(u.Since):
		more.Key, more.Quota = u.Key, u.Quota
		return more
	case more.Since.Before(u.Since):
		return u
	}
	u.Count += more.Count
	if more.Last.After(u.Last) {
		u.Last, u.From = more.Last, more.From
	}
	return u
}

func (u Used) merge(more Used) Used {
	switch {
	case more.Start.After(u.Start):
		return more
	case more.Start.Equal(u.Start):
		u.Count += more.Count
	}
	return u
}

// UsageStore is where uses are kept over restarts and, where several nodes serve
// an app, summed up. It is never the key store: documents there are shared with
// others and read again whenever they change. It must be safe for concurrent use.
type UsageStore interface {
	// Load gives all that is kept for the app.
	Load(ctx context.Context) ([]Use, error)
	// Add merges uses into what is kept, see [Use.Merge], in as few writes as
	// possible, and gives the sums for the same keys in the same order. The ring
	// calls it at most once per Limits.UsageEvery, and once more when it closes.
	Add(ctx context.Context, uses []Use) ([]Use, error)
}

// tally counts the uses of one value under one name.
type tally struct {
	ref    KeyRef
	digest digest // of the value that is counted
	since  time.Time
	ledger atomic.Pointer[ledger] // of the name; nil for former values and keys without limits
	count  atomic.Int64           // since the ring's birth
	last   atomic.Int64           // Unix nanoseconds; the last two bits are the address class

	sent int64 // of count, handed over; guarded by Ring.flushing
}

func (t *tally) hit(now time.Time, from netip.Addr) {
	t.count.Add(1)
	t.last.Store(now.UnixNano()&^3 | int64(classOf(from)))
}

// pending gives what has not been handed over, and whether there is anything.
// Callers hold Ring.flushing.
func (t *tally) pending() (u Use, quota Used, any bool) {
	u = Use{Key: t.ref, Since: t.since, Count: t.count.Load() - t.sent}
	if last := t.last.Load(); last != 0 {
		u.Last, u.From = time.Unix(0, last&^3).UTC(), AddressClass(last&3)
	}
	if l := t.ledger.Load(); l != nil {
		quota = l.used()
		u.Quota = quota
		if quota.Start.Equal(l.sent.Start) {
			u.Quota.Count -= l.sent.Count
		}
	}
	return u, quota, u.Count > 0 || u.Quota.Count > 0
}
