package keyset

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// EnvKEK is the setting that holds the key-encryption key instead of the file.
const EnvKEK = "LATCHKEY_KEK"

const kekSize = 32 // bytes of the AES-256 key-encryption key

// kek is the key-encryption key and where it came from, for messages.
type kek struct {
	aead   *subtle.AESGCM
	source string
}

// fromSetting reads the key-encryption key out of the setting's text.
func fromSetting(text string) (kek, error) {
	return parseKEK(text, "setting "+EnvKEK)
}

// fromFile reads the key-encryption key's file; a missing one is fs.ErrNotExist.
func fromFile(path string) (kek, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return kek{}, err
	}
	return parseKEK(string(text), path)
}

// makeFile makes the file with a new key unless it is there, and reads it.
func makeFile(path string) (kek, error) {
	var raw [kekSize]byte
	_, _ = rand.Read(raw[:]) // never fails
	err := atomicfile.Create(path, []byte(base64.StdEncoding.EncodeToString(raw[:])+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return kek{}, problem.Wrap(problem.Unavailable, "the key-encryption key "+path+" cannot be made", err)
	}
	return fromFile(path)
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
	return kek{aead: a, source: source}, nil
}
