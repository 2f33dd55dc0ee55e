package secrets

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// Set makes a new version, which is the latest from now on. Errors:
// problem.Invalid naming the field, problem.Conflict with vault.SecretDeleted or
// SecretBeingDeleted when a deleted secret has the name.
func (s *Store) Set(ctx context.Context, v vault.Vault, name, value string, a Attributes) (b Bundle, err error) {
	if err := errors.Join(checkValue(value), a.check()); err != nil {
		return Bundle{}, first(err)
	}
	err = s.attempt(ctx, v, name, func(key string) error {
		h, err := s.setOnce(ctx, v, name, key, value, a)
		b = Bundle{h.properties(v, h.Latest), value}
		return err
	})
	if err != nil {
		return Bundle{}, err
	}
	return b, nil
}

func (s *Store) setOnce(ctx context.Context, v vault.Vault, name, key, value string, a Attributes) (head, error) {
	h, err := s.head(ctx, v, key)
	ops := []state.Op{v.Open()}
	switch {
	case errors.Is(err, state.ErrNotFound):
		h = head{UID: newID(), Name: name}
		ops = append(ops, state.Check(deletedOf(v.UID)+state.Key(key), state.Absent))
	case err != nil:
		return head{}, err
	default:
		old, err := h.Latest.put(v.UID, h.UID, state.Absent)
		if err != nil {
			return head{}, err
		}
		ops = append(ops, old)
	}
	now := s.after(h.Latest.Created)
	h.Latest = version{ID: newID(), Value: value, Created: now, Previous: h.Latest.ID}.with(a, now)
	put, err := h.put(headsOf(v.UID)+state.Key(key), h.revision)
	if err != nil {
		return head{}, err
	}
	_, err = s.State.Write(ctx, append(ops, put)...)
	if h.revision == state.Absent && errors.Is(err, state.ErrConflict) {
		if why := s.obstacle(ctx, v, name, key); why != nil {
			return head{}, why
		}
	}
	return h, err
}

// Update changes attributes of a version, of the latest for "", whether it is
// enabled or not. Errors: problem.Invalid naming the field, problem.NotFound with
// vault.SecretNotFound.
func (s *Store) Update(ctx context.Context, v vault.Vault, name, version string, a Attributes) (p Properties, err error) {
	if err := a.check(); err != nil {
		return Properties{}, err
	}
	err = s.attempt(ctx, v, name, func(key string) error {
		p, err = s.updateOnce(ctx, v, name, key, strings.ToLower(version), a)
		return err
	})
	if err != nil {
		return Properties{}, err
	}
	return p, nil
}

func (s *Store) updateOnce(ctx context.Context, v vault.Vault, name, key, id string, a Attributes) (Properties, error) {
	h, err := s.head(ctx, v, key)
	if err != nil {
		return Properties{}, missing(err, name, id)
	}
	ops := []state.Op{v.Open()}
	x, rev, err := s.version(ctx, v, h, id)
	if err != nil {
		return Properties{}, missing(err, name, id)
	}
	x = x.with(a, s.now())
	if x.ID == h.Latest.ID {
		h.Latest = x
	} else {
		put, err := x.put(v.UID, h.UID, rev)
		if err != nil {
			return Properties{}, err
		}
		ops = append(ops, put)
	}
	// The head is written in any case: the secret is there still, and who follows it
	// learns of the change.
	put, err := h.put(headsOf(v.UID)+state.Key(key), h.revision)
	if err != nil {
		return Properties{}, err
	}
	_, err = s.State.Write(ctx, append(ops, put)...)
	return h.properties(v, x), err
}

func (s *Store) now() time.Time { return s.Clock.Now().UTC() }

// after gives the time now, or just after another one if the clock is behind it, so
// that the latest version is the newest too.
func (s *Store) after(t time.Time) time.Time {
	if now := s.now(); now.After(t) {
		return now
	}
	return t.Add(1)
}

// tries bounds how often a write is tried anew because others wrote meanwhile.
const tries = 20

// attempt takes the step of a write, given the key of the secret's name, until
// nobody else comes between. A conflict that is one of the secret's own is given as
// what it is.
func (s *Store) attempt(ctx context.Context, v vault.Vault, name string, step func(key string) error) error {
	if err := vault.CheckSecretName(name); err != nil {
		return err
	}
	key := strings.ToLower(name)
	leave, err := s.queue(ctx, v.UID+"/"+key)
	if err != nil {
		return err
	}
	defer leave()
	for try := range tries {
		err := step(key)
		var final vault.Code
		if !errors.Is(err, state.ErrConflict) || errors.As(err, &final) {
			return err
		}
		if err := s.closed(ctx, v); err != nil {
			return err
		}
		wait := time.Duration(rand.Int64N(int64(time.Millisecond) << min(try, 6)))
		if err := clock.Sleep(ctx, clock.Real{}, wait); err != nil {
			return problem.Wrap(problem.Timeout, "the secret is being changed by others", err)
		}
	}
	return problem.New(problem.Conflict, fmt.Sprintf("others kept changing secret %q", name)).WithNext("try again")
}

// queue waits until no other writer of this node is at the same secret.
func (s *Store) queue(ctx context.Context, key string) (leave func(), err error) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(key))
	lane := s.lanes[hash.Sum32()%uint32(len(s.lanes))]
	select {
	case lane <- struct{}{}:
		return func() { <-lane }, nil
	case <-ctx.Done():
		return nil, state.Alive(ctx)
	}
}

// closed says that nothing can be written into the vault any more; nil if it can.
func (s *Store) closed(ctx context.Context, v vault.Vault) error {
	_, err := s.State.Get(ctx, v.Open().Key)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return problem.Wrap(problem.NotFound, fmt.Sprintf("there is no vault %q", v.Name), vault.VaultNotFound)
}

// obstacle says that a deleted secret has a name; nil if none has. One whose time is
// over makes room.
func (s *Store) obstacle(ctx context.Context, v vault.Vault, name, key string) error {
	h, err := s.deletedHead(ctx, v.UID, key)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return nil
	case err != nil:
		return err
	case h.gone(s.now()):
		if err := s.remove(ctx, v.UID, key, h); !errors.Is(err, state.ErrConflict) {
			return err
		}
		return nil
	case s.beingDeleted(h):
		return beingDeleted(name)
	}
	return problem.Wrap(problem.Conflict, fmt.Sprintf("Secret %s is currently in a deleted but recoverable state, and its name cannot be reused; "+
		"in this state, the secret can only be recovered or purged.", name), vault.SecretDeleted)
}

func beingDeleted(name string) error {
	return problem.Wrap(problem.Conflict, fmt.Sprintf("Secret %s is currently being deleted.", name), vault.SecretBeingDeleted).WithNext("try again in a moment")
}

// first gives the first of joined errors.
func first(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()[0]
	}
	return err
}
