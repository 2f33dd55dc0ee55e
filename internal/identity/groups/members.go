package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// AddMember puts a principal or a group into a group. It returns problem.NotFound
// if there is no such group or no such member, problem.Exists if it is in the
// group already, problem.Conflict for a group that is full, and problem.Invalid
// for a group into itself. Groups may contain each other in a circle: whoever is
// in one of them is in all.
func (g *Groups) AddMember(ctx context.Context, objectID, member string) (Group, error) {
	member = strings.ToLower(member)
	if strings.EqualFold(objectID, member) {
		return Group{}, errOwnMember()
	}
	var conflict error
	for range attempts {
		there, err := g.exist(ctx, []string{member})
		if err != nil {
			return Group{}, err
		}
		n, err := g.update(ctx, objectID, func(n *Group) error { return n.add(member) }, there...)
		if problem.KindOf(err) != problem.Conflict || errors.Is(err, errFull) {
			return n, err
		}
		conflict = err // the member was changed at the same moment
	}
	return Group{}, conflict
}

// errFull marks the error of a group that takes no further member.
var errFull = errors.New("the group is full")

func errOwnMember() error {
	return problem.New(problem.Invalid, "members: a group cannot be a member of itself")
}

func (n *Group) add(member string) error {
	at, there := slices.BinarySearch(n.Members, member)
	switch {
	case there:
		return problem.New(problem.Exists, fmt.Sprintf("%q is in group %s already", member, n.ObjectID))
	case len(n.Members) >= MaxMembers:
		return problem.Wrap(problem.Conflict, fmt.Sprintf("group %s has %d members, as many as there can be", n.ObjectID, MaxMembers), errFull).
			WithNext("put some of them into another group, and that one into this")
	}
	n.Members = slices.Insert(n.Members, at, member)
	return nil
}

func (n *Group) remove(member string) bool {
	at, there := slices.BinarySearch(n.Members, member)
	if there {
		n.Members = slices.Delete(n.Members, at, at+1)
	}
	return there
}

// exist gives the conditions of a write that hold as long as the members do.
func (g *Groups) exist(ctx context.Context, members []string) ([]state.Op, error) {
	ops := make([]state.Op, len(members))
	for i, id := range members {
		doc, err := g.find(ctx, id)
		if err != nil {
			return nil, err
		}
		ops[i] = state.Check(doc.Key, doc.Revision)
	}
	return ops, nil
}

// find reads the document of a principal or a group.
func (g *Groups) find(ctx context.Context, objectID string) (state.Document, error) {
	absent := problem.New(problem.NotFound, fmt.Sprintf("there is no principal or group %q", clip(objectID)))
	if !guid.MatchString(objectID) {
		return state.Document{}, absent
	}
	for _, prefix := range []state.Key{identity.Documents, Documents} {
		doc, err := g.records.Store.Get(ctx, prefix+state.Key(objectID))
		if !errors.Is(err, state.ErrNotFound) {
			return doc, err
		}
	}
	return state.Document{}, absent
}

// RemoveMember takes a direct member out of a group; problem.NotFound if there is
// no such group, or no such member in it.
func (g *Groups) RemoveMember(ctx context.Context, objectID, member string) (Group, error) {
	member = strings.ToLower(member)
	return g.update(ctx, objectID, func(n *Group) error {
		if !n.remove(member) {
			return problem.New(problem.NotFound, fmt.Sprintf("%q is not in group %s itself", clip(member), n.ObjectID))
		}
		return nil
	})
}

// RemoveEverywhere takes a principal or a group that goes away out of all groups
// and gives their object ids; with an error those that it was taken out of before.
// Call it before the principal is deleted, so that a failure leaves no trace of
// what is gone, and once more afterwards, for groups it was added to meanwhile. A
// group that cannot be read is left alone: it makes nobody a member.
func (g *Groups) RemoveEverywhere(ctx context.Context, objectID string) (left []string, err error) {
	objectID = strings.ToLower(objectID)
	list, err := g.readable(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if _, in := slices.BinarySearch(n.Members, objectID); !in {
			continue
		}
		if _, err := g.RemoveMember(ctx, n.ObjectID, objectID); err == nil {
			left = append(left, n.ObjectID)
		} else if !errors.Is(err, problem.NotFound) {
			return left, err
		}
	}
	return left, nil
}

// readable reads all groups that can be understood.
func (g *Groups) readable(ctx context.Context) ([]Group, error) {
	listing, err := g.records.Store.List(ctx, Documents, state.Page{Unreadable: true})
	if err != nil {
		return nil, err
	}
	list := make([]Group, 0, len(listing.Documents))
	for _, doc := range listing.Documents {
		if n, ok := g.decode(doc); ok {
			list = append(list, n)
		}
	}
	return list, nil
}

// decode reads a document. One that cannot be understood is left out of account:
// being in a group only ever allows things.
func (g *Groups) decode(doc state.Document) (Group, bool) {
	item, err := g.records.Decode(doc)
	if err != nil {
		g.log.Error("a group is left out of account: its members have no rights through it", "key", string(doc.Key), "error", err)
		return Group{}, false
	}
	item.Value.ObjectID = item.Name // whatever the text says
	return group(item), true
}
