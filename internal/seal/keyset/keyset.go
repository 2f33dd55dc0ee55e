// Package keyset owns Latchkey's own encryption at rest: a Tink keyset of
// AES-256-GCM keys in a [Box], itself encrypted under a key-encryption key that
// lies in a 0600 file or comes from the environment. A sealed value is "lk1."
// and base64url, or bytes, bound to the place it was sealed for, so that values
// cannot be swapped. A keyset that is there but cannot be opened is an error and
// never replaced. It does not know what is sealed, nor what kind of box it has,
// but for the folder that holds both the keyset and its key.
//
// The stock functions host cannot read these values: folders shared with one
// use package dataprotection, or no encryption.
package keyset

import (
	"bytes"
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
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

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

// rereadTime bounds how long opening a value waits for the box.
const rereadTime = 5 * time.Second

// Sealer seals with the keyset's primary key and opens with all of its keys. It
// is safe for concurrent use by goroutines, and by processes sharing the box.
type Sealer struct {
	box   Box
	place KEK

	reading sync.Mutex // held from reading the box until its content is adopted, so that no older content comes after a newer one

	mu      sync.RWMutex
	keys    keys
	offered kek // that of a change in progress; its aead may be nil
}

var (
	_ seal.Sealer = (*Sealer)(nil)
	_ seal.Binary = (*Sealer)(nil)
)

// Open reads the keyset in the folder dir, making folder (0700, ignored by git),
// key-encryption key and keyset when there is none yet. setting is the value of
// [EnvKEK]; empty means the key-encryption key is the file beside the keyset. It
// returns the kinds [OpenIn] does.
func Open(ctx context.Context, dir, setting string) (*Sealer, error) {
	return OpenIn(ctx, newFolder(dir), NewKEK(setting, filepath.Join(dir, KEKFile)), true)
}

// OpenIn reads the keyset in box with the key-encryption key in place. If the
// box is empty it makes a keyset, and the key's file if that is not there; but
// only if create says that the installation is new, so that nothing was sealed
// yet. Of several processes that do so at once, one makes the keyset for all;
// they need the same key-encryption key.
//
// It returns problem.Undecryptable, and makes nothing, if there is a keyset but
// no key-encryption key or the wrong one, or no keyset where one must be;
// problem.Invalid for a malformed key-encryption key; problem.Unavailable if the
// box or the file cannot be read or made.
func OpenIn(ctx context.Context, box Box, place KEK, create bool) (*Sealer, error) {
	s := &Sealer{box: box, place: place}
	if place.setting != "" {
		if _, err := place.read(); err != nil {
			return nil, err
		}
	}
	_, err := s.load(ctx)
	if errors.Is(err, problem.NotFound) {
		if !create {
			return nil, s.gone(err)
		}
		err = s.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// load reads the keyset and makes it the one in use; it makes nothing. It gives
// what the box holds. An empty box is problem.NotFound. The keyset is read
// before the key-encryption key because they are made the other way round.
// Callers hold reading, or are the only ones to know s.
func (s *Sealer) load(ctx context.Context) ([]byte, error) {
	text, err := s.box.Load(ctx)
	if err != nil {
		return nil, err
	}
	for range loadTries {
		if err = s.adopt(text); !errors.Is(err, problem.Undecryptable) {
			break
		}
		// The keys may have been changed between the two readings.
		now, bad := s.box.Load(ctx)
		if bad != nil || bytes.Equal(now, text) {
			break
		}
		text = now
	}
	return text, err
}

// loadTries bounds how often a keyset is read anew that is being changed.
const loadTries = 10

// adopt makes the keyset of a text the one in use.
func (s *Sealer) adopt(text []byte) error {
	k, err := s.unlock(text)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = k
	return nil
}

// unlock opens the text of a keyset with the key-encryption keys there are: at
// hand, in its place, and the former one of an interrupted change.
func (s *Sealer) unlock(text []byte) (keys, error) {
	s.mu.RLock()
	hand := []kek{s.keys.kek, s.offered}
	s.mu.RUnlock()
	for _, k := range hand {
		if k.aead == nil {
			continue
		}
		if got, err := unwrap(text, k); err == nil {
			return got, nil
		}
	}
	k, err := s.place.read()
	if errors.Is(err, fs.ErrNotExist) {
		return keys{}, problem.New(problem.Undecryptable, fmt.Sprintf("%s is missing, so the keyset %s cannot be opened", s.place, s.box)).
			WithNext("restore that file from a backup or set " + EnvKEK + " to its content; nothing was changed")
	}
	if err != nil {
		return keys{}, err
	}
	if got, err := unwrap(text, k); err == nil {
		return got, nil
	}
	if old, err := s.place.readOld(); err == nil {
		if got, err := unwrap(text, old); err == nil {
			return got, nil
		}
	}
	return keys{}, problem.New(problem.Undecryptable, fmt.Sprintf("the keyset %s cannot be opened with the key-encryption key from %s", s.box, s.place)).
		WithNext("restore the key-encryption key the keyset was made with, or was last put under; nothing was changed")
}

// offer makes another key-encryption key one of those at hand.
func (s *Sealer) offer(k kek) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = k
}

// create makes what is missing; the keyset comes last, so that it never exists
// without its key-encryption key. If another process was faster, its keyset is
// the one.
func (s *Sealer) create(ctx context.Context) error {
	if f, ok := s.box.(*folder); ok {
		if err := f.prepare(); err != nil {
			return err
		}
	}
	k, err := s.place.make(ctx)
	if err != nil {
		return err
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return problem.Wrap(problem.Internal, "a new keyset cannot be made", err)
	}
	text, err := wrap(handle, k)
	if err != nil {
		return err
	}
	if err := s.box.Replace(ctx, nil, text); err != nil && !errors.Is(err, problem.Conflict) {
		return err
	}
	return s.confirm(ctx)
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
	k, err := s.having(id)
	if err != nil {
		return nil, false, err
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
func (s *Sealer) String() string { return "keyset " + s.box.String() }

// Warnings tells what weakens the encryption: files that others may read, and a
// former key-encryption key that was left behind. It looks anew at each call.
func (s *Sealer) Warnings() []string {
	var paths []string
	if f, ok := s.box.(*folder); ok {
		paths = []string{f.dir, f.path(KEKFile), f.path(KeysetFile)}
	} else if s.place.path != "" {
		paths = []string{s.place.path}
	}
	out := openToOthers(paths...)
	if s.place.path == "" {
		return out
	}
	old := s.place.path + oldSuffix
	if _, err := os.Lstat(old); err == nil {
		out = append(out, old+" is left from a change of the key-encryption key that was not completed; make the change again")
	}
	return append(out, openToOthers(old)...)
}

func (s *Sealer) current() keys {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys
}

// having gives the keys if the one with the id is among them. If it is not, the
// keyset is read again, because another process may have rotated it.
func (s *Sealer) having(id uint32) (keys, error) {
	if k := s.current(); k.has(id) {
		return k, nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if k := s.current(); k.has(id) {
		return k, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rereadTime) // [seal.Sealer] has no context: opening is rarely more than arithmetic
	defer cancel()
	_, err := s.load(ctx)
	if err != nil {
		kind := problem.Undecryptable
		if problem.KindOf(err) == problem.Unavailable {
			kind = problem.Unavailable
		}
		return keys{}, problem.Wrap(kind, "the value was sealed with a key that is not at hand, and the keyset cannot be read again", s.gone(err))
	}
	if k := s.current(); k.has(id) {
		return k, nil
	}
	return keys{}, problem.New(problem.Undecryptable, fmt.Sprintf("the value was sealed with a key that is not in %s", s.box)).
		WithNext("restore the keyset the value was sealed with")
}
