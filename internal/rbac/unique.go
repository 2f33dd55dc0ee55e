package rbac

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// uniques has a document for everything that only one resource may have: its
// value is the resource's id. It outlives the resource where that was deleted
// with its group, so it counts only as long as the resource is there.
const uniques state.Key = "/roles/unique/"

// tries bounds how often a write is begun again because somebody took the same
// name at the same moment.
const tries = 3

// writeUnique writes a resource that alone may have what unique says.
func (r *Roles) writeUnique(ctx context.Context, id resource.ID, by, unique string, taken Code, change inventory.Change) (inventory.Resource, bool, error) {
	for try := 1; ; try++ {
		claim, err := r.claim(ctx, id, unique, taken)
		if err != nil {
			return inventory.Resource{}, false, err
		}
		res, created, err := r.inv.Write(ctx, id, by, change, claim)
		if try == tries || !errors.Is(err, state.ErrConflict) {
			return res, created, err
		}
	}
}

func (r *Roles) claim(ctx context.Context, id resource.ID, unique string, taken Code) (state.Op, error) {
	sum := sha256.Sum256([]byte(unique))
	key := uniques + state.Key(hex.EncodeToString(sum[:]))
	doc, err := r.inv.Store.Get(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return state.Put(key, []byte(id.Key()), state.Absent), nil
	}
	if err != nil {
		return state.Op{}, err
	}
	if string(doc.Value) != id.Key() {
		if err := r.checkGone(ctx, string(doc.Value), unique, taken); err != nil {
			return state.Op{}, err
		}
	}
	return state.Put(key, []byte(id.Key()), doc.Revision), nil
}

// checkGone returns problem.Exists if the resource that has the unique thing still
// has it.
func (r *Roles) checkGone(ctx context.Context, holder, unique string, taken Code) error {
	id, err := resource.Parse(holder)
	if err != nil {
		return problem.Wrap(problem.Undecryptable, "a document about role names cannot be understood", err)
	}
	res, err := r.inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if has, err := uniqueOf(res); err != nil || has != unique {
		return err
	}
	if taken == AssignmentExists {
		return problem.Wrap(problem.Exists, fmt.Sprintf("the principal has the role at this scope already; the id of that assignment is %s", id.Name()), taken)
	}
	return problem.Wrap(problem.Exists, "another role has this name", taken).WithNext("choose another name")
}

// uniqueOf says what a resource alone may have.
func uniqueOf(res inventory.Resource) (string, error) {
	if strings.EqualFold(res.ResourceID().Type(), AssignmentType) {
		a, err := decodeAssignment(res)
		return Assign{Scope: a.Scope, Principal: a.Principal, Role: a.Role}.unique(), err
	}
	d, err := decodeDefinition(res)
	return d.unique(), err
}

// guid gives an id as it is stored; problem.Invalid names the field.
func guid(field, text string) (string, error) {
	if id, err := uuid.Parse(text); err == nil && len(text) == 36 {
		return id.String(), nil
	}
	return "", problem.New(problem.Invalid, field+" must be a GUID")
}
