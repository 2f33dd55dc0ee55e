package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

const maxRetention = 90 // days

// Vaults keeps vaults. It is safe for concurrent use; several nodes may share one
// state: each follows what the others write.
type Vaults struct {
	inv      *inventory.Inventory
	store    state.Store
	clock    clock.Clock
	log      *slog.Logger
	roles    Roles
	onDelete []func(ctx context.Context, v Vault) error
	onPurge  []func(ctx context.Context, uid string) error
	known    view
}

// New gives vaults; [Vaults.ByName] knows none until [Vaults.Run] has read the
// state.
func New(c Config) *Vaults {
	vs := &Vaults{
		inv: c.Inventory, store: c.Inventory.Store, clock: c.Inventory.Clock, log: c.Log, roles: c.Roles,
		onDelete: c.OnDelete, onPurge: c.OnPurge,
	}
	if vs.log == nil {
		vs.log = slog.Default()
	}
	vs.known.change = make(chan struct{})
	return vs
}

// Put creates a vault or replaces its properties; what cannot be changed stays
// when the spec does not say it. With the create mode "recover" it recovers a
// deleted vault and the rest of the spec does not count. Errors: problem.Invalid
// naming the member, problem.NotFound when the resource group is not there,
// problem.Exists with NameTaken, problem.Conflict with NameDeleted or
// LocationFixed.
func (vs *Vaults) Put(ctx context.Context, id resource.ID, by string, s Spec) (v Vault, created bool, err error) {
	if err := CheckName(id.Name()); err != nil {
		return Vault{}, false, err
	}
	v, err = inventory.Retry(ctx, "vault", id, func() (v Vault, err error) {
		v, created, err = vs.putOnce(ctx, id, by, s)
		return v, err
	})
	return v, created && err == nil, err
}

func (vs *Vaults) putOnce(ctx context.Context, id resource.ID, by string, s Spec) (Vault, bool, error) {
	n, err := vs.named(ctx, id.Name())
	switch {
	case err != nil:
		return Vault{}, false, err
	case n.revision == state.Absent && s.Recover:
		return Vault{}, false, notDeleted(id.Name())
	case n.revision == state.Absent:
		v, err := vs.create(ctx, id, by, s, state.Absent)
		return v, true, err
	case n.Deleted && s.Recover:
		v, err := vs.recoverOnce(ctx, id, by)
		return v, true, err
	case n.Deleted:
		return Vault{}, false, vs.makeFree(ctx, n)
	}
	if v, err := vs.Get(ctx, n.id()); errors.Is(err, problem.NotFound) {
		v, err = vs.create(ctx, id, by, s, n.revision) // its documents went with the group's, say
		return v, true, err
	} else if err != nil || n.is(id) && s.Recover {
		return v, false, err
	}
	if !n.is(id) {
		return Vault{}, false, taken(id.Name())
	}
	v, err := vs.edit(ctx, id, by, n, func(r *inventory.Resource, had properties) (properties, error) {
		if err := s.said.complete(); err != nil {
			return had, err
		}
		r.Tags = s.Tags
		return s.said.over(had.lasting()).over(defaults()), nil
	}, s)
	return v, false, err
}

// Patch changes what the spec says: members are merged, lists are replaced.
// problem.NotFound if there is no such vault; other errors are those of Put.
func (vs *Vaults) Patch(ctx context.Context, id resource.ID, by string, s Spec) (v Vault, err error) {
	err = vs.change(ctx, id, func(n named) error {
		v, err = vs.edit(ctx, id, by, n, func(r *inventory.Resource, had properties) (properties, error) {
			if s.Tags != nil {
				r.Tags = s.Tags
			}
			return s.said.over(had), nil
		}, s)
		return err
	})
	return v, err
}

// ChangePolicies changes some of the access policies and leaves the others alone.
// problem.Invalid for an unknown change, problem.NotFound if there is no such
// vault.
func (vs *Vaults) ChangePolicies(ctx context.Context, id resource.ID, by string, how PolicyChange, policies []Policy) (v Vault, err error) {
	err = vs.change(ctx, id, func(n named) error {
		v, err = vs.edit(ctx, id, by, n, func(_ *inventory.Resource, had properties) (properties, error) {
			list, err := how.apply(or(had.Policies, nil), policies)
			had.Policies = &list
			return had, err
		}, Spec{})
		return err
	})
	return v, err
}

// change runs a change of a vault that is there.
func (vs *Vaults) change(ctx context.Context, id resource.ID, do func(named) error) error {
	_, err := inventory.Retry(ctx, "vault", id, func() (none struct{}, err error) {
		n, err := vs.named(ctx, id.Name())
		if err != nil {
			return none, err
		}
		if !n.is(id) || n.Deleted {
			return none, notFound(id)
		}
		return none, do(n)
	})
	return err
}

// create makes a vault whose name is free, or stands for nothing as of a revision.
func (vs *Vaults) create(ctx context.Context, id resource.ID, by string, s Spec, name state.Revision) (Vault, error) {
	if err := s.said.complete(); err != nil {
		return Vault{}, err
	}
	if s.Location == "" {
		return Vault{}, invalid("location", "is missing")
	}
	text, err := s.said.over(defaults()).json()
	if err != nil {
		return Vault{}, err
	}
	in, err := vs.inv.Enter(ctx, id)
	if err != nil {
		return Vault{}, inventory.Final(err)
	}
	uid := uuid.NewString()
	index, err := naming{ID: id.String(), UID: uid}.put(name)
	if err != nil {
		return Vault{}, err
	}
	private, err := json.Marshal(private{UID: uid})
	if err != nil {
		return Vault{}, err
	}
	return vs.write(ctx, id, by, func(_ inventory.Resource, exists bool) (inventory.Resource, error) {
		if exists {
			return inventory.Resource{}, inventory.ErrStale
		}
		return inventory.Resource{Location: s.Location, Tags: s.Tags, Properties: text, Private: private}, nil
	}, in, index)
}

