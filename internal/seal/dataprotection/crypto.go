package dataprotection

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
)

const (
	modifierSize = 16
	ivSize       = aes.BlockSize
	macSize      = sha256.Size
	cipherKey    = 32 // bytes of the AES-256 subkey
	macKey       = 32 // bytes of the HMAC subkey
)

// contextHeader names the algorithms AES-256-CBC with HMAC-SHA256 in the key
// derivation: sizes of key, block, MAC key and MAC, then the last block of an
// encryption and the MAC of the empty text under fixed keys. It is constant, so
// it is given rather than computed.
const contextHeader = "" +
	"000000000020000000100000002000000020" +
	"ea10387ac9273b7fd5321177776f1530" +
	"f946d3c71d60dd7b287366d81cb03fe5e5a701fa16f1554f1581fddd576ce844"

// encrypt gives modifier, vector, ciphertext and MAC, one after the other.
func encrypt(key, aad, plain, modifier, iv []byte) ([]byte, error) {
	block, macKey, err := subkeys(key, aad, modifier)
	if err != nil {
		return nil, err
	}
	padded := pad(plain)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	out := bytes.Join([][]byte{modifier, iv, padded}, nil)
	return append(out, mac(macKey, out[modifierSize:])...), nil
}

// decrypt undoes encrypt; ok is false when anything at all is wrong. The MAC is
// compared in constant time and before anything is decrypted, so the padding
// tells an attacker nothing.
func decrypt(key, aad, body []byte) (plain []byte, ok bool) {
	textSize := len(body) - modifierSize - ivSize - macSize
	if textSize < aes.BlockSize || textSize%aes.BlockSize != 0 {
		return nil, false
	}
	block, macKey, err := subkeys(key, aad, body[:modifierSize])
	if err != nil {
		return nil, false
	}
	signed, sum := body[modifierSize:len(body)-macSize], body[len(body)-macSize:]
	if !hmac.Equal(mac(macKey, signed), sum) {
		return nil, false
	}
	text := bytes.Clone(signed[ivSize:])
	cipher.NewCBCDecrypter(block, signed[:ivSize]).CryptBlocks(text, text)
	return unpad(text)
}

// subkeys derives the cipher and the MAC key of one payload: SP800-108 in
// counter mode with HMAC-SHA512, label aad, context header and modifier. The 64
// bytes needed are exactly one block.
func subkeys(key, aad, modifier []byte) (cipher.Block, []byte, error) {
	context, err := hex.DecodeString(contextHeader)
	if err != nil {
		return nil, nil, err
	}
	prf := hmac.New(sha512.New, key)
	prf.Write(binary.BigEndian.AppendUint32(nil, 1))
	prf.Write(aad)
	prf.Write([]byte{0})
	prf.Write(context)
	prf.Write(modifier)
	prf.Write(binary.BigEndian.AppendUint32(nil, (cipherKey+macKey)*8))
	derived := prf.Sum(nil)
	block, err := aes.NewCipher(derived[:cipherKey])
	return block, derived[cipherKey:], err
}

func mac(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

// pad appends PKCS#7 padding to a copy.
func pad(plain []byte) []byte {
	n := aes.BlockSize - len(plain)%aes.BlockSize
	return append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
}

func unpad(text []byte) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n == 0 || n > aes.BlockSize || n > len(text) {
		return nil, false
	}
	body, padding := text[:len(text)-n], text[len(text)-n:]
	return body, bytes.Equal(padding, bytes.Repeat([]byte{byte(n)}, n))
}
