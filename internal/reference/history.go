package reference

import (
	"slices"
	"time"
)

const (
	// MaxChanges is the most changes that are kept of a reference.
	MaxChanges = 20
	// allChanges is the most that are kept of all references of an app, so that its
	// document stays small; each reference has at least the last one.
	allChanges = 160
	// maxReason bounds the bytes of what a change says.
	maxReason = 300
)

// Change is a change of how a reference stood: of its status, or of the version in
// use. Attempts that found nothing new are none.
type Change struct {
	Time    time.Time `json:"time"`
	Status  Status    `json:"status"`            // from then on
	Version string    `json:"version,omitempty"` // in use from then on; "" for none
	Why     string    `json:"why,omitempty"`     // the reason of a failure
}

// remember adds an event to the changes of its reference, the oldest first.
func remember(changes []Change, e Event) []Change {
	return append(slices.Clip(changes), Change{e.Time.UTC(), e.To, e.Version, shorten(e.Why, maxReason)})
}

// forget leaves out of the changes of a reference those that are too old to be kept
// beside those of so many others.
func forget(changes []Change, references int) []Change {
	most := min(MaxChanges, max(1, allChanges/max(references, 1)))
	return changes[max(0, len(changes)-most):]
}

// recent gives changes with the newest first.
func recent(changes []Change) []Change {
	list := slices.Clone(changes)
	slices.Reverse(list)
	return list
}
