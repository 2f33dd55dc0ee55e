// Package dataprotection owns the encryption at rest of the stock functions
// host, in both directions: the ASP.NET Core Data Protection payload under keys
// that come from the environment. A folder of keys can therefore be shared
// with, taken over from or handed back to a stock host.
//
// The payload is the magic 09 F0 C9 F0, the key's guid, a 16-byte key modifier,
// a 16-byte initialisation vector, AES-256-CBC with PKCS#7 padding, and an
// HMAC-SHA256 over vector and ciphertext; the whole as base64url without
// padding. The two subkeys come from SP800-108 in counter mode. The format has
// one fixed purpose for all values, so it cannot bind a value to its place.
package dataprotection

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
)

// purpose is the one purpose the functions host uses.
const purpose = "function-secrets"

var magic = [4]byte{0x09, 0xf0, 0xc9, 0xf0}

// Sealer seals with the primary key of a key ring and opens with any of it. It
// is immutable.
type Sealer struct {
	ring ring
	id   string
}

var _ seal.Sealer = (*Sealer)(nil)

// FromEnviron reads the key ring from environment lines "NAME=value", as
// os.Environ gives them: AzureWebEncryptionKey, or else MACHINEKEY_DecryptionKey,
// is the default key; AzureWebEncryptionKey_{guid} are further keys;
// AzureWebPrimaryEncryptionKey names the one that seals. Without any of them it
// returns nil, nil. A faulty setting is problem.Invalid.
func FromEnviron(environ []string) (*Sealer, error) {
	env := map[string]string{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	for name, value := range env {
		if value == "" {
			delete(env, name)
		}
	}
	r, err := readRing(env)
	if err != nil || len(r.keys) == 0 {
		return nil, err
	}
	return &Sealer{ring: r, id: describe(env)}, nil
}

// Seals reports true.
func (s *Sealer) Seals() bool { return true }

// KeyID gives names and SHA-256 hashes of the default settings, in the form the
// stock host writes.
func (s *Sealer) KeyID() string { return s.id }

// Seal encrypts plain with the primary key. The place is not used.
func (s *Sealer) Seal(plain, _ string) (string, error) {
	var random [modifierSize + ivSize]byte
	_, _ = rand.Read(random[:]) // never fails
	return s.sealWith(plain, random[:modifierSize], random[modifierSize:])
}

func (s *Sealer) sealWith(plain string, modifier, iv []byte) (string, error) {
	head := header(s.ring.primary)
	body, err := encrypt(s.ring.keys[s.ring.primary], aad(s.ring.primary), []byte(plain), modifier, iv)
	if err != nil {
		return "", problem.Wrap(problem.Internal, "encrypting a key failed", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(head, body...)), nil
}

// Open decrypts a payload made with any key of the ring.
func (s *Sealer) Open(sealed, _ string) (string, bool, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(sealed, "="))
	if err != nil || len(raw) < len(magic)+len(keyID{}) || !bytes.HasPrefix(raw, magic[:]) {
		return "", false, undecryptable("the value is not a Data Protection payload")
	}
	id := keyID(raw[len(magic):])
	key, ok := s.ring.keys[id]
	if !ok {
		return "", false, undecryptable("the value was encrypted with a key that is not set").
			WithNext("set " + settingDefault + " or " + settingNamed + "{guid} to the key it was encrypted with")
	}
	plain, ok := decrypt(key, aad(id), raw[len(magic)+len(id):])
	if !ok {
		return "", false, undecryptable("the value is damaged or was encrypted with another key").
			WithNext("set " + settingDefault + " to the value it had when the keys were stored")
	}
	return string(plain), id != s.ring.primary, nil
}

func undecryptable(text string) *problem.Error {
	return problem.New(problem.Undecryptable, text)
}

func header(id keyID) []byte { return append(magic[:len(magic):len(magic)], id[:]...) }

// aad gives the additional authenticated data: the header, the number of
// purposes, and each purpose as its length (one 7-bit byte suffices here)
// followed by its UTF-8 bytes.
func aad(id keyID) []byte {
	b := binary.BigEndian.AppendUint32(header(id), 1)
	return append(append(b, byte(len(purpose))), purpose...)
}
