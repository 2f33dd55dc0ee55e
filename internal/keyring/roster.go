package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Roster is where a ring keeps, outside the key store, which functions the app
// has and since when others are gone. It holds names and times only. All nodes
// that serve an app share one. It must be safe for concurrent use.
type Roster interface {
	// Read gives what is kept, nil when there is nothing.
	Read(ctx context.Context) ([]byte, error)
	// Revise replaces what is kept by what change makes of it, atomically. change
	// may run more than once; its error is returned (wrapped) and nothing is
	// written.
	Revise(ctx context.Context, change func(old []byte) ([]byte, error)) error
}

// Quarantine is the time that the keys of a function that is gone are kept.
type Quarantine struct {
	Function     string
	Since, Until time.Time
}

// claimFor is how long a node that removes keys has for it before another may.
const claimFor = time.Minute

// tenure says whether a function is there, by its document.
type tenure struct {
	Name string    `json:"name"`
	Gone time.Time `json:"gone,omitzero"` // since when; zero: it is there
	// Revision is that of the document while the function is gone: keys that
	// somebody else wrote since then are somebody's.
	Revision keystore.Revision `json:"revision,omitempty"`
	Purging  time.Time         `json:"purging,omitzero"` // when a node set out to remove the keys
}

func (t tenure) gone() bool { return !t.Gone.IsZero() }

// claimed reports whether a node may be removing the keys. A claim from what is
// the future since the clock was set back counts no more.
func (t tenure) claimed(now time.Time) bool {
	age := now.Sub(t.Purging)
	return !t.Purging.IsZero() && age < claimFor && age > -claimFor
}

// expired reports whether the keys of before are no longer to be used.
func (r *Ring) expired(t tenure, now time.Time) bool {
	return t.gone() && (t.claimed(now) || !now.Before(t.Gone.Add(r.cfg.Limits.GoneKept)))
}

// tenures is the form of what is kept.
type tenures map[keystore.Doc]tenure

func parseTenures(data []byte) (tenures, error) {
	t := tenures{}
	if len(data) > 0 && (json.Unmarshal(data, &t) != nil || t == nil) {
		return nil, problem.New(problem.Undecryptable, "what is kept about the functions of the app cannot be understood")
	}
	return t, nil
}

// revise changes what is kept and gives what it is then. A change that returns
// false leaves it as it is.
func (r *Ring) revise(ctx context.Context, change func(tenures) bool) (kept tenures, err error) {
	err = r.cfg.Roster.Revise(ctx, func(old []byte) ([]byte, error) {
		if kept, err = parseTenures(old); err != nil {
			return nil, err
		}
		if !change(kept) {
			return nil, errKeep
		}
		return json.Marshal(kept)
	})
	if errors.Is(err, errKeep) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	r.functions.keep(kept)
	return kept, nil
}

// muster enters the functions the app has now: those that are not among them any
// more are gone from now on; those that are back in time are there again. Those
// that are back too late stay gone until their old keys are removed.
func (r *Ring) muster(kept tenures, current map[keystore.Doc]string, now time.Time) (left, back []tenure, changed bool) {
	for doc, name := range current {
		t, had := kept[doc]
		if had && (!t.gone() || r.expired(t, now)) {
			continue
		}
		if had {
			back = append(back, t)
		}
		kept[doc], changed = tenure{Name: name}, true
	}
	for doc, t := range kept {
		if _, here := current[doc]; here || t.gone() {
			continue
		}
		t.Gone = now.UTC().Truncate(time.Second)
		kept[doc], left = t, append(left, t)
	}
	return left, back, changed || len(left) > 0
}

// Quarantined gives the functions that are gone and whose keys are kept, by name.
// Those are not among them whose keys somebody has removed: who then asked for
// them would have new ones made.
func (r *Ring) Quarantined(ctx context.Context) ([]Quarantine, error) {
	if r.cfg.Roster == nil {
		return nil, nil
	}
	data, err := r.cfg.Roster.Read(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := parseTenures(data)
	if err != nil {
		return nil, err
	}
	docs, err := r.cfg.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []Quarantine
	for doc, t := range kept {
		if t.gone() && slices.Contains(docs, doc) {
			list = append(list, Quarantine{Function: t.Name, Since: t.Gone, Until: t.Gone.Add(r.cfg.Limits.GoneKept)})
		}
	}
	slices.SortFunc(list, func(a, b Quarantine) int { return strings.Compare(a.Function, b.Function) })
	return list, nil
}
