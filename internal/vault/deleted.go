package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefixes of the state's keys: deleted vaults, by subscription and name, and marks
// that nothing may be written into a vault any more, by UID.
const (
	deletedPrefix state.Key = "/vault-deleted/"
	closedPrefix  state.Key = "/vault-closed/"
)

func closedKey(uid string) state.Key { return closedPrefix + state.Key(uid) }

func deletedBelow(subscription string) state.Key {
	return deletedPrefix + state.Key(strings.ToLower(subscription)) + "/"
}

func deletedKey(subscription, name string) state.Key {
	return deletedBelow(subscription) + state.Key(strings.ToLower(name))
}

// deleted is the document of a deleted vault.
type deleted struct {
	Resource  inventory.Resource `json:"resource"`
	DeletedAt time.Time          `json:"deletedAt"`
	PurgeAt   time.Time          `json:"purgeAt"`
	DeletedBy string             `json:"deletedBy,omitempty"`
	Purging   bool               `json:"purging,omitempty"` // that has begun: it cannot be recovered any more

	vault    Vault
	revision state.Revision
}

// gone reports whether the vault cannot be recovered any more.
func (d deleted) gone(now time.Time) bool { return d.Purging || !now.Before(d.PurgeAt) }

func (d deleted) public() Deleted {
	return Deleted{Vault: d.vault, DeletedAt: d.DeletedAt, PurgeAt: d.PurgeAt}
}

func (d deleted) put(cond state.Revision) (state.Op, error) {
	text, err := json.Marshal(d)
	id := d.Resource.ResourceID()
	return state.Put(deletedKey(id.Subscription(), id.Name()), text, cond), err
}

func decodeDeleted(doc state.Document) (d deleted, err error) {
	if err := json.Unmarshal(doc.Value, &d); err != nil {
		return d, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", doc.Key), err)
	}
	d.revision = doc.Revision
	d.vault, err = FromResource(d.Resource)
	return d, err
}

// Delete deletes a vault so that it can be recovered until its retention ends: its
// name stays taken and its secrets stay where they are, out of reach.
// problem.NotFound if there is no such vault.
func (vs *Vaults) Delete(ctx context.Context, id resource.ID, by string) (d Deleted, err error) {
	err = vs.change(ctx, id, func(n named) error {
		d, err = vs.deleteOnce(ctx, id, by, n)
		return err
	})
	return d, err
}

func (vs *Vaults) deleteOnce(ctx context.Context, id resource.ID, by string, n named) (Deleted, error) {
	v, err := vs.Get(ctx, id)
	if err != nil {
		return Deleted{}, err
	}
	for _, hook := range vs.onDelete {
		if err := hook(ctx, v); err != nil {
			return Deleted{}, inventory.Final(fmt.Errorf("vault %q is not deleted: %w", v.Name, err))
		}
	}
	now := vs.clock.Now().UTC()
	d := deleted{Resource: v.Resource, DeletedAt: now, DeletedBy: by, PurgeAt: now.AddDate(0, 0, v.RetentionDays), vault: v}
	put, err := d.put(state.Absent)
	if err != nil {
		return Deleted{}, err
	}
	n.naming.Deleted = true
	name, err := n.put(n.revision)
	if err != nil {
		return Deleted{}, err
	}
	if err := vs.inv.Delete(ctx, id, name, put, state.Put(closedKey(v.UID), []byte("{}"), state.Any)); err != nil {
		return Deleted{}, err
	}
	vs.known.settle(ctx, func(w *view) bool { return !w.has(v) })
	return d.public(), nil
}

// DeleteWithin deletes all vaults of a resource group, as Delete does.
func (vs *Vaults) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	found, _, err := vs.inv.List(ctx, Type, group, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if _, err := vs.Delete(ctx, r.ResourceID(), by); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}

// Deleted lists the deleted vaults of a subscription in order of their names, at
// most limit (0: all) after a name ("" from the first); next is the name to go on
// after, "" at the end. A page can have fewer though there are more.
func (vs *Vaults) Deleted(ctx context.Context, subscription, after string, limit int) (list []Deleted, next string, err error) {
	page := state.Page{Limit: limit}
	if after != "" {
		page.After = deletedKey(subscription, after)
	}
	listing, err := vs.store.List(ctx, deletedBelow(subscription), page)
	if err != nil {
		return nil, "", err
	}
	list = make([]Deleted, 0, len(listing.Documents))
	now := vs.clock.Now()
	for _, doc := range listing.Documents {
		d, err := decodeDeleted(doc)
		if err != nil {
			return nil, "", err
		}
		if !d.gone(now) {
			list = append(list, d.public())
		}
		next = d.vault.key()
	}
	if !listing.More {
		next = ""
	}
	return list, next, nil
}

// GetDeleted reads a deleted vault; problem.NotFound with DeletedNotFound if there
// is none of the name in the location.
func (vs *Vaults) GetDeleted(ctx context.Context, subscription, location, name string) (Deleted, error) {
	d, err := vs.readDeleted(ctx, subscription, name)
	if err != nil {
		return Deleted{}, err
	}
	if d.vault.Location != normalLocation(location) || d.gone(vs.clock.Now()) {
		return Deleted{}, notDeleted(name)
	}
	return d.public(), nil
}

func (vs *Vaults) readDeleted(ctx context.Context, subscription, name string) (deleted, error) {
	if CheckName(name) != nil {
		return deleted{}, notDeleted(name)
	}
	doc, err := vs.store.Get(ctx, deletedKey(subscription, name))
	if errors.Is(err, state.ErrNotFound) {
		return deleted{}, notDeleted(name)
	}
	if err != nil {
		return deleted{}, err
	}
	return decodeDeleted(doc)
}

func notDeleted(name string) error {
	return problem.Wrap(problem.NotFound, fmt.Sprintf("there is no deleted vault %q", clip(name)), DeletedNotFound)
}

// Recover undoes Delete, id being what the vault had. problem.NotFound if it is
// not deleted, is being purged, or its resource group is gone.
func (vs *Vaults) Recover(ctx context.Context, id resource.ID, by string) (Vault, error) {
	return inventory.Retry(ctx, "vault", id, func() (Vault, error) { return vs.recoverOnce(ctx, id, by) })
}

func (vs *Vaults) recoverOnce(ctx context.Context, id resource.ID, by string) (Vault, error) {
	d, err := vs.readDeleted(ctx, id.Subscription(), id.Name())
	if err != nil {
		return Vault{}, err
	}
	if !d.vault.ID.Equal(id) || d.gone(vs.clock.Now()) {
		return Vault{}, notDeleted(id.Name())
	}
	in, err := vs.inv.Enter(ctx, id)
	if err != nil {
		return Vault{}, inventory.Final(err)
	}
	name, err := naming{ID: d.Resource.ID, UID: d.vault.UID}.put(state.Any)
	if err != nil {
		return Vault{}, err
	}
	return vs.write(ctx, d.vault.ID, by, func(_ inventory.Resource, exists bool) (inventory.Resource, error) {
		if exists {
			return inventory.Resource{}, inventory.ErrStale
		}
		return d.Resource, nil
	}, in, name, state.Delete(deletedKey(id.Subscription(), id.Name()), d.revision), state.Delete(closedKey(d.vault.UID), state.Any))
}
