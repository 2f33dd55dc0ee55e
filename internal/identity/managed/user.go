package managed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Isolation scopes of identities. They are kept and shown and have no effect: an
// installation is one region.
const (
	NotIsolated = "None"
	Regional    = "Regional"
)

// Identity is a user-assigned identity.
type Identity struct {
	Resource  inventory.Resource
	ID        resource.ID
	Name      string
	Location  string // in its short form: "westeurope"
	Tags      map[string]string
	Isolation string // NotIsolated or Regional; "" becomes NotIsolated
	ObjectID  string // of its principal
	AppID     string
}

// Change makes an identity's new form from the old one; only Location, Tags and
// Isolation count. It may run more than once.
type Change func(old Identity, exists bool) (Identity, error)

// identityState is what is kept of an identity besides what all resources have.
type identityState struct {
	ObjectID string `json:"objectId"`
	AppID    string `json:"appId"`
}

type properties struct {
	Isolation string `json:"isolationScope"`
}

func fromResource(r inventory.Resource) (Identity, error) {
	var kept identityState
	var props properties
	if err := errors.Join(json.Unmarshal(r.Private, &kept), json.Unmarshal(r.Properties, &props)); err != nil {
		return Identity{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("identity %q cannot be understood", r.ID), err)
	}
	id := r.ResourceID()
	return Identity{
		Resource: r, ID: id, Name: id.Name(), Location: r.Location, Tags: r.Tags, Isolation: props.Isolation,
		ObjectID: kept.ObjectID, AppID: kept.AppID,
	}, nil
}

// Get reads an identity; problem.NotFound if there is none.
func (s *Identities) Get(ctx context.Context, id resource.ID) (Identity, error) {
	r, err := s.cfg.Inventory.Get(ctx, id)
	if err != nil {
		return Identity{}, err
	}
	return fromResource(r)
}

// List gives the identities within a scope in order of their ids, at most limit
// (0: all) after the one whose key is given ("" from the first). next is the key
// to go on after, "" at the end.
func (s *Identities) List(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []Identity, next state.Key, err error) {
	found, next, err := s.cfg.Inventory.List(ctx, UserType, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, r := range found {
		one, err := fromResource(r)
		if err != nil {
			return nil, "", err
		}
		list = append(list, one)
	}
	return list, next, nil
}

// Write creates or changes an identity. A new one gets its principal in the same
// write. Errors are those of change, problem.NotFound when the resource group is
// not there, problem.Conflict when that is being deleted or the identity is in
// another location, problem.Invalid naming the field.
func (s *Identities) Write(ctx context.Context, id resource.ID, by string, change Change) (Identity, bool, error) {
	if err := checkName(id); err != nil {
		return Identity{}, false, err
	}
	p := identity.Principal{
		ObjectID: uuid.NewString(), AppID: uuid.NewString(), Name: nameOf(id), Kind: identity.ManagedIdentity, ResourceID: id.String(),
	}
	isNew := false
	inv := s.joined(func(ctx context.Context, store state.Store, ops []state.Op) (state.Revision, error) {
		if !isNew {
			return store.Write(ctx, ops...)
		}
		made, err := s.cfg.Directory.Create(ctx, p, ops...)
		return made.Revision, conflictOf(err)
	})
	r, created, err := inv.WriteInGroup(ctx, id, by, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		isNew = !exists
		return changed(old, exists, p, change)
	})
	if err != nil {
		return Identity{}, false, err
	}
	made, err := fromResource(r)
	return made, created, err
}

// changed makes the document of an identity's new form.
func changed(old inventory.Resource, exists bool, p identity.Principal, change Change) (inventory.Resource, error) {
	was := Identity{Isolation: NotIsolated}
	kept := identityState{p.ObjectID, p.AppID}
	if exists {
		var err error
		if was, err = fromResource(old); err != nil {
			return old, err
		}
		kept = identityState{was.ObjectID, was.AppID}
	}
	next, err := change(was, exists)
	if err != nil {
		return old, err
	}
	if next.Location, err = location(was.Location, next.Location); err != nil {
		return old, err
	}
	if next.Isolation, err = isolation(next.Isolation); err != nil {
		return old, err
	}
	r := old
	r.Location, r.Tags = next.Location, next.Tags
	if r.Private, err = json.Marshal(kept); err != nil {
		return old, err
	}
	r.Properties, err = json.Marshal(properties{next.Isolation})
	return r, err
}

var identityName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)

func checkName(id resource.ID) error {
	if !strings.EqualFold(id.Type(), UserType) || id.Group() == "" {
		return problem.New(problem.Invalid, "the id is not that of a user-assigned identity in a resource group")
	}
	if !identityName.MatchString(id.Name()) {
		return problem.New(problem.Invalid, "name must have 3 to 128 letters, digits, - and _, and begin with a letter or digit")
	}
	return nil
}

// nameOf gives the name of a principal, which may be shorter than a resource's.
func nameOf(id resource.ID) string {
	name := id.Name()
	return name[:min(len(name), identity.MaxName)]
}

var locationName = regexp.MustCompile(`^[a-z0-9-]{1,60}$`)

func location(had, said string) (string, error) {
	short := strings.ToLower(strings.ReplaceAll(said, " ", ""))
	switch {
	case short == "" && had != "":
		return had, nil
	case short == "":
		return "", problem.New(problem.Invalid, "location is required for a new identity")
	case !locationName.MatchString(short):
		return "", problem.New(problem.Invalid, "location must have at most 60 letters, digits and hyphens")
	case had != "" && had != short:
		return "", problem.New(problem.Conflict, fmt.Sprintf("location of the identity is %q and cannot be changed", had))
	}
	return short, nil
}

func isolation(said string) (string, error) {
	switch strings.ToLower(said) {
	case "", "none":
		return NotIsolated, nil
	case "regional":
		return Regional, nil
	}
	return "", problem.New(problem.Invalid, "properties.isolationScope must be None or Regional")
}

// Delete removes an identity with its principal; what has it assigned keeps an id
// that leads nowhere. problem.NotFound if there is none; errors of the hook.
func (s *Identities) Delete(ctx context.Context, id resource.ID) error {
	for try := range attempts {
		found, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if err := s.cfg.OnDelete(ctx, found.ObjectID); err != nil {
			return err
		}
		if err := s.remove(ctx, found); !errors.Is(err, state.ErrConflict) {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	return contended(fmt.Sprintf("identity %q", id.Name()))
}

// remove deletes the document and the principal in one write, under the condition
// that the identity is still the one that was found.
func (s *Identities) remove(ctx context.Context, found Identity) error {
	key := inventory.Key(found.ID)
	inv := s.joined(func(ctx context.Context, store state.Store, ops []state.Op) (state.Revision, error) {
		last := false
		for i := range ops {
			if ops[i].Key == key {
				ops[i].If, last = found.Resource.Revision, true
			}
		}
		if last {
			err := s.cfg.Directory.Delete(ctx, found.ObjectID, ops...)
			if !errors.Is(err, problem.NotFound) {
				return 0, err
			}
		}
		return store.Write(ctx, ops...) // what lies in it, or an identity whose principal is lost
	})
	return inv.Delete(ctx, found.ID)
}

// DeleteWithin deletes all identities of a resource group.
func (s *Identities) DeleteWithin(ctx context.Context, group resource.ID) error {
	found, _, err := s.cfg.Inventory.List(ctx, UserType, group, "", 0)
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := s.Delete(ctx, r.ResourceID()); err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	return nil
}
