// Package inventory owns management resources as stored documents: each by its
// id, listed by type and scope, deleted with everything that lies in it. It does
// not know what a type means, which properties it has, or who may see it.
package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefixes of the state's keys. A document is at documents + type + id, so that a
// type is listed by scope in one sweep; tree has the type of every id, so that
// whatever lies in a scope is found.
const (
	Documents state.Key = "/resources/"
	tree      state.Key = "/tree/"
)

// Resource is a management resource as it is kept.
type Resource struct {
	ID         string            `json:"id"` // spelled as when it was created
	Location   string            `json:"location,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	SKU        json.RawMessage   `json:"sku,omitempty"`
	Identity   json.RawMessage   `json:"identity,omitempty"`
	Properties json.RawMessage   `json:"properties,omitempty"` // as clients see them, without what is computed
	Private    json.RawMessage   `json:"private,omitempty"`    // the owning service's own; clients never see it
	Created    time.Time         `json:"created"`
	Changed    time.Time         `json:"changed"`
	CreatedBy  string            `json:"createdBy,omitempty"`
	ChangedBy  string            `json:"changedBy,omitempty"`
	// Deleting says, of a resource group, that it is being deleted: nothing may be
	// created in it any more, see [Inventory.Enter].
	Deleting bool `json:"deleting,omitempty"`

	// Revision is that of the document; it makes the ETag. It is not stored.
	Revision state.Revision `json:"-"`
}

// ResourceID gives the parsed id.
func (r Resource) ResourceID() resource.ID {
	id, _ := resource.Parse(r.ID) // it was valid when it was stored
	return id
}

// ETag gives the resource's entity tag, without quotes.
func (r Resource) ETag() string { return fmt.Sprintf("%X", int64(r.Revision)) }

// Inventory keeps resources in a state store. It is safe for concurrent use, also
// by several processes.
type Inventory struct {
	Store state.Store
	Clock clock.Clock
}

// Key gives the key of a resource's document.
func Key(id resource.ID) state.Key {
	return TypePrefix(id.Type()) + state.Key(strings.TrimPrefix(id.Key(), "/"))
}

// TypePrefix gives the prefix of all documents of a type.
func TypePrefix(typ string) state.Key { return Documents + state.Key(strings.ToLower(typ)) + "/" }

func treeKey(id resource.ID) state.Key { return tree + state.Key(strings.TrimPrefix(id.Key(), "/")) }

// Get reads a resource; problem.NotFound if there is none.
func (v *Inventory) Get(ctx context.Context, id resource.ID) (Resource, error) {
	doc, err := v.Store.Get(ctx, Key(id))
	if errors.Is(err, state.ErrNotFound) {
		return Resource{}, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no %s %q", id.Type(), id.Name()), err)
	}
	if err != nil {
		return Resource{}, err
	}
	return Decode(doc)
}

// Decode reads a resource from its document.
func Decode(doc state.Document) (Resource, error) {
	r := Resource{Revision: doc.Revision}
	if err := json.Unmarshal(doc.Value, &r); err != nil {
		return r, problem.Wrap(problem.Undecryptable, fmt.Sprintf("resource %q cannot be understood", doc.Key), err)
	}
	return r, nil
}

// Change makes a resource's new form from the old one. It may run more than once.
type Change func(old Resource, exists bool) (Resource, error)

// Write creates or changes a resource. ID, times and names of the caller are set
// here; the old resource has its revision, so that conditions can be checked on it. also are further operations of the same write.
func (v *Inventory) Write(ctx context.Context, id resource.ID, by string, change Change, also ...state.Op) (r Resource, created bool, err error) {
	also = append(slices.Clip(also), state.Put(treeKey(id), []byte(id.Type()), state.Any))
	doc, err := state.UpdateDocument(ctx, v.Store, Key(id), func(was state.Document) ([]byte, error) {
		created = was.Revision == state.Absent
		old := Resource{}
		if !created {
			if old, err = Decode(was); err != nil {
				return nil, err
			}
		}
		next, err := change(old, !created)
		if err != nil {
			return nil, err
		}
		now := v.Clock.Now().UTC()
		if next.ID, next.Created, next.CreatedBy = old.ID, old.Created, old.CreatedBy; created {
			next.ID, next.Created, next.CreatedBy = id.String(), now, by
		}
		next.Changed, next.ChangedBy = now, by
		return json.Marshal(next)
	}, also...)
	if err != nil || doc.Value == nil {
		return Resource{}, false, err
	}
	r, err = Decode(doc)
	return r, created, err
}

// Enter gives the condition under which a resource may be created: its resource
// group is there and is not being deleted. What is created without it can come
// behind the back of who deletes the group, and stay. problem.NotFound if there is
// no such group, problem.Conflict if it is being deleted.
func (v *Inventory) Enter(ctx context.Context, id resource.ID) (state.Op, error) {
	group, err := v.Get(ctx, resource.Group(id.Subscription(), id.Group()))
	if err != nil {
		return state.Op{}, err
	}
	if group.Deleting {
		return state.Op{}, problem.New(problem.Conflict, fmt.Sprintf("resource group %q is being deleted", id.Group())).
			WithNext("wait until it is gone; if its deletion was interrupted, delete it again")
	}
	return state.Check(Key(group.ResourceID()), group.Revision), nil
}

// enterTries bounds how often a resource is created anew because its group was
// changed at the same moment.
const enterTries = 5

// WriteInGroup is [Inventory.Write] under the condition of [Inventory.Enter].
func (v *Inventory) WriteInGroup(ctx context.Context, id resource.ID, by string, change Change) (r Resource, created bool, err error) {
	for range enterTries {
		var in state.Op
		if in, err = v.Enter(ctx, id); err != nil {
			return Resource{}, false, err
		}
		if r, created, err = v.Write(ctx, id, by, change, in); !errors.Is(err, state.ErrConflict) {
			break
		}
	}
	return r, created, err
}

// List gives the resources of a type within a scope in order of their ids, at most
// limit (0: all) after the one whose key is given ("" from the first). next is
// the key to go on after, "" at the end.
func (v *Inventory) List(ctx context.Context, typ string, scope resource.ID, after state.Key, limit int) (list []Resource, next state.Key, err error) {
	list = []Resource{}
	var last state.Key
	for _, prefix := range prefixes(typ, scope) {
		page := state.Page{After: after}
		if limit > 0 {
			page.Limit = limit + 1 - len(list) // one more tells whether there are more
		}
		listing, err := v.Store.List(ctx, prefix, page)
		if err != nil {
			return nil, "", err
		}
		for _, doc := range listing.Documents {
			if limit > 0 && len(list) == limit {
				return list, last, nil
			}
			r, err := Decode(doc)
			if err != nil {
				return nil, "", err
			}
			list, last = append(list, r), doc.Key
		}
	}
	return list, "", nil
}

// prefixes gives where the documents of a type within a scope are, in order. The
// prefix of a type is also that of types below it, so that the root has two.
func prefixes(typ string, scope resource.ID) []state.Key {
	all := TypePrefix(typ)
	if scope.IsRoot() {
		return []state.Key{all + "providers/", all + "subscriptions/"}
	}
	return []state.Key{all + state.Key(strings.TrimPrefix(scope.Key(), "/")) + "/"}
}

// Entry is a resource by id and type, without its document.
type Entry struct {
	ID   resource.ID // in lower case
	Type string
}

// Below gives what lies in a scope, the scope itself not included, in order of
// ids.
func (v *Inventory) Below(ctx context.Context, scope resource.ID) ([]Entry, error) {
	prefix := tree
	if !scope.IsRoot() {
		prefix = treeKey(scope) + "/"
	}
	listing, err := v.Store.List(ctx, prefix, state.Page{})
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, doc := range listing.Documents {
		id, err := resource.Parse(strings.TrimPrefix(string(doc.Key), string(tree)))
		if err != nil {
			return nil, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", doc.Key), err)
		}
		list = append(list, Entry{id, string(doc.Value)})
	}
	return list, nil
}

// Delete removes a resource and all that lies in it, innermost first, so that
// what an interruption leaves can be deleted again. It returns problem.NotFound
// if there is no such resource. also are further operations of the last write.
func (v *Inventory) Delete(ctx context.Context, id resource.ID, also ...state.Op) error {
	if _, err := v.Get(ctx, id); err != nil {
		return err
	}
	below, err := v.Below(ctx, id)
	if err != nil {
		return err
	}
	slices.Reverse(below)
	for part := range slices.Chunk(below, state.MaxOps/2) {
		var ops []state.Op
		for _, e := range part {
			ops = append(ops, state.Delete(TypePrefix(e.Type)+state.Key(strings.TrimPrefix(e.ID.Key(), "/")), state.Any), state.Delete(treeKey(e.ID), state.Any))
		}
		if _, err := v.Store.Write(ctx, ops...); err != nil {
			return err
		}
	}
	_, err = v.Store.Write(ctx, append([]state.Op{state.Delete(Key(id), state.Any), state.Delete(treeKey(id), state.Any)}, also...)...)
	return err
}
