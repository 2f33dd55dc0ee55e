// Package groups owns the groups of an installation's principals: what a group is
// called, who is in it, and which groups somebody is in at this moment, through
// other groups too. It does not know roles, tokens or HTTP, and nothing of a
// principal but whether there is one.
package groups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Documents is the prefix of the state's keys: a group's document by object id.
const Documents state.Key = "/groups/"

// Limits of a group. A document with as many members as there can be stays well
// below the store's limit of a value.
const (
	MaxName        = 256  // bytes
	MaxDescription = 1024 // bytes
	MaxNickname    = 64   // bytes
	MaxMembers     = 1000 // direct ones
	MaxFirst       = 20   // members that a group is made with; more are added to it
)

// Group is a set of principals and of other groups, whose members are in it too.
type Group struct {
	ObjectID     string    `json:"objectId"` // lower-case GUID; roles are assigned to it
	Name         string    `json:"name"`     // others may have it too
	Description  string    `json:"description,omitempty"`
	MailNickname string    `json:"mailNickname,omitempty"` // kept for clients that send one
	Created      time.Time `json:"created"`
	// Members are the object ids of the direct members, sorted.
	Members []string `json:"members,omitempty"`

	// Revision is that of the document. It is not stored.
	Revision state.Revision `json:"-"`
}

// Groups keeps groups in a state store. It is safe for concurrent use, also by
// several processes. [Groups.Of] answers from memory while [Groups.Run] keeps up
// with the store, and reads the store otherwise; all else reads the store. Once a
// change has returned, this process sees it.
type Groups struct {
	clock   clock.Clock
	log     *slog.Logger
	records state.Collection[Group]

	view   atomic.Pointer[view] // nil: the store must be asked
	dirty  chan struct{}        // buffered by one: the view is to be made anew
	mu     sync.Mutex
	held   held
	change chan struct{} // closed and replaced when held or the view has changed
}

