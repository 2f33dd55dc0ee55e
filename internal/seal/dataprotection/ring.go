package dataprotection

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Settings that make up the key ring.
const (
	settingDefault = "AzureWebEncryptionKey"
	settingPrimary = "AzureWebPrimaryEncryptionKey"
	settingNamed   = "AzureWebEncryptionKey_" // followed by a guid
	settingMachine = "MACHINEKEY_DecryptionKey"
)

// keyID is a key's guid in the byte order .NET writes: the first three groups
// little-endian, the rest as printed. The default key's is all zero.
type keyID [16]byte

// ring is the keys at hand and which of them seals.
type ring struct {
	keys    map[keyID][]byte
	primary keyID
}

// readRing collects the key ring from environment lines "NAME=value". It
// returns no keys and no error when no setting is present; empty values count
// as absent. Faulty settings are problem.Invalid, naming the setting.
func readRing(env map[string]string) (ring, error) {
	r := ring{keys: map[keyID][]byte{}}
	for name, value := range env {
		if err := r.addNamed(name, value); err != nil {
			return ring{}, err
		}
	}
	if err := r.addDefault(env); err != nil {
		return ring{}, err
	}
	return r, r.choosePrimary(env[settingPrimary])
}

func (r *ring) addNamed(name, value string) error {
	guid, ok := strings.CutPrefix(name, settingNamed)
	if !ok {
		return nil
	}
	id, err := parseGUID(guid)
	if err != nil {
		return problem.New(problem.Invalid, fmt.Sprintf("setting %s does not end in a guid", name)).
			WithNext("name it " + settingNamed + "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
	}
	if _, twice := r.keys[id]; twice {
		return problem.New(problem.Invalid, fmt.Sprintf("setting %s names a key that is set twice", name))
	}
	return r.add(id, name, value)
}

// addDefault adds the key with the zero id; the site's own key wins over the
// machine key.
func (r *ring) addDefault(env map[string]string) error {
	for _, name := range []string{settingDefault, settingMachine} {
		if value := env[name]; value != "" {
			return r.add(keyID{}, name, value)
		}
	}
	return nil
}

func (r *ring) add(id keyID, name, value string) error {
	key, err := hex.DecodeString(value)
	if err != nil || len(key) == 0 {
		return problem.New(problem.Invalid, fmt.Sprintf("setting %s is not a key in hexadecimal", name)).
			WithNext("use an even number of hexadecimal digits, 64 of them for a 256-bit key")
	}
	r.keys[id] = key
	return nil
}

func (r *ring) choosePrimary(text string) error {
	if len(r.keys) == 0 && text == "" {
		return nil
	}
	if text != "" {
		id, err := parseGUID(text)
		if err != nil {
			return problem.New(problem.Invalid, fmt.Sprintf("setting %s is not a guid", settingPrimary))
		}
		r.primary = id
	}
	if _, ok := r.keys[r.primary]; !ok && text == "" {
		return problem.New(problem.Invalid, fmt.Sprintf("no primary encryption key: neither %s nor %s is set", settingDefault, settingPrimary)).
			WithNext("set " + settingPrimary + " to the guid of the key that encrypts")
	} else if !ok {
		return problem.New(problem.Invalid, fmt.Sprintf("setting %s names a key that is not set", settingPrimary)).
			WithNext("set " + settingNamed + "{that guid} to the key in hexadecimal")
	}
	return nil
}

// parseGUID reads a guid with or without dashes and braces; underscores count
// as dashes because environment names often cannot hold dashes.
func parseGUID(s string) (keyID, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
	raw, err := hex.DecodeString(strings.NewReplacer("-", "", "_", "").Replace(s))
	if err != nil || len(raw) != len(keyID{}) {
		return keyID{}, fmt.Errorf("not a guid")
	}
	return keyID{
		raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6],
		raw[8], raw[9], raw[10], raw[11], raw[12], raw[13], raw[14], raw[15],
	}, nil
}

// describe gives the text of the "decryptionKeyId" member: for each of the two
// default settings that is set, its name and the hash of its text.
func describe(env map[string]string) string {
	var b strings.Builder
	for _, name := range []string{settingDefault, settingMachine} {
		if value := env[name]; value != "" {
			sum := sha256.Sum256([]byte(value))
			b.WriteString(name + "=" + base64.StdEncoding.EncodeToString(sum[:]) + ";")
		}
	}
	return b.String()
}
