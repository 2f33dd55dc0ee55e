// Package seal owns the contract for keeping secret values unreadable where
// they are stored, and the two trivial answers to it: not at all, and one of
// several. Package dataprotection below it speaks the functions host's own
// format, package keyset ours. It does not know what the values are or where
// they are kept.
package seal

import (
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// Sealer turns values into text that says nothing and back. Implementations
// are safe for concurrent use. Their errors never contain a value, a sealed
// value or key material.
type Sealer interface {
	// Seal gives the sealed form of plain, a text of URL-safe characters that
	// differs each time. place says where the value lives; formats that can
	// do so bind the sealed value to it.
	Seal(plain, place string) (sealed string, err error)

	// Open undoes Seal for the same place. stale says that the key used is no
	// longer the primary one, so the value should be sealed anew. It returns
	// problem.Undecryptable for text that is damaged, belongs to another
	// place, or was sealed with a key that is not at hand, and
	// problem.Unavailable if that key could not be looked up just now.
	Open(sealed, place string) (plain string, stale bool, err error)

	// Seals reports whether Seal hides anything. It is constant.
	Seals() bool

	// KeyID describes the keys in use for the stored file's "decryptionKeyId"
	// member without giving any away: operators compare it, nobody reads it to
	// find a key. It may be empty.
	KeyID() string
}

// None is the Sealer of stores kept in clear. It opens nothing.
type None struct{}

var _ Sealer = None{}

// Seal gives plain back.
func (None) Seal(plain, _ string) (string, error) { return plain, nil }

// Open fails with problem.Undecryptable: there is no key to open a sealed value.
func (None) Open(_, _ string) (string, bool, error) {
	return "", false, problem.New(problem.Undecryptable, "the value is encrypted and no encryption key is configured").
		WithNext("set AzureWebEncryptionKey to the value it had when the keys were stored, or restore the encryption folder")
}

// Seals reports false.
func (None) Seals() bool { return false }

// KeyID gives "".
func (None) KeyID() string { return "" }

// Chain is a Sealer that seals with its first member and opens with whichever
// can; what another member opened is stale. It carries stores from one format
// to the next. An empty Chain behaves like [None].
type Chain []Sealer

var _ Sealer = Chain(nil)

func (c Chain) first() Sealer {
	if len(c) == 0 {
		return None{}
	}
	return c[0]
}

// Seal seals with the first member.
func (c Chain) Seal(plain, place string) (string, error) { return c.first().Seal(plain, place) }

// Open asks the members in turn and joins their errors if none can.
func (c Chain) Open(sealed, place string) (string, bool, error) {
	if len(c) <= 1 {
		return c.first().Open(sealed, place)
	}
	var errs []error
	for i, s := range c {
		plain, stale, err := s.Open(sealed, place)
		if err == nil {
			return plain, stale || i > 0, nil
		}
		errs = append(errs, err)
	}
	return "", false, problem.Wrap(problem.Undecryptable,
		fmt.Sprintf("none of %d encryption formats can open the value", len(c)), errors.Join(errs...))
}

// Seals reports whether the first member seals.
func (c Chain) Seals() bool { return c.first().Seals() }

// KeyID gives the first member's.
func (c Chain) KeyID() string { return c.first().KeyID() }