// New makes groups on a store, which is that of the principals.
func New(store state.Store, c clock.Clock, log *slog.Logger) *Groups {
	return &Groups{
		clock: c, log: log, records: state.Collection[Group]{Store: store, Prefix: Documents},
		dirty: make(chan struct{}, 1), change: make(chan struct{}),
	}
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Create makes a group. A missing object id is generated, the time is set. It
// returns problem.Invalid, naming the field, problem.NotFound for a member that
// does not exist, and problem.Exists if a group or a principal has the object id.
func (g *Groups) Create(ctx context.Context, n Group) (Group, error) {
	n, err := g.complete(n)
	if err != nil {
		return Group{}, err
	}
	for range attempts {
		there, err := g.exist(ctx, n.Members)
		if err != nil {
			return Group{}, err
		}
		n.Revision, err = g.write(ctx, n, there)
		if err == nil {
			g.settle(ctx, n.ObjectID, n.Revision)
			return n, nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return Group{}, err
		}
		if err := g.free(ctx, n.ObjectID); err != nil {
			return Group{}, err
		}
	}
	return Group{}, problem.New(problem.Conflict, "the members kept changing while the group was made").WithNext("try again")
}

// write stores a new group unless something has its object id.
func (g *Groups) write(ctx context.Context, n Group, also []state.Op) (state.Revision, error) {
	op, err := g.records.Put(n.ObjectID, n, state.Absent)
	if err != nil {
		return 0, err
	}
	return g.records.Store.Write(ctx, append([]state.Op{op, state.Check(identity.Documents+state.Key(n.ObjectID), state.Absent)}, also...)...)
}

// attempts bounds how often a write is tried that others can get in the way of.
const attempts = 20

// Free gives the condition of a write that no group has an object id, for those who
// make principals.
func Free(objectID string) state.Op {
	return state.Check(Documents+state.Key(strings.ToLower(objectID)), state.Absent)
}

// free returns problem.Exists if a group or a principal has an object id.
func (g *Groups) free(ctx context.Context, objectID string) error {
	_, err := g.find(ctx, objectID)
	if errors.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return problem.New(problem.Exists, fmt.Sprintf("a group or a principal with object id %s exists already", objectID))
}

// complete fills in what a new group lacks and checks the rest.
func (g *Groups) complete(n Group) (Group, error) {
	if n.ObjectID = strings.ToLower(n.ObjectID); n.ObjectID == "" {
		n.ObjectID = uuid.NewString()
	}
	members := make([]string, len(n.Members))
	for i, id := range n.Members {
		members[i] = strings.ToLower(id)
	}
	slices.Sort(members)
	n.Members, n.Created = slices.Compact(members), g.clock.Now().UTC()
	if len(n.Members) > MaxFirst {
		return n, problem.New(problem.Invalid, fmt.Sprintf("members: a group is made with at most %d", MaxFirst)).WithNext("add the others afterwards")
	}
	return n, check(n)
}

func check(n Group) error {
	switch {
	case !guid.MatchString(n.ObjectID):
		return problem.New(problem.Invalid, "objectId is not a GUID")
	case n.Name == "" || !isText(n.Name, MaxName):
		return problem.New(problem.Invalid, fmt.Sprintf("name must be text of 1 to %d bytes without control characters", MaxName))
	case !isText(n.Description, MaxDescription):
		return problem.New(problem.Invalid, fmt.Sprintf("description must be text of at most %d bytes without control characters", MaxDescription))
	case !isText(n.MailNickname, MaxNickname) || strings.ContainsAny(n.MailNickname, ` @()\[]";:<>,`):
		return problem.New(problem.Invalid, fmt.Sprintf(`mailNickname must be at most %d bytes without spaces and any of @()\[]";:<>,`, MaxNickname))
	case slices.Contains(n.Members, n.ObjectID):
		return errOwnMember()
	}
	return nil
}

func isText(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// Get reads a group by its object id; problem.NotFound if there is none.
func (g *Groups) Get(ctx context.Context, objectID string) (Group, error) {
	objectID = strings.ToLower(objectID)
	if !guid.MatchString(objectID) {
		return Group{}, missing(objectID)
	}
	item, err := g.records.Get(ctx, objectID)
	if errors.Is(err, state.ErrNotFound) {
		return Group{}, missing(objectID)
	}
	return group(item), err
}

// ByName reads the group of a name, in which case does not count; problem.NotFound
// if there is none, problem.Conflict if there are several.
func (g *Groups) ByName(ctx context.Context, name string) (Group, error) {
	all, err := g.List(ctx)
	if err != nil {
		return Group{}, err
	}
	named := slices.DeleteFunc(all, func(n Group) bool { return !strings.EqualFold(n.Name, name) })
	switch len(named) {
	case 0:
		return Group{}, missing(name)
	case 1:
		return named[0], nil
	}
	return Group{}, problem.New(problem.Conflict, fmt.Sprintf("%d groups have the name %q", len(named), clip(name))).WithNext("use the object id")
}

// List gives all groups in order of their object ids. It returns
// problem.Undecryptable if one of them cannot be read.
func (g *Groups) List(ctx context.Context) ([]Group, error) {
	items, err := g.records.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Group, len(items))
	for i, item := range items {
		list[i] = group(item)
	}
	return list, nil
}

func group(item state.Item[Group]) Group {
	item.Value.Revision = item.Revision
	return item.Value
}

// Update changes name, description and mail nickname of a group; what else the
// function changes is ignored. The function may run more than once. It returns
// problem.NotFound, and problem.Invalid naming the field.
func (g *Groups) Update(ctx context.Context, objectID string, change func(*Group) error) (Group, error) {
	return g.update(ctx, objectID, func(old *Group) error {
		n := *old
		n.Members = slices.Clone(old.Members)
		if err := change(&n); err != nil {
			return err
		}
		old.Name, old.Description, old.MailNickname = n.Name, n.Description, n.MailNickname
		return check(*old)
	})
}

func (g *Groups) update(ctx context.Context, objectID string, change func(*Group) error, also ...state.Op) (Group, error) {
	objectID = strings.ToLower(objectID)
	if !guid.MatchString(objectID) {
		return Group{}, missing(objectID)
	}
	item, err := g.records.Update(ctx, objectID, func(n Group, exists bool) (Group, error) {
		if !exists {
			return n, missing(objectID)
		}
		return n, change(&n)
	}, also...)
	if err != nil {
		return Group{}, err
	}
	g.settle(ctx, objectID, item.Revision)
	return group(item), nil
}

// Delete removes a group, also from the groups it is in; problem.NotFound if there
// is none. What is assigned to it is for the caller to take away before.
func (g *Groups) Delete(ctx context.Context, objectID string) error {
	objectID = strings.ToLower(objectID)
	if !guid.MatchString(objectID) {
		return missing(objectID)
	}
	if _, err := g.RemoveEverywhere(ctx, objectID); err != nil {
		return err
	}
	doc, err := state.Update(ctx, g.records.Store, g.records.Key(objectID), func(_ []byte, exists bool) ([]byte, error) {
		if !exists {
			return nil, missing(objectID)
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	g.settle(ctx, objectID, doc.Revision)
	_, err = g.RemoveEverywhere(ctx, objectID) // where it was added meanwhile
	return err
}

func missing(id string) error {
	return problem.New(problem.NotFound, fmt.Sprintf("there is no group %q", clip(id)))
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
