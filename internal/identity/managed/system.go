package managed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Own is the prefix of the documents that name the principal of a resource's own
// identity, by the resource's id in lower case. Each is written and removed
// together with its principal.
const Own state.Key = "/system-identities/"

// ownRecord names a principal.
type ownRecord struct {
	ObjectID string `json:"objectId"`
	// Created is when the resource was made, which tells it from an earlier one of
	// the same id.
	Created time.Time `json:"created"`
}

func ownName(id resource.ID) string { return strings.TrimPrefix(id.Key(), "/") }

// Ensure makes or deletes the identity of a resource's own as its stored block
// asks for, and gives the block with the ids of its principal. The resource must
// be in the inventory; if its block has been changed since block was written, what
// is stored counts. It can be called again at any time, also after an
// interruption. User-assigned identities stay bound, or unbound, as they are.
// Errors: problem.NotFound without the resource, problem.Conflict when others kept
// changing it, and those of the hook.
func (s *Identities) Ensure(ctx context.Context, id resource.ID, _ json.RawMessage) (json.RawMessage, error) {
	for try := range attempts {
		r, err := s.cfg.Inventory.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		block, err := Parse(r.Identity)
		if err != nil {
			return nil, err
		}
		own, settled, err := s.settle(ctx, r, block.System())
		if err != nil {
			return nil, err
		}
		if settled {
			return s.filled(block, own)
		}
		if err := pause(ctx, try); err != nil {
			return nil, err
		}
	}
	return nil, contended(fmt.Sprintf("the identity of %q", id.Name()))
}

// filled gives a block with the ids of its own principal. Those of user-assigned
// identities are [Identities.Merge]'s, whose caller asks whether they may be given:
// one without is an identity that was not there when it was assigned, and what has
// come under its id since is another's.
func (s *Identities) filled(block Block, own identity.Principal) (json.RawMessage, error) {
	block.PrincipalID, block.TenantID = nil, nil
	if block.System() {
		block.PrincipalID, block.TenantID = &own.ObjectID, &s.cfg.TenantID
	}
	return json.Marshal(block)
}

// settle does one step towards what a resource is to have. It is settled when
// there is nothing more to do; own is the principal then, if there is to be one.
func (s *Identities) settle(ctx context.Context, r inventory.Resource, wanted bool) (own identity.Principal, settled bool, err error) {
	id := r.ResourceID()
	item, err := s.own.Get(ctx, ownName(id))
	if errors.Is(err, state.ErrNotFound) {
		if !wanted {
			return own, true, nil
		}
		return s.create(ctx, r)
	}
	if err != nil {
		return own, false, err
	}
	if wanted && item.Value.Created.Equal(r.Created) {
		own, err = s.Principal(ctx, item.Value.ObjectID)
		if err == nil || !errors.Is(err, problem.NotFound) {
			return own, err == nil, err
		}
	}
	gone, err := s.drop(ctx, item)
	return identity.Principal{}, gone && !wanted, err
}

// create makes the principal, unless the resource is changed meanwhile: it may
// have lost its identity, or be gone.
func (s *Identities) create(ctx context.Context, r inventory.Resource) (own identity.Principal, made bool, err error) {
	id := r.ResourceID()
	p := identity.Principal{ObjectID: uuid.NewString(), Name: nameOf(id), Kind: identity.ManagedIdentity, ResourceID: r.ID}
	op, err := s.own.Put(ownName(id), ownRecord{p.ObjectID, r.Created}, state.Absent)
	if err != nil {
		return own, false, err
	}
	own, err = s.cfg.Directory.Create(ctx, p, op, state.Check(inventory.Key(id), r.Revision))
	if errors.Is(err, state.ErrConflict) {
		return identity.Principal{}, false, nil
	}
	return own, err == nil, err
}

