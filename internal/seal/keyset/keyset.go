// Package keyset owns Latchkey's own encryption at rest: a Tink keyset of
// AES-256-GCM keys in one folder, itself encrypted under a key-encryption key
// that lies beside it in a 0600 file or comes from the environment. A sealed
// value is "lk1." and base64url, bound to the place it was sealed for, so that
// values cannot be swapped. A keyset that is there but cannot be opened is an
// error and never replaced.
//
// The stock functions host cannot read these values: folders shared with one
// use package dataprotection, or no encryption.
package keyset

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
)

// Names of the files in the folder, and the prefix of sealed values.
const (
	KEKFile    = "kek"
	KeysetFile = "keyset.json"
	Prefix     = "lk1."

	lockFile   = ".lock"
	ignoreFile = ".gitignore"
)

// tinkPrefix is the size of what Tink puts before a ciphertext: a version byte
// and the key's id, big-endian.
const tinkPrefix = 5

// Sealer seals with the keyset's primary key and opens with all of its keys. It
// is safe for concurrent use by goroutines and processes sharing the folder.
type Sealer struct {
	dir  string
	kek  kek
	lock *atomicfile.Lock

	mu   sync.RWMutex
	keys keys
}

var (
	_ seal.Sealer = (*Sealer)(nil)
	_ seal.Binary = (*Sealer)(nil)
)

// keys is one state of the keyset, immutable.
type keys struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32
}

// Open reads the keyset in dir, making folder (0700, ignored by git),
// key-encryption key and keyset when there is none yet. setting is the value of
// [EnvKEK]; empty means the key-encryption key is the file beside the keyset.
//
// It returns problem.Undecryptable, and makes nothing, if there is a keyset but
// no key-encryption key or the wrong one; problem.Invalid for a malformed
// key-encryption key; problem.Unavailable if the folder cannot be read or made.
func Open(ctx context.Context, dir, setting string) (*Sealer, error) {
	s := &Sealer{dir: dir, lock: atomicfile.NewLock(filepath.Join(dir, lockFile))}
	if setting != "" {
		k, err := fromSetting(setting)
		if err != nil {
			return nil, err
		}
		s.kek = k
	}
	err := s.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = s.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// load reads the keyset from its file; it makes nothing. A missing keyset is
// fs.ErrNotExist. The keyset is read before the key-encryption key because they
// are made the other way round.
func (s *Sealer) load() error {
	sealed, err := os.ReadFile(s.path(KeysetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the keyset "+s.path(KeysetFile)+" cannot be read", err)
	}
	if err := s.needKEK(); err != nil {
		return err
	}
	return s.adopt(sealed)
}

func (s *Sealer) needKEK() error {
	if s.kek.aead != nil {
		return nil
	}
	k, err := fromFile(s.path(KEKFile))
	if errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.Undecryptable, fmt.Sprintf("%s is missing, so the keyset %s cannot be opened", s.path(KEKFile), s.path(KeysetFile))).
			WithNext("restore that file from a backup or set " + EnvKEK + " to its content; nothing was changed")
	}
	if err != nil && problem.KindOf(err) == problem.Internal {
		err = problem.Wrap(problem.Unavailable, "the key-encryption key "+s.path(KEKFile)+" cannot be read", err)
	}
	s.kek = k
	return err
}