// edit changes a vault that is there, by what its properties had.
func (vs *Vaults) edit(ctx context.Context, id resource.ID, by string, n named, change func(r *inventory.Resource, had properties) (properties, error), s Spec) (Vault, error) {
	name, err := n.put(n.revision)
	if err != nil {
		return Vault{}, err
	}
	return vs.write(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, notFound(id)
		}
		if s.Location != "" && s.Location != old.Location {
			return old, inventory.Final(problem.Wrap(problem.Conflict, fmt.Sprintf("vault %q is in %s and cannot be moved to %s", id.Name(), old.Location, s.Location), LocationFixed))
		}
		if err := s.allowed(old); err != nil {
			return old, err
		}
		var had properties
		if err := json.Unmarshal(old.Properties, &had); err != nil {
			return old, problem.Wrap(problem.Undecryptable, fmt.Sprintf("vault %q cannot be understood", id.Name()), err)
		}
		if err := s.said.fits(had); err != nil {
			return old, err
		}
		next := old
		said, err := change(&next, had)
		if err != nil {
			return old, err
		}
		if next.Properties, err = said.json(); err != nil {
			return old, err
		}
		if bytes.Equal(next.Properties, old.Properties) && maps.Equal(next.Tags, old.Tags) {
			return old, state.ErrUnchanged
		}
		return next, nil
	}, name)
}

// write stores a vault and waits until this node knows it.
func (vs *Vaults) write(ctx context.Context, id resource.ID, by string, change inventory.Change, also ...state.Op) (Vault, error) {
	resets := vs.known.resetCount()
	r, _, err := vs.inv.Write(ctx, id, by, change, also...)
	if err != nil {
		return Vault{}, err
	}
	v, err := FromResource(r)
	if err == nil {
		vs.known.settle(ctx, func(w *view) bool { return w.seen >= r.Revision || w.resets > resets })
	}
	return v, err
}

// Get reads a vault; problem.NotFound if there is none, or it is deleted.
func (vs *Vaults) Get(ctx context.Context, id resource.ID) (Vault, error) {
	r, err := vs.inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return Vault{}, notFound(id)
	}
	if err != nil {
		return Vault{}, err
	}
	return FromResource(r)
}

// List gives the vaults within a scope in order of their ids, at most limit (0:
// all) after the one whose key is given ("" from the first). next is the key to
// go on after, "" at the end.
func (vs *Vaults) List(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []Vault, next state.Key, err error) {
	found, next, err := vs.inv.List(ctx, Type, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	list = make([]Vault, len(found))
	for i, r := range found {
		if list[i], err = FromResource(r); err != nil {
			return nil, "", err
		}
	}
	return list, next, nil
}

// NameFree reports whether no vault, deleted ones included, has a name. It says
// nothing of whether the name is valid, see [CheckName].
func (vs *Vaults) NameFree(ctx context.Context, name string) (bool, error) {
	if CheckName(name) != nil {
		return true, nil // no vault can have it
	}
	n, err := vs.named(ctx, name)
	return err == nil && n.revision == state.Absent, err
}

// taken does not say where the other vault is: whoever makes one need not see that.
func taken(name string) error {
	return problem.Wrap(problem.Exists, fmt.Sprintf("the vault name '%s' is already in use", name), NameTaken).
		WithNext("choose another name: vault names are unique in this installation, also those of vaults you do not see")
}

func notFound(id resource.ID) error {
	return problem.Wrap(problem.NotFound, fmt.Sprintf("there is no vault %q", id.Name()), VaultNotFound)
}

// names has what every name stands for. All writes of a vault write its name too,
// on condition that nobody else did, so that they come one after the other.
const names state.Key = "/vault-names/"

func nameKey(name string) state.Key { return names + state.Key(strings.ToLower(name)) }

// naming is what a name stands for.
type naming struct {
	ID      string `json:"id"`
	UID     string `json:"uid"`
	Deleted bool   `json:"deleted,omitempty"`
}

type named struct {
	naming
	revision state.Revision // state.Absent when the name is free
}

func (n naming) id() resource.ID {
	id, _ := resource.Parse(n.ID) // it was valid when it was stored
	return id
}

func (n named) is(id resource.ID) bool { return n.revision != state.Absent && n.id().Equal(id) }

func (n naming) put(cond state.Revision) (state.Op, error) {
	text, err := json.Marshal(n)
	return state.Put(nameKey(n.id().Name()), text, cond), err
}

// named reads what a name stands for.
func (vs *Vaults) named(ctx context.Context, name string) (named, error) {
	doc, err := vs.store.Get(ctx, nameKey(name))
	if errors.Is(err, state.ErrNotFound) {
		return named{}, nil
	}
	if err != nil {
		return named{}, err
	}
	n := named{revision: doc.Revision}
	if err := json.Unmarshal(doc.Value, &n.naming); err != nil {
		return named{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", doc.Key), err)
	}
	return n, nil
}
