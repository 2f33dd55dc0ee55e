package keyset

import (
	"bytes"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/internal/problem"
)

// keysetPlace binds an encrypted keyset to its use.
var keysetPlace = []byte("latchkey keyset v1")

// keys is one state of the keyset, immutable, with the key-encryption key that
// opened it.
type keys struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32
	ids     map[uint32]bool
	kek     kek
}

// wrap encrypts a keyset under the key-encryption key, in Tink's JSON form.
func wrap(handle *keyset.Handle, k kek) ([]byte, error) {
	var b bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewJSONWriter(&b), k.aead, keysetPlace); err != nil {
		return nil, problem.Wrap(problem.Internal, "the keyset cannot be encrypted", err)
	}
	return b.Bytes(), nil
}

func unwrap(sealed []byte, k kek) (keys, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewJSONReader(bytes.NewReader(sealed)), k.aead, keysetPlace)
	if err != nil {
		return keys{}, err
	}
	a, err := aead.New(handle)
	if err != nil {
		return keys{}, err
	}
	info := handle.KeysetInfo()
	out := keys{handle: handle, aead: a, primary: info.GetPrimaryKeyId(), ids: map[uint32]bool{}, kek: k}
	for _, key := range info.GetKeyInfo() {
		out.ids[key.GetKeyId()] = true
	}
	return out, nil
}

func (k keys) has(id uint32) bool { return k.ids[id] }