// drop deletes a principal and the document that names it; gone is false if others
// were faster.
func (s *Identities) drop(ctx context.Context, item state.Item[ownRecord]) (gone bool, err error) {
	if err := s.cfg.OnDelete(ctx, item.Value.ObjectID); err != nil {
		return false, err
	}
	op := state.Delete(s.own.Key(item.Name), item.Revision)
	err = s.cfg.Directory.Delete(ctx, item.Value.ObjectID, op)
	if errors.Is(err, problem.NotFound) {
		_, err = s.own.Store.Write(ctx, op)
	}
	if errors.Is(err, state.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// Remove deletes the identity of a resource's own, for when the resource is
// deleted. It succeeds if there is none. Errors are those of the hook.
func (s *Identities) Remove(ctx context.Context, id resource.ID) error {
	for try := range attempts {
		item, err := s.own.Get(ctx, ownName(id))
		if errors.Is(err, state.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if gone, err := s.drop(ctx, item); gone || err != nil {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	return contended(fmt.Sprintf("the identity of %q", id.Name()))
}

// FinishDeletes removes the identities of resources that are no more, which a
// change of a resource at the moment of its deletion can leave. It tries all of
// them and gives the errors of those that failed.
func (s *Identities) FinishDeletes(ctx context.Context) error {
	items, err := s.own.List(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, item := range items {
		id, err := resource.Parse("/" + item.Name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		r, err := s.cfg.Inventory.Get(ctx, id)
		if errors.Is(err, problem.NotFound) || err == nil && !r.Created.Equal(item.Value.Created) {
			_, err = s.drop(ctx, item)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("the identity of %q: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

// EnsureAll makes the identities of resources' own that their blocks ask for and
// that are not there: an interruption between the write of a resource and Ensure
// leaves such, and so do versions that stored blocks alone. It tries all of them and
// gives the errors of those that failed.
func (s *Identities) EnsureAll(ctx context.Context) error {
	var failed []error
	for _, typ := range s.cfg.Holders {
		for after := state.Key(""); ; {
			page, next, err := s.cfg.Inventory.List(ctx, typ, resource.Root, after, scanPage)
			if err != nil {
				return errors.Join(append(failed, err)...)
			}
			for _, r := range page {
				if err := s.ensureOwn(ctx, r); err != nil {
					failed = append(failed, fmt.Errorf("the identity of %q: %w", r.ID, err))
				}
			}
			if after = next; next == "" {
				break
			}
		}
	}
	return errors.Join(failed...)
}

// ensureOwn ensures a resource's own identity unless it is there.
func (s *Identities) ensureOwn(ctx context.Context, r inventory.Resource) error {
	block, err := Parse(r.Identity)
	if err != nil || !block.System() {
		return err
	}
	if _, found, err := s.system(ctx, r.ResourceID(), block); found || err != nil {
		return err
	}
	_, err = s.Ensure(ctx, r.ResourceID(), r.Identity)
	if errors.Is(err, problem.NotFound) {
		return nil // it was deleted meanwhile
	}
	return err
}

// SystemIdentity is the identity of a resource's own.
type SystemIdentity struct {
	identity.Principal
	Resource inventory.Resource // that has it
}

// System reads the identity of a resource's own; problem.NotFound if it has none.
func (s *Identities) System(ctx context.Context, id resource.ID) (SystemIdentity, error) {
	none := problem.New(problem.NotFound, fmt.Sprintf("%q has no identity of its own", id))
	if !id.IsResource() {
		return SystemIdentity{}, none
	}
	r, err := s.cfg.Inventory.Get(ctx, id)
	if err != nil {
		return SystemIdentity{}, err
	}
	block, err := Parse(r.Identity)
	if err != nil {
		return SystemIdentity{}, err
	}
	if block.System() {
		p, found, err := s.system(ctx, id, block)
		if found || err != nil {
			return SystemIdentity{p, r}, err
		}
	}
	return SystemIdentity{}, none
}

// system finds the principal of a resource whose block has one of its own. The
// block names it, unless the write that says so has not come or was overtaken.
func (s *Identities) system(ctx context.Context, id resource.ID, block Block) (p identity.Principal, found bool, err error) {
	if block.PrincipalID != nil {
		p, err := s.cfg.Directory.Get(ctx, *block.PrincipalID)
		if err == nil && p.Kind == identity.ManagedIdentity && sameID(p.ResourceID, id.String()) {
			return p, true, nil
		}
		if err != nil && !errors.Is(err, problem.NotFound) {
			return p, false, err
		}
	}
	item, err := s.own.Get(ctx, ownName(id))
	if errors.Is(err, state.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	r, err := s.cfg.Inventory.Get(ctx, id)
	if errors.Is(err, problem.NotFound) || err == nil && !r.Created.Equal(item.Value.Created) {
		return p, false, nil // it is what an earlier resource left
	}
	if err != nil {
		return p, false, err
	}
	return s.principalOf(ctx, &item.Value.ObjectID, id.String())
}
