package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Purge removes a deleted vault and its secrets for good. problem.NotFound as for
// GetDeleted; problem.Denied with PurgeNotAllowed under purge protection. After an
// interruption the vault cannot be recovered any more, and Purge or PurgeExpired
// goes on.
func (vs *Vaults) Purge(ctx context.Context, subscription, location, name string) error {
	d, err := vs.readDeleted(ctx, subscription, name)
	if err != nil {
		return err
	}
	if d.vault.Location != normalLocation(location) {
		return notDeleted(name)
	}
	if d.vault.PurgeProtected && !d.gone(vs.clock.Now()) {
		return problem.Wrap(problem.Denied, fmt.Sprintf("vault %q is protected from being purged until %s", d.vault.Name, d.PurgeAt.Format(time.RFC3339)), PurgeNotAllowed).
			WithNext("wait until then: it is purged by itself")
	}
	return vs.purge(ctx, d)
}

// makeFree makes a deleted vault's name free if its time is over, else it says why
// the name cannot be used.
func (vs *Vaults) makeFree(ctx context.Context, n named) error {
	id := n.id()
	d, err := vs.readDeleted(ctx, id.Subscription(), id.Name())
	if errors.Is(err, problem.NotFound) {
		return inventory.ErrStale
	}
	if err != nil {
		return err
	}
	if !d.gone(vs.clock.Now()) {
		return inventory.Final(problem.Wrap(problem.Conflict, "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault.", NameDeleted))
	}
	if err := vs.purge(ctx, d); err != nil {
		return err
	}
	return inventory.ErrStale
}

// purge marks a vault first, then empties it, then forgets it and its name.
func (vs *Vaults) purge(ctx context.Context, d deleted) error {
	if !d.Purging {
		d.Purging = true
		mark, err := d.put(d.revision)
		if err != nil {
			return err
		}
		if d.revision, err = vs.store.Write(ctx, mark); err != nil {
			return err
		}
	}
	for _, hook := range vs.onPurge {
		if err := hook(ctx, d.vault.UID); err != nil {
			return fmt.Errorf("vault %q is not purged completely yet: %w", d.vault.Name, err)
		}
	}
	closed, err := json.Marshal(closing{Purged: vs.clock.Now().UTC()})
	if err != nil {
		return err
	}
	id := d.vault.ID
	_, err = vs.store.Write(ctx, state.Delete(deletedKey(id.Subscription(), id.Name()), d.revision),
		state.Delete(nameKey(id.Name()), state.Any), state.Put(closedKey(d.vault.UID), closed, state.Any))
	if errors.Is(err, state.ErrConflict) {
		return nil // somebody else has just done it
	}
	return err
}

// closing is the value of the mark that a vault is closed.
type closing struct {
	Purged time.Time `json:"purged,omitzero"`
}

// closedFor is how long the mark of a purged vault stays: longer than any request
// that began before could take.
const closedFor = 24 * time.Hour

// pageSize is how many documents are read at a time.
const pageSize = 100

// PurgeExpired purges deleted vaults whose time is over, and goes on with purges
// that were interrupted. It tries all and gives the errors of those that failed.
// Call it now and then, on one node.
func (vs *Vaults) PurgeExpired(ctx context.Context) error {
	now := vs.clock.Now()
	var failed []error
	err := vs.each(ctx, deletedPrefix, func(doc state.Document) {
		d, err := decodeDeleted(doc)
		if err == nil && d.gone(now) {
			err = vs.purge(ctx, d)
		}
		if err != nil && !errors.Is(err, state.ErrConflict) { // it was recovered or purged meanwhile
			failed = append(failed, err)
		}
	})
	failed = append(failed, err, vs.each(ctx, closedPrefix, func(doc state.Document) {
		var c closing
		if json.Unmarshal(doc.Value, &c) == nil && !c.Purged.IsZero() && now.Sub(c.Purged) >= closedFor {
			_, err := vs.store.Write(ctx, state.Delete(doc.Key, doc.Revision))
			failed = append(failed, err)
		}
	}))
	return errors.Join(failed...)
}

func (vs *Vaults) each(ctx context.Context, prefix state.Key, do func(state.Document)) error {
	page := state.Page{Limit: pageSize}
	for {
		listing, err := vs.store.List(ctx, prefix, page)
		if err != nil {
			return err
		}
		for _, doc := range listing.Documents {
			do(doc)
			page.After = doc.Key
		}
		if !listing.More {
			return nil
		}
	}
}
