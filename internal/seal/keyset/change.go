package keyset

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/latchkey/latchkey/internal/problem"
)

// changeTries bounds how often a change of the keyset begins anew because
// another process was faster.
const changeTries = 100

// Rotate makes a new primary key. Values sealed before still open, as stale.
// Other processes pick the new keyset up when they first meet a value sealed
// with it. It returns the kinds [OpenIn] does.
func (s *Sealer) Rotate(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.change(ctx, withNewPrimary)
}

func withNewPrimary(now keys) ([]byte, error) {
	m := keyset.NewManagerFromHandle(now.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the keyset cannot be given a new key", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the keyset cannot be given a new key", err)
	}
	return wrap(handle, now.kek)
}

// change replaces the keyset in the box by what edit makes of it, whoever else
// changes it at the same time, and adopts it. edit may run more than once.
// Callers hold reading.
func (s *Sealer) change(ctx context.Context, edit func(now keys) ([]byte, error)) error {
	for range changeTries {
		old, err := s.load(ctx)
		if err != nil {
			return s.gone(err)
		}
		text, err := edit(s.current())
		if err != nil {
			return err
		}
		err = s.box.Replace(ctx, old, text)
		if err == nil {
			return s.adopt(text)
		}
		if !errors.Is(err, problem.Conflict) || ctx.Err() != nil {
			return err
		}
	}
	return problem.New(problem.Conflict, fmt.Sprintf("others kept changing the keyset %s", s.box)).WithNext("try again")
}

// confirm reads the keyset as it is now.
func (s *Sealer) confirm(ctx context.Context) error {
	_, err := s.load(ctx)
	return s.gone(err)
}

func (s *Sealer) gone(err error) error {
	if errors.Is(err, problem.NotFound) {
		return problem.Wrap(problem.Undecryptable, fmt.Sprintf("the keyset %s is gone", s.box), err).
			WithNext("restore it from a backup; values sealed with it cannot be opened without it")
	}
	return err
}

// Rewrap encrypts the same keyset under another key-encryption key; sealed
// values are not touched and processes that hold the keyset go on. text is the
// new key in base64 or hexadecimal.
//
// If the key lives in a file, an empty text makes a new one, and the file is
// replaced. The former key lies beside it, with ".old" added to the name, from
// before that until the new one is proven to open the keyset: a keyset that was
// left in between opens with whichever of the two it needs, and the next Rewrap
// completes the change. Nodes with files of their own need the new file before
// they start again or meet a newer data key.
//
// If the key came from the setting, the caller has stored the text already, and
// processes must be started with it from then on.
//
// It returns the kinds [OpenIn] does; problem.Invalid for a text that is no key;
// problem.Conflict if an earlier change to another key is to be completed first.
// Backups made before need the former key.
func (s *Sealer) Rewrap(ctx context.Context, text string) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.place.path == "" {
		next, err := parseKEK(text, "the new key-encryption key")
		if err != nil {
			return err
		}
		return s.rewrapUnder(ctx, next)
	}
	release, err := s.place.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.rewrapFile(ctx, text)
}

// rewrapUnder puts the keyset under another key. That one is kept for later
// readings of the box even if it is not known whether the box was replaced.
func (s *Sealer) rewrapUnder(ctx context.Context, next kek) error {
	s.offer(next)
	return s.change(ctx, func(now keys) ([]byte, error) { return wrap(now.handle, next) })
}

// rewrapFile does the steps of a change of the file, each of which leaves a
// state that opens. Callers hold the lock of the file.
func (s *Sealer) rewrapFile(ctx context.Context, text string) error {
	if err := s.confirm(ctx); err != nil {
		return err
	}
	now := s.current().kek
	next, err := s.nextKEK(now, text)
	if err != nil {
		return err
	}
	if err := s.place.keepOld(now); err != nil {
		return err
	}
	if err := s.place.put(next); err != nil {
		return err
	}
	if err := s.rewrapUnder(ctx, next); err != nil {
		return err
	}
	if err := s.prove(ctx); err != nil {
		return err
	}
	return s.place.dropOld()
}

// nextKEK decides which key comes after the one that opens the keyset now. If
// the file holds yet another one, a change to that was interrupted, and its
// write to the box may still be on its way: replacing that key could lose it.
func (s *Sealer) nextKEK(now kek, text string) (kek, error) {
	inFile, err := s.place.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kek{}, err
	}
	pending := err == nil && !inFile.same(now)
	if text == "" && pending {
		return inFile, nil
	}
	if text == "" {
		text = RandomKEK()
	}
	next, err := parseKEK(text, "the new key-encryption key")
	if err == nil && pending && !next.same(inFile) {
		return kek{}, problem.New(problem.Conflict, fmt.Sprintf("an earlier change to the key-encryption key in %s was not completed", s.place)).
			WithNext("complete it by making the change without giving a key, then make this one")
	}
	next.source = s.place.String()
	return next, err
}

func (k kek) same(other kek) bool {
	return subtle.ConstantTimeCompare([]byte(k.raw), []byte(other.raw)) == 1
}

// prove makes sure that what is in the file opens what is in the box.
func (s *Sealer) prove(ctx context.Context) error {
	k, err := s.place.read()
	if err != nil {
		return err
	}
	text, err := s.box.Load(ctx)
	if err != nil {
		return s.gone(err)
	}
	if _, err := unwrap(text, k); err != nil {
		return problem.New(problem.Conflict, fmt.Sprintf("the key-encryption key in %s does not open the keyset %s; the former key is kept in %s", s.place, s.box, s.place.path+oldSuffix)).
			WithNext("make the change again")
	}
	return nil
}
