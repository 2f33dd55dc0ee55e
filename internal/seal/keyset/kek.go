package keyset

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// EnvKEK is the setting that holds the key-encryption key instead of the file.
const EnvKEK = "LATCHKEY_KEK"

const (
	kekSize   = 32     // bytes of the AES-256 key-encryption key
	oldSuffix = ".old" // of the file that keeps the former key while a new one takes its place
)

// KEK says where the key-encryption key is kept: in a 0600 file, or in the
// setting [EnvKEK]. The key itself is read when it is needed.
type KEK struct {
	setting string
	path    string
	lock    *atomicfile.Lock // of those who write the file; not the folder's, which is held inside
}

// NewKEK gives the place of the key-encryption key: the file at path, unless
// setting, the value of [EnvKEK], is not empty.
func NewKEK(setting, path string) KEK {
	if setting != "" {
		return KEK{setting: setting}
	}
	lock := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+lockFile)
	return KEK{path: path, lock: atomicfile.NewLock(lock)}
}

// RandomKEK gives the text of a new key-encryption key.
func RandomKEK() string {
	var raw [kekSize]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.StdEncoding.EncodeToString(raw[:])
}

// String names the file or the setting.
func (k KEK) String() string {
	if k.path == "" {
		return "setting " + EnvKEK
	}
	return k.path
}

// kek is a key-encryption key at hand and where it came from, for messages.
type kek struct {
	raw    string
	aead   *subtle.AESGCM
	source string
}

// read gives the key; a missing file is fs.ErrNotExist.
func (k KEK) read() (kek, error) {
	if k.path == "" {
		return parseKEK(k.setting, k.String())
	}
	return fromFile(k.path)
}

// readOld gives the former key that an interrupted change left behind, if any.
func (k KEK) readOld() (kek, error) {
	if k.path == "" {
		return kek{}, fs.ErrNotExist
	}
	return fromFile(k.path + oldSuffix)
}

func fromFile(path string) (kek, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kek{}, problem.Wrap(problem.Unavailable, "the key-encryption key "+path+" cannot be read", err)
	}
	if err != nil {
		return kek{}, err
	}
	return parseKEK(string(text), path)
}

// make gives the key, making the file with a new one unless it is there.
func (k KEK) make(ctx context.Context) (kek, error) {
	got, err := k.read()
	if !errors.Is(err, fs.ErrNotExist) {
		return got, err
	}
	if err := atomicfile.MakeDir(filepath.Dir(k.path)); err != nil {
		return kek{}, problem.Wrap(problem.Unavailable, "the folder of the key-encryption key "+k.path+" cannot be made", err)
	}
	release, err := k.acquire(ctx)
	if err != nil {
		return kek{}, err
	}
	defer release()
	err = atomicfile.Create(k.path, []byte(RandomKEK()+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return kek{}, problem.Wrap(problem.Unavailable, "the key-encryption key "+k.path+" cannot be made", err)
	}
	return k.read()
}

// acquire keeps other writers of the file out.
func (k KEK) acquire(ctx context.Context) (release func(), err error) {
	release, err = k.lock.Acquire(ctx)
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the key-encryption key "+k.path+" cannot be locked", err)
	}
	mine := []string{filepath.Base(k.path), filepath.Base(k.path) + oldSuffix}
	_ = atomicfile.Sweep(filepath.Dir(k.path), func(name string) bool { return name == mine[0] || name == mine[1] }) // leftovers do no harm
	return release, nil
}

// keepOld writes down the key that opens the keyset now, so that it is not lost
// whatever happens until dropOld.
func (k KEK) keepOld(now kek) error { return writeKEK(k.path+oldSuffix, now) }

// put makes a key the one in the file.
func (k KEK) put(next kek) error { return writeKEK(k.path, next) }

func writeKEK(path string, key kek) error {
	text := base64.StdEncoding.EncodeToString([]byte(key.raw)) + "\n"
	if err := atomicfile.Write(path, []byte(text)); err != nil {
		return problem.Wrap(problem.Unavailable, "the key-encryption key "+path+" cannot be written", err)
	}
	return nil
}

// dropOld removes the former key.
func (k KEK) dropOld() error {
	err := os.Remove(k.path + oldSuffix)
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(k.path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problem.Wrap(problem.Unavailable, "the keyset has its new key-encryption key, but the former one, "+k.path+oldSuffix+", cannot be removed", err).
			WithNext("remove that file when no backup needs it any more")
	}
	return nil
}

// parseKEK reads 32 bytes in hexadecimal or in either alphabet of base64. The
// three cannot be mistaken for one another: their lengths differ.
func parseKEK(text, source string) (kek, error) {
	text = strings.TrimSpace(text)
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != kekSize {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		raw, err = base64.RawStdEncoding.DecodeString(plain)
	}
	if err != nil || len(raw) != kekSize {
		return kek{}, problem.New(problem.Invalid, fmt.Sprintf("%s is not a key of %d bytes in base64 or hexadecimal", source, kekSize)).
			WithNext("restore the key as it was, or make one with: head -c 32 /dev/urandom | base64")
	}
	a, err := subtle.NewAESGCM(raw)
	if err != nil {
		return kek{}, problem.Wrap(problem.Internal, "the key-encryption key cannot be used", err)
	}
	return kek{raw: string(raw), aead: a, source: source}, nil
}
