package accesskey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// verifierPrefix begins the text that is kept in place of a value that is not
// kept itself. The text is recognised by this prefix alone, with or without
// metadata, and is never accepted as a value.
const verifierPrefix = "lkh1."

// MinHashedLen is the length, in bytes, below which a value is not kept as a
// verifier only: whoever reads the store could find it out by trying.
const MinHashedLen = 32

// Salt makes verifiers of one document differ from those of others.
type Salt [16]byte

// NewSalt gives a random salt.
func NewSalt() Salt {
	var s Salt
	_, _ = rand.Read(s[:]) // documented never to fail
	return s
}

// Verifier recognises a value without having it: SHA-256 over a salt and the
// value. Keys have 320 random bits, so that a slow function would add nothing.
type Verifier struct {
	Salt Salt
	Sum  [sha256.Size]byte
}

// NewVerifier makes the verifier of a value.
func NewVerifier(salt Salt, value string) Verifier {
	return Verifier{salt, salt.Sum(value)}
}

// maxOnStack is how long a value may be to be hashed without allocating.
const maxOnStack = MaxValueLen

// Sum gives what a verifier with this salt keeps of a value.
func (s Salt) Sum(value string) [sha256.Size]byte {
	var buf [len(verifierPrefix) + len(Salt{}) + maxOnStack]byte
	b := append(buf[:0], verifierPrefix...)
	b = append(b, s[:]...)
	return sha256.Sum256(append(b, value...))
}

// String gives the verifier as it is stored.
func (v Verifier) String() string {
	e := base64.RawURLEncoding
	return verifierPrefix + e.EncodeToString(v.Salt[:]) + "." + e.EncodeToString(v.Sum[:])
}

// ParseVerifier reads what String gives.
func ParseVerifier(text string) (v Verifier, ok bool) {
	rest, ok := strings.CutPrefix(text, verifierPrefix)
	if !ok {
		return v, false
	}
	salt, sum, _ := strings.Cut(rest, ".")
	return v, fill(v.Salt[:], salt) && fill(v.Sum[:], sum)
}

func fill(to []byte, text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && copy(to, raw) == len(raw) && len(raw) == len(to)
}

// IsVerifier reports whether a stored value is a verifier.
func IsVerifier(text string) bool {
	_, ok := ParseVerifier(text)
	return ok
}

// LooksLikeVerifier reports whether a text begins like a verifier. Such a text is
// never a value, not even one that no verifier can be read from.
func LooksLikeVerifier(text string) bool { return strings.HasPrefix(text, verifierPrefix) }
