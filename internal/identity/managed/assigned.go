package managed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Merge is [Next] with bindings: a user-assigned identity that a client names
// and that the resource does not have yet must exist, else the error is
// problem.Invalid naming it. One that the resource has stays, whether it exists or
// not; if it was deleted and made anew, naming it assigns the new one. Callers
// check that a binding which [Block.Binds] does not know is the caller's to give.
func (s *Identities) Merge(ctx context.Context, old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	text, err := Next(old, said, patch)
	if err != nil || text == nil {
		return nil, err
	}
	had, hadErr := Parse(old)
	next, nextErr := Parse(text)
	var named Block
	if err := errors.Join(hadErr, nextErr, json.Unmarshal(said, &named)); err != nil {
		return nil, err
	}
	for name, binding := range next.Assigned {
		isNew := had.Spelled(name) == ""
		if named.Spelled(name) == "" && !isNew {
			continue
		}
		if next.Assigned[name], err = s.rebind(ctx, name, binding); errors.Is(err, problem.NotFound) && isNew {
			return nil, problem.New(problem.Invalid, fmt.Sprintf("member 'identity.userAssignedIdentities' names %q, which does not exist", name)).
				WithNext("create the identity first, or correct its id")
		} else if err != nil && !errors.Is(err, problem.NotFound) {
			return nil, err
		}
	}
	return json.Marshal(next)
}

// rebind gives the binding that an identity has or, if it has none that leads
// anywhere, the one to the identity that there is now. With problem.NotFound it
// gives what there was.
func (s *Identities) rebind(ctx context.Context, name string, had *Binding) (*Binding, error) {
	if had == nil {
		had = &Binding{}
	}
	if _, found, err := s.principalOf(ctx, had.PrincipalID, name); found || err != nil {
		return had, err
	}
	bound, err := s.bind(ctx, name)
	if err != nil {
		return had, err
	}
	return bound, nil
}

// bind gives the binding to an identity as it is now; problem.NotFound if there is
// none.
func (s *Identities) bind(ctx context.Context, name string) (*Binding, error) {
	id, err := resource.Parse(name)
	if err != nil {
		return nil, problem.Wrap(problem.NotFound, "the identity's id is none", err)
	}
	found, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &Binding{&found.ObjectID, &found.AppID}, nil
}

// Of gives the identities that a resource may use now by its stored block, its own
// first, then those assigned to it in order of their ids; such that are gone are
// without ids. Ids and epochs are the directory's, so that deleted principals and
// expired tokens are known at once. It reads the state only for what the
// directory's memory does not have.
func (s *Identities) Of(ctx context.Context, stored json.RawMessage, id resource.ID) ([]identity.Assigned, error) {
	block, err := Parse(stored)
	if err != nil {
		return nil, err
	}
	var list []identity.Assigned
	if block.System() {
		p, found, err := s.system(ctx, id, block)
		if err != nil {
			return nil, err
		}
		list = append(list, assigned(identity.Assigned{System: true, ResourceID: id.String()}, p, found))
	}
	if !block.User() {
		return list, nil
	}
	for _, name := range slices.Sorted(maps.Keys(block.Assigned)) {
		p, found, err := s.user(ctx, name, block.Assigned[name])
		if err != nil {
			return nil, err
		}
		list = append(list, assigned(identity.Assigned{ResourceID: name}, p, found))
	}
	return list, nil
}

// user finds the principal that an identity is bound to.
func (s *Identities) user(ctx context.Context, name string, b *Binding) (identity.Principal, bool, error) {
	if b == nil {
		return identity.Principal{}, false, nil
	}
	return s.principalOf(ctx, b.PrincipalID, name)
}

// assigned completes an assigned identity by its principal.
func assigned(a identity.Assigned, p identity.Principal, found bool) identity.Assigned {
	if found {
		a.ObjectID, a.AppID, a.Epoch = p.ObjectID, p.AppID, p.Epoch
	}
	return a
}

// shownBlock is a block as clients see it: an identity that is gone is there, with
// null as its ids.
type shownBlock struct {
	Type        string                  `json:"type"`
	PrincipalID *string                 `json:"principalId,omitempty"`
	TenantID    *string                 `json:"tenantId,omitempty"`
	Assigned    map[string]shownBinding `json:"userAssignedIdentities,omitempty"`
}

type shownBinding struct {
	PrincipalID *string `json:"principalId"`
	ClientID    *string `json:"clientId"`
}

// Shown gives a stored block as clients see it now; nil if it has no identities.
// It reads what [Identities.Of] reads.
func (s *Identities) Shown(ctx context.Context, stored json.RawMessage, id resource.ID) (json.RawMessage, error) {
	block, err := Parse(stored)
	if err != nil || !block.System() && !block.User() {
		return nil, err
	}
	list, err := s.Of(ctx, stored, id)
	if err != nil {
		return nil, err
	}
	out := shownBlock{Type: block.Type, Assigned: map[string]shownBinding{}}
	for _, a := range list {
		switch {
		case a.System && !a.Dangling():
			out.PrincipalID, out.TenantID = &a.ObjectID, &s.cfg.TenantID
		case !a.System && a.Dangling():
			out.Assigned[a.ResourceID] = shownBinding{}
		case !a.System:
			out.Assigned[a.ResourceID] = shownBinding{&a.ObjectID, &a.AppID}
		}
	}
	return json.Marshal(out)
}

// scanPage is how many resources are read at a time.
const scanPage = 500

// AssociatedResources gives the ids of resources that an identity is assigned to,
// in order of their types and ids. It reads all resources that can have
// identities. problem.NotFound if there is no such identity.
func (s *Identities) AssociatedResources(ctx context.Context, id resource.ID) ([]resource.ID, error) {
	found, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	var list []resource.ID
	for _, typ := range s.cfg.Holders {
		for after := state.Key(""); ; {
			page, next, err := s.cfg.Inventory.List(ctx, typ, resource.Root, after, scanPage)
			if err != nil {
				return nil, err
			}
			for _, r := range page {
				if uses(r, found) {
					list = append(list, r.ResourceID())
				}
			}
			if after = next; next == "" {
				break
			}
		}
	}
	return list, nil
}

func uses(r inventory.Resource, who Identity) bool {
	block, err := Parse(r.Identity)
	if err != nil || !block.User() {
		return false
	}
	at := block.Spelled(who.ID.String())
	return at != "" && block.Assigned[at].principal() == who.ObjectID
}
