package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// MaxValue is the longest value, in bytes, that is looked up. Longer presented
// values are refused before any work is done on them; longer stored ones, which
// cannot be set here (accesskey.MaxValueLen) but by other hands, never match.
const MaxValue = 4096

const (
	secretSize = 32
	prefixSize = secretSize + 8
	shortValue = 256 - prefixSize // four SHA-256 blocks; real keys have 56 bytes
)

// digest stands for a key value. It depends on a secret of this process, so
// nobody outside can choose values by their digest and the time of a lookup by
// digest says nothing about a value.
type digest [sha256.Size]byte

// head is the part of a digest that tables are indexed by.
func (d *digest) head() uint64 { return binary.LittleEndian.Uint64(d[:8]) }

type hasher struct{ secret [secretSize]byte }

func newHasher() *hasher {
	h := &hasher{}
	_, _ = rand.Read(h.secret[:]) // documented never to fail
	return h
}

// sum digests secret ‖ length ‖ value, on the stack. Values are at most
// MaxValue bytes; the usual short ones don't pay for clearing a large buffer.
func (h *hasher) sum(value string) digest {
	if len(value) > shortValue {
		return h.sumLong(value)
	}
	var buf [prefixSize + shortValue]byte
	return sha256.Sum256(h.fill(buf[:], value))
}

//go:noinline
func (h *hasher) sumLong(value string) digest {
	var buf [prefixSize + MaxValue]byte
	return sha256.Sum256(h.fill(buf[:], value))
}

func (h *hasher) fill(buf []byte, value string) []byte {
	copy(buf, h.secret[:])
	binary.LittleEndian.PutUint64(buf[secretSize:], uint64(len(value)))
	return buf[:prefixSize+copy(buf[prefixSize:], value)]
}
