package keyset

import (
	"bytes"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/latchkey/latchkey/internal/problem"
)

// keysetPlace binds an encrypted keyset to its use.
var keysetPlace = []byte("latchkey keyset v1")

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
	return keys{handle: handle, aead: a, primary: handle.KeysetInfo().GetPrimaryKeyId()}, nil
}

func (k keys) has(id uint32) bool {
	return slices.ContainsFunc(k.handle.KeysetInfo().GetKeyInfo(), func(i *tinkpb.KeysetInfo_KeyInfo) bool {
		return i.GetKeyId() == id
	})
}