// adopt makes the sealed keyset the one in use.
func (s *Sealer) adopt(sealed []byte) error {
	k, err := unwrap(sealed, s.kek)
	if err != nil {
		return problem.New(problem.Undecryptable, fmt.Sprintf("the keyset %s cannot be opened with the key-encryption key from %s", s.path(KeysetFile), s.kek.source)).
			WithNext("restore the key-encryption key the keyset was made with; nothing was changed")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = k
	return nil
}

// create makes what is missing, one process at a time; the keyset comes last,
// so that it never exists without its key-encryption key.
func (s *Sealer) create(ctx context.Context) error {
	if err := atomicfile.MakeDir(s.dir); err != nil {
		return problem.Wrap(problem.Unavailable, "the encryption folder "+s.dir+" cannot be made", err)
	}
	release, err := s.lock.Acquire(ctx)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the encryption folder "+s.dir+" cannot be locked", err)
	}
	defer release()
	if err := s.load(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.createLocked()
}

func (s *Sealer) createLocked() error {
	if err := atomicfile.Create(s.path(ignoreFile), []byte("*\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return problem.Wrap(problem.Unavailable, s.path(ignoreFile)+" cannot be made", err)
	}
	if s.kek.aead == nil {
		k, err := makeFile(s.path(KEKFile))
		if err != nil {
			return err
		}
		s.kek = k
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return problem.Wrap(problem.Internal, "a new keyset cannot be made", err)
	}
	sealed, err := wrap(handle, s.kek)
	if err != nil {
		return err
	}
	if err := atomicfile.Create(s.path(KeysetFile), sealed); err != nil && !errors.Is(err, fs.ErrExist) {
		return problem.Wrap(problem.Unavailable, "the keyset "+s.path(KeysetFile)+" cannot be made", err)
	}
	return s.load()
}

// Rotate makes a new primary key. Values sealed before still open, as stale.
// Other processes pick the new keyset up when they first meet a value sealed
// with it. It returns the kinds [Open] does.
func (s *Sealer) Rotate(ctx context.Context) error {
	release, err := s.lock.Acquire(ctx)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the encryption folder "+s.dir+" cannot be locked", err)
	}
	defer release()
	_ = atomicfile.Sweep(s.dir, func(name string) bool { return name == KeysetFile || name == KEKFile }) // leftovers do no harm, so failing to remove them doesn't either
	if err := s.load(); errors.Is(err, fs.ErrNotExist) {
		return problem.Wrap(problem.Undecryptable, "the keyset "+s.path(KeysetFile)+" is gone", err)
	} else if err != nil {
		return err
	}
	sealed, err := s.withNewPrimary()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.path(KeysetFile), sealed); err != nil {
		return problem.Wrap(problem.Unavailable, "the keyset "+s.path(KeysetFile)+" cannot be written", err)
	}
	return s.adopt(sealed)
}

func (s *Sealer) withNewPrimary() ([]byte, error) {
	m := keyset.NewManagerFromHandle(s.current().handle)
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
	return wrap(handle, s.kek)
}

// Seal encrypts plain with the primary key, bound to place.
func (s *Sealer) Seal(plain, place string) (string, error) {
	raw, err := s.SealBytes([]byte(plain), place)
	if err != nil {
		return "", err
	}
	return Prefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// SealBytes is Seal without the text form.
func (s *Sealer) SealBytes(plain []byte, place string) ([]byte, error) {
	raw, err := s.current().aead.Encrypt(plain, []byte(place))
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "encrypting a value failed", err)
	}
	return raw, nil
}

// Open decrypts a value sealed for place with any key of the keyset.
func (s *Sealer) Open(sealed, place string) (string, bool, error) {
	text, ok := strings.CutPrefix(sealed, Prefix)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil {
		return "", false, problem.New(problem.Undecryptable, "the value was not sealed by Latchkey")
	}
	plain, stale, err := s.OpenBytes(raw, place)
	return string(plain), stale, err
}

// OpenBytes is Open for what SealBytes gave.
func (s *Sealer) OpenBytes(raw []byte, place string) ([]byte, bool, error) {
	if len(raw) < tinkPrefix {
		return nil, false, problem.New(problem.Undecryptable, "the value was not sealed by Latchkey")
	}
	id := binary.BigEndian.Uint32(raw[1:tinkPrefix])
	k := s.current()
	if !k.has(id) {
		k = s.reloaded()
	}
	if !k.has(id) {
		return nil, false, problem.New(problem.Undecryptable, fmt.Sprintf("the value was sealed with a key that is not in %s", s.path(KeysetFile))).
			WithNext("restore the keyset the value was sealed with")
	}
	plain, err := k.aead.Decrypt(raw, []byte(place))
	if err != nil {
		return nil, false, problem.New(problem.Undecryptable, "the value is damaged or was sealed for another place")
	}
	return plain, id != k.primary, nil
}

// Seals reports true.
func (s *Sealer) Seals() bool { return true }

// KeyID names the primary key by its number in the keyset.
func (s *Sealer) KeyID() string { return fmt.Sprintf("LatchkeyKeyset=%d;", s.current().primary) }

// String names the keyset for operators.
func (s *Sealer) String() string { return "keyset " + s.path(KeysetFile) }

// Warnings tells what about the folder weakens the encryption: files others
// may read. It looks anew at each call.
func (s *Sealer) Warnings() []string {
	var out []string
	for _, name := range []string{"", KEKFile, KeysetFile} {
		info, err := os.Stat(s.path(name))
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			out = append(out, fmt.Sprintf("%s is open to other users (mode %04o)", s.path(name), info.Mode().Perm()))
		}
	}
	return out
}

func (s *Sealer) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Sealer) current() keys {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys
}

// reloaded reads the keyset again because another process may have rotated it.
// If that fails the keys in hand stay.
func (s *Sealer) reloaded() keys {
	if sealed, err := os.ReadFile(s.path(KeysetFile)); err == nil {
		_ = s.adopt(sealed)
	}
	return s.current()
}
