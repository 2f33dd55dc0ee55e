// Package drill owns what people change on purpose to see how an installation
// takes it: how far its clock is ahead, and which of its parts fail. All nodes of
// an installation share it through the state. It does not know who may ask for
// it, or how the parts fail in their own dialects: they ask here and act.
package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Keys of the state.
const (
	prefix state.Key = "/drill/"
	key              = prefix + "state"
)

// Limits of what can be asked for.
const (
	MaxAhead = 10 * 365 * 24 * time.Hour
	MaxSlow  = time.Minute
)

// Faults are the parts that fail. The zero value is none.
type Faults struct {
	Vault VaultFault    `json:"vault,omitempty"`
	Token bool          `json:"token,omitempty"` // nobody gets a token from the identity endpoint
	Slow  time.Duration `json:"slow,omitempty"`  // vaults and the identity endpoint take so long, in nanoseconds
}

// VaultFault is how vaults fail.
type VaultFault string

// Ways for vaults to fail.
const (
	VaultWorks  VaultFault = ""
	VaultErrors VaultFault = "error" // they answer 500
	VaultDenies VaultFault = "deny"  // they refuse everybody
)

// State is how an installation is drilled.
type State struct {
	Ahead  time.Duration `json:"ahead"`
	Faults Faults        `json:"faults"`
}

// Drill changes and tells the state. It is safe for concurrent use, also by
// several nodes.
type Drill struct {
	store state.Store
	clock *clock.Drill
	log   *slog.Logger

	mu  sync.Mutex
	now State
	rev state.Revision // of what is in now
}

// Check returns problem.Conflict for a state whose clock is ahead: without the
// drill, what it holds would lie in the future.
func Check(ctx context.Context, store state.Store) error {
	s, _, err := read(ctx, store)
	if err == nil && s.Ahead != 0 {
		err = problem.New(problem.Conflict, fmt.Sprintf("the clock of this installation is %s ahead since a drill", s.Ahead)).
			WithNext("start it with --drill, and set it back with: latchkey clock reset")
	}
	return err
}

// Open reads the state and sets the clock.
func Open(ctx context.Context, store state.Store, c *clock.Drill, log *slog.Logger) (*Drill, error) {
	d := &Drill{store: store, clock: c, log: log}
	s, rev, err := read(ctx, store)
	if err != nil {
		return nil, err
	}
	d.take(s, rev)
	return d, nil
}

func read(ctx context.Context, store state.Store) (s State, rev state.Revision, err error) {
	doc, err := store.Get(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, err
	}
	s, err = decode(doc)
	return s, doc.Revision, err
}

func decode(doc state.Document) (s State, err error) {
	if err = json.Unmarshal(doc.Value, &s); err != nil {
		err = problem.Wrap(problem.Undecryptable, "the document of the drill cannot be understood", err)
	}
	return s, err
}

// take puts a state into force unless a newer one is.
func (d *Drill) take(s State, rev state.Revision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rev < d.rev {
		return
	}
	if s.Ahead != d.now.Ahead {
		d.log.Warn("drill: the clock was moved", "ahead", s.Ahead.String())
	}
	if s.Faults != d.now.Faults {
		d.log.Warn("drill: faults were switched", "vault", s.Faults.Vault, "token", s.Faults.Token, "slow", s.Faults.Slow.String())
	}
	d.now, d.rev = s, rev
	d.clock.Set(s.Ahead)
}

// Run follows what other nodes are asked for until ctx ends.
func (d *Drill) Run(ctx context.Context) {
	state.Follow(ctx, d.store, prefix, clock.Real{}, (*follower)(d))
}

type follower Drill

// Reset implements state.Follower.
func (f *follower) Reset(documents []state.Document) {
	for _, doc := range documents {
		f.apply(doc)
	}
}

// Apply implements state.Follower.
func (f *follower) Apply(e state.Event) {
	if e.Kind == state.EventPut {
		f.apply(e.Document)
	}
}

// Cut implements state.Follower: the drill goes on as it was.
func (f *follower) Cut(error) {}

func (f *follower) apply(doc state.Document) {
	if doc.Key != key || doc.Value == nil {
		return
	}
	s, err := decode(doc)
	if err != nil {
		f.log.Error("drill", "reason", err)
		return
	}
	(*Drill)(f).take(s, doc.Revision)
}

// Now tells the state in force.
func (d *Drill) Now() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// Advance moves the clock of all nodes ahead; problem.Invalid for less than a
// second and for more than MaxAhead in all.
func (d *Drill) Advance(ctx context.Context, by time.Duration) (State, error) {
	return d.change(ctx, func(s *State) error {
		if by < time.Second || s.Ahead > MaxAhead-by {
			return problem.New(problem.Invalid, fmt.Sprintf("the clock cannot be moved by %s: give at least 1s, and %s in all at most", by, MaxAhead))
		}
		s.Ahead += by
		return nil
	})
}

// Reset sets the clock of all nodes to the system's time. What was written
// meanwhile keeps its times, which lie in the future then.
func (d *Drill) Reset(ctx context.Context) (State, error) {
	return d.change(ctx, func(s *State) error { s.Ahead = 0; return nil })
}

// Switch makes parts fail, or work again; problem.Invalid naming what is wrong.
func (d *Drill) Switch(ctx context.Context, f Faults) (State, error) {
	if f.Vault != VaultWorks && f.Vault != VaultErrors && f.Vault != VaultDenies {
		return State{}, problem.New(problem.Invalid, fmt.Sprintf("vault: %q is none of error, deny and nothing", f.Vault))
	}
	if f.Slow < 0 || f.Slow > MaxSlow {
		return State{}, problem.New(problem.Invalid, fmt.Sprintf("slow: must be between 0 and %s", MaxSlow))
	}
	return d.change(ctx, func(s *State) error { s.Faults = f; return nil })
}

func (d *Drill) change(ctx context.Context, f func(*State) error) (next State, err error) {
	doc, err := state.Update(ctx, d.store, key, func(old []byte, exists bool) ([]byte, error) {
		next = State{}
		if exists {
			if err := json.Unmarshal(old, &next); err != nil {
				return nil, problem.Wrap(problem.Undecryptable, "the document of the drill cannot be understood", err)
			}
		}
		if err := f(&next); err != nil {
			return nil, err
		}
		return json.Marshal(next)
	})
	if err == nil {
		d.take(next, doc.Revision)
	}
	return next, err
}

// Vault is asked by whoever answers for a vault, before it does: it takes the time
// it is to take and gives how the vault is to fail, or ctx's error.
func (d *Drill) Vault(ctx context.Context) (VaultFault, error) {
	f := d.Now().Faults
	return f.Vault, wait(ctx, f.Slow)
}

// Token is asked before a token is given to a workload: problem.Unavailable while
// nobody is to get one, or ctx's error.
func (d *Drill) Token(ctx context.Context) error {
	f := d.Now().Faults
	if err := wait(ctx, f.Slow); err != nil {
		return err
	}
	if f.Token {
		return problem.New(problem.Unavailable, "the token service is switched off by a drill").
			WithNext("latchkey drill faults --clear")
	}
	return nil
}

// wait takes the time of the system, not of the clock that can be moved.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return clock.Sleep(ctx, clock.Real{}, d)
}
