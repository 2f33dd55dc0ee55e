package identity

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefixes of the state's keys: a principal's document by object id, and the
// object id of every app id, which keeps app ids unique.
const (
	Documents state.Key = "/principals/"
	byApp     state.Key = "/principals-by-app/"
)

// record is a principal as it is stored: with what only verification needs.
type record struct {
	Principal
	Hashes map[string]hash `json:"hashes,omitempty"` // by secret id
}

// Directory keeps principals in a state store. It is safe for concurrent use,
// also by several processes. It answers from memory while [Directory.Run] keeps
// up with the store, and reads the store otherwise; it sees its own changes at
// once.
type Directory struct {
	clock   clock.Clock
	records state.Collection[record]
	cache   cache
	used    chan use
	decoy   hash // what is compared for apps that are not there
}

// New makes a directory on a store.
func New(store state.Store, c clock.Clock) *Directory {
	return &Directory{
		clock:   c,
		records: state.Collection[record]{Store: store, Prefix: Documents},
		used:    make(chan use, usesWaiting),
		decoy:   newHash("no secret is this"),
	}
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Create makes a principal without credentials. Missing ids are generated, the
// time is set. It returns problem.Invalid, naming the field, and problem.Exists
// if an id is taken. also are further operations of the same write; a condition
// of theirs that fails reads as problem.Exists too.
func (d *Directory) Create(ctx context.Context, p Principal, also ...state.Op) (Principal, error) {
	p, err := d.complete(p)
	if err != nil {
		return Principal{}, err
	}
	// An object id can be chosen, also that of somebody who is gone: their tokens
	// must not count for the next one.
	p.Epoch = 1 + rand.Int64N(1<<53-1)
	op, err := d.records.Put(p.ObjectID, record{Principal: p}, state.Absent)
	if err != nil {
		return Principal{}, err
	}
	ops := []state.Op{op}
	if p.AppID != "" {
		ops = append(ops, state.Put(byApp+state.Key(p.AppID), []byte(p.ObjectID), state.Absent))
	}
	p.Revision, err = d.records.Store.Write(ctx, append(ops, also...)...)
	if errors.Is(err, state.ErrConflict) {
		return Principal{}, problem.Wrap(problem.Exists, fmt.Sprintf("a principal with object id %s or app id %s exists already", p.ObjectID, p.AppID), err)
	}
	if err != nil {
		return Principal{}, err
	}
	d.cache.wrote(p.ObjectID, p.Revision)
	return p, nil
}

// complete fills in what a new principal lacks and checks the rest.
func (d *Directory) complete(p Principal) (Principal, error) {
	p.ObjectID, p.AppID = strings.ToLower(p.ObjectID), strings.ToLower(p.AppID)
	if p.ObjectID == "" {
		p.ObjectID = uuid.NewString()
	}
	if p.AppID == "" && p.Kind != User {
		p.AppID = uuid.NewString()
	}
	p.Secrets, p.Certificates, p.Federated = nil, nil, nil
	p.Created = d.clock.Now().UTC()
	return p, check(p)
}

func check(p Principal) error {
	switch {
	case !guid.MatchString(p.ObjectID):
		return problem.New(problem.Invalid, "objectId is not a GUID")
	case p.Kind != ServicePrincipal && p.Kind != ManagedIdentity && p.Kind != User:
		return problem.New(problem.Invalid, fmt.Sprintf("kind %q is none of ServicePrincipal, ManagedIdentity, User", p.Kind))
	case p.Kind == User && p.AppID != "":
		return problem.New(problem.Invalid, "a user has no appId")
	case p.Kind != User && !guid.MatchString(p.AppID):
		return problem.New(problem.Invalid, "appId is not a GUID")
	}
	return checkName("name", p.Name)
}

func checkName(field, name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return problem.New(problem.Invalid, fmt.Sprintf("%s must be text of 1 to %d bytes without control characters", field, MaxName))
	}
	return nil
}

// Get reads a principal by its object id; problem.NotFound if there is none.
func (d *Directory) Get(ctx context.Context, objectID string) (Principal, error) {
	r, err := d.get(ctx, objectID)
	return r.public(), err
}

// ByAppID reads a principal by its app id; problem.NotFound if there is none.
func (d *Directory) ByAppID(ctx context.Context, appID string) (Principal, error) {
	r, err := d.byApp(ctx, appID)
	return r.public(), err
}

// List gives all principals in order of their object ids.
func (d *Directory) List(ctx context.Context) ([]Principal, error) {
	items, err := d.records.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Principal, len(items))
	for i, item := range items {
		item.Value.Revision = item.Revision
		list[i] = item.Value.public()
	}
	return list, nil
}

// Update changes name, state and resource of a principal; what else the function
// changes is ignored. The function may run more than once. It returns
// problem.NotFound, and problem.Invalid for a name that is none.
func (d *Directory) Update(ctx context.Context, objectID string, change func(*Principal) error, also ...state.Op) (Principal, error) {
	return d.change(ctx, objectID, func(r *record) error {
		p := r.public()
		if err := change(&p); err != nil {
			return err
		}
		r.Name, r.Disabled, r.ResourceID = p.Name, p.Disabled, p.ResourceID
		return check(r.Principal)
	}, also...)
}

// SetDisabled switches a principal off or on. Once it returns, this node refuses
// the tokens of a disabled principal; other nodes follow within moments.
func (d *Directory) SetDisabled(ctx context.Context, objectID string, disabled bool) (Principal, error) {
	return d.Update(ctx, objectID, func(p *Principal) error { p.Disabled = disabled; return nil })
}

// Delete removes a principal with its credentials; problem.NotFound if there is
// none. Its tokens are refused from then on. also are further operations of the
// same write.
func (d *Directory) Delete(ctx context.Context, objectID string, also ...state.Op) error {
	objectID = strings.ToLower(objectID)
	for {
		item, err := d.records.Get(ctx, objectID)
		if err != nil {
			return missing(objectID, err)
		}
		ops := []state.Op{state.Delete(d.records.Key(objectID), item.Revision)}
		if item.Value.AppID != "" {
			ops = append(ops, state.Delete(byApp+state.Key(item.Value.AppID), state.Any))
		}
		rev, err := d.records.Store.Write(ctx, append(ops, also...)...)
		if errors.Is(err, state.ErrConflict) && d.changedSince(ctx, objectID, item.Revision) {
			continue
		}
		if err == nil {
			d.cache.wrote(objectID, rev)
		}
		return err
	}
}

// changedSince tells a conflict over the principal from one over the caller's
// further operations, which trying again would not cure.
func (d *Directory) changedSince(ctx context.Context, objectID string, rev state.Revision) bool {
	item, err := d.records.Get(ctx, objectID)
	return err == nil && item.Revision != rev
}

// change writes what f makes of a principal.
func (d *Directory) change(ctx context.Context, objectID string, f func(*record) error, also ...state.Op) (Principal, error) {
	objectID = strings.ToLower(objectID)
	if !guid.MatchString(objectID) {
		return Principal{}, missing(objectID, state.ErrNotFound)
	}
	item, err := d.records.Update(ctx, objectID, func(r record, exists bool) (record, error) {
		if !exists {
			return r, missing(objectID, state.ErrNotFound)
		}
		return r, f(&r)
	}, also...)
	if err != nil {
		return Principal{}, err
	}
	d.cache.wrote(objectID, item.Revision)
	item.Value.Revision = item.Revision
	return item.Value.public(), nil
}

func missing(id string, err error) error {
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return problem.Wrap(problem.NotFound, fmt.Sprintf("there is no principal %q", clip(id)), problem.NotFound)
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
