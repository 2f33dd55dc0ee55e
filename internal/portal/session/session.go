// Package session owns who is signed in to the portal: sessions lie in the
// control plane's state, sealed as everything there is, so that they count on every
// node and outlast a restart, and so that they can be ended from elsewhere. It does
// not know how people prove who they are, cookies, or what anybody may do.
package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Defaults of a Config.
const (
	DefaultIdle     = 30 * time.Minute
	DefaultAbsolute = 12 * time.Hour
	DefaultMost     = 20
)

// Prefix is where sessions are in the state.
const Prefix state.Key = "/portal/sessions/"

// precision is how exactly the last use is known: a session is written this often
// at most.
const precision = time.Minute

// Principal is who is signed in, how, and for how long at most.
type Principal struct {
	ObjectID string `json:"objectId"`
	AppID    string `json:"appId,omitempty"`
	Name     string `json:"name"`
	Epoch    int64  `json:"epoch,omitempty"`  // of the principal when it signed in; see identity.Principal
	Method   string `json:"method,omitempty"` // how it signed in: "link" or "oidc"; "" before that
	// Until is when the session ends at the latest, in seconds since 1970; 0 sets no
	// such bound. A link gives no more than the proof with which it was asked for.
	Until int64 `json:"until,omitempty"`
}

// Session is one browser that is signed in.
type Session struct {
	Principal
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"` // last use, to the minute
}

// Config is what Sessions work with. Store and Clock are needed; zero values of the
// rest are the defaults.
type Config struct {
	Store    state.Store
	Clock    clock.Clock
	Idle     time.Duration // a session that was not used for as long is over
	Absolute time.Duration // a session of this age is over
	Most     int           // sessions of one principal; the one that was used last longest ago gives way
}

// Sessions keeps sessions. It is safe for concurrent use, also by several
// processes.
type Sessions struct {
	cfg Config
	all state.Collection[Session]
}

// New makes Sessions.
func New(cfg Config) *Sessions {
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Absolute <= 0 {
		cfg.Absolute = DefaultAbsolute
	}
	if cfg.Most <= 0 {
		cfg.Most = DefaultMost
	}
	return &Sessions{cfg, state.Collection[Session]{Store: cfg.Store, Prefix: Prefix}}
}

func nameOf(t ticket.Ticket) string { return t.Owner() + "/" + t.Name() }

// Begin signs a principal in. The ticket is for the browser.
func (s *Sessions) Begin(ctx context.Context, p Principal, method string) (ticket.Ticket, Session, error) {
	t, err := ticket.New(p.ObjectID)
	if err != nil {
		return t, Session{}, err
	}
	if err := s.makeRoom(ctx, t.Owner()); err != nil {
		return t, Session{}, err
	}
	now := s.cfg.Clock.Now().UTC()
	p.Method = method
	started := Session{Principal: p, Created: now, Seen: now}
	_, err = s.all.Create(ctx, nameOf(t), started)
	return t, started, err
}

// of has the sessions of a principal; with "" those of everybody.
func (s *Sessions) of(ctx context.Context, owner string) ([]state.Item[Session], error) {
	part := state.Collection[Session]{Store: s.cfg.Store, Prefix: Prefix}
	if owner != "" {
		part.Prefix = Prefix + state.Key(owner) + "/"
	}
	return part.List(ctx)
}

// makeRoom removes what is over, and as many more as there are too many.
func (s *Sessions) makeRoom(ctx context.Context, owner string) error {
	list, err := s.of(ctx, owner)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b state.Item[Session]) int { return b.Value.Seen.Compare(a.Value.Seen) })
	kept := 0
	for _, item := range list {
		if s.over(item.Value) == nil && kept < s.cfg.Most-1 {
			kept++
			continue
		}
		if err := s.remove(ctx, owner+"/"+item.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sessions) remove(ctx context.Context, name string) error {
	if err := s.all.Delete(ctx, name); err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return nil
}

// over says why a session counts no longer.
func (s *Sessions) over(x Session) error {
	now := s.cfg.Clock.Now()
	switch {
	case now.Sub(x.Created) >= s.cfg.Absolute:
		return problem.New(problem.Unauthenticated, "the session has lasted as long as one may").WithNext("sign in again")
	case x.Until != 0 && now.Unix() >= x.Until:
		return problem.New(problem.Unauthenticated, "the session has lasted as long as the proof it began with").WithNext("sign in again")
	case now.Sub(x.Seen) >= s.cfg.Idle+precision:
		return problem.New(problem.Unauthenticated, "the session was not used for too long").WithNext("sign in again")
	}
	return nil
}

// Use gives the session of a ticket and notes that it is used. It returns
// problem.Unauthenticated if there is none or it is over, and the store's errors.
func (s *Sessions) Use(ctx context.Context, t ticket.Ticket) (Session, error) {
	have, err := s.Look(ctx, t)
	if err != nil || s.cfg.Clock.Now().Sub(have.Seen) < precision {
		return have, err
	}
	return s.touch(ctx, t, have)
}

// Look is Use for what a browser does by itself, which is no use.
func (s *Sessions) Look(ctx context.Context, t ticket.Ticket) (Session, error) {
	item, err := s.all.Get(ctx, nameOf(t))
	if errors.Is(err, state.ErrNotFound) {
		return Session{}, problem.New(problem.Unauthenticated, "there is no such session").WithNext("sign in again")
	}
	if err != nil {
		return Session{}, err
	}
	if err := s.over(item.Value); err != nil {
		_ = s.remove(ctx, nameOf(t)) // it counts no longer whether or not it is there
		return Session{}, err
	}
	return item.Value, nil
}

// errEnded is how a change of a session says that it is there no longer.
var errEnded = problem.New(problem.Unauthenticated, "the session has been ended").WithNext("sign in again")

func (s *Sessions) touch(ctx context.Context, t ticket.Ticket, was Session) (Session, error) {
	item, err := s.all.Update(ctx, nameOf(t), func(old Session, exists bool) (Session, error) {
		if !exists {
			return old, errEnded
		}
		old.Seen = s.cfg.Clock.Now().UTC()
		return old, nil
	})
	if errors.Is(err, state.ErrConflict) { // others have noted it
		return was, nil
	}
	return item.Value, err
}

// End ends the session of a ticket; there need be none.
func (s *Sessions) End(ctx context.Context, t ticket.Ticket) error { return s.remove(ctx, nameOf(t)) }

// EndAll ends all sessions of a principal, on every node.
func (s *Sessions) EndAll(ctx context.Context, objectID string) error {
	list, err := s.of(ctx, objectID)
	for _, item := range list {
		err = errors.Join(err, s.remove(ctx, objectID+"/"+item.Name))
	}
	return err
}

// Sweep removes what is over. It is for now and then: sessions that are over count
// for nothing in any case.
func (s *Sessions) Sweep(ctx context.Context) error {
	list, err := s.of(ctx, "")
	for _, item := range list {
		if s.over(item.Value) != nil {
			err = errors.Join(err, s.remove(ctx, item.Name))
		}
	}
	return err
}
