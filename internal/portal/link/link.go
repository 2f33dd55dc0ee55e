// Package link owns one-time links to sign in to the portal: each is good once and
// for minutes. They lie in the control plane's state, so that any node takes them,
// and only as digests. It does not know who may ask for one, or addresses.
package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

const (
	// Life is how long a link is good.
	Life = 10 * time.Minute
	// most is the number of links a principal has at a time; the oldest give way.
	most = 10
)

// Prefix is where links are in the state.
const Prefix state.Key = "/portal/links/"

// kept is what is known of a link.
type kept struct {
	session.Principal
	Expires time.Time `json:"expires"`
}

// Links makes and redeems links. It is safe for concurrent use, also by several
// processes.
type Links struct {
	Store state.Store
	Clock clock.Clock
}

// errUsed is the answer for every link that is not good: what it once was is
// nobody's business.
var errUsed = problem.New(problem.Unauthenticated, "this link is not good any more: each works once, for ten minutes").
	WithNext("get another with latchkey portal")

func (l *Links) of(owner string) state.Collection[kept] {
	return state.Collection[kept]{Store: l.Store, Prefix: Prefix + state.Key(owner) + "/"}
}

// Make gives a ticket by which a principal signs in once, until the time that is
// given beside it.
func (l *Links) Make(ctx context.Context, p session.Principal) (ticket.Ticket, time.Time, error) {
	t, err := ticket.New(p.ObjectID)
	if err != nil {
		return t, time.Time{}, err
	}
	if err := l.makeRoom(ctx, t.Owner()); err != nil {
		return t, time.Time{}, err
	}
	until := l.Clock.Now().UTC().Add(Life)
	_, err = l.of(t.Owner()).Create(ctx, t.Name(), kept{p, until})
	return t, until, err
}

func (l *Links) makeRoom(ctx context.Context, owner string) error {
	list, err := l.of(owner).List(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b state.Item[kept]) int { return b.Value.Expires.Compare(a.Value.Expires) })
	for i, item := range list {
		if i < most-1 && l.Clock.Now().Before(item.Value.Expires) {
			continue
		}
		if err := l.of(owner).Delete(ctx, item.Name); err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
	}
	return nil
}

// EndAll ends all links of a principal that were not used.
func (l *Links) EndAll(ctx context.Context, objectID string) error {
	all := l.of(strings.ToLower(objectID))
	list, err := all.List(ctx)
	for _, item := range list {
		if gone := all.Delete(ctx, item.Name); !errors.Is(gone, state.ErrNotFound) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

func (l *Links) get(ctx context.Context, t ticket.Ticket) (state.Item[kept], error) {
	item, err := l.of(t.Owner()).Get(ctx, t.Name())
	now := l.Clock.Now()
	over := !now.Before(item.Value.Expires) || item.Value.Until != 0 && now.Unix() >= item.Value.Until
	if errors.Is(err, state.ErrNotFound) || err == nil && over {
		err = errUsed
	}
	return item, err
}

// Peek says whom a link is for without using it up: programs that look at the links
// in messages must not do so. It returns problem.Unauthenticated for one that is
// not good.
func (l *Links) Peek(ctx context.Context, t ticket.Ticket) (session.Principal, error) {
	item, err := l.get(ctx, t)
	return item.Value.Principal, err
}

// Redeem uses a link up. However many try at the same time, one gets the principal
// and the others problem.Unauthenticated.
func (l *Links) Redeem(ctx context.Context, t ticket.Ticket) (session.Principal, error) {
	item, err := l.get(ctx, t)
	if err != nil {
		return session.Principal{}, err
	}
	_, err = l.Store.Write(ctx, state.Delete(l.of(t.Owner()).Key(t.Name()), item.Revision))
	if errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrNotFound) {
		err = errUsed
	}
	if err != nil {
		return session.Principal{}, err
	}
	return item.Value.Principal, nil
}
