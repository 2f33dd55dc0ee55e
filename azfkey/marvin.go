package azfkey

import (
	"encoding/binary"
	"math/bits"
)

// marvin gives the 64-bit Marvin hash of data, a keyed checksum whose seed says
// what the data is for. It is not a message authentication code: the seeds here
// are public, so anybody can compute it.
func marvin(data []byte, seed uint64) uint64 {
	lo, hi := uint32(seed), uint32(seed>>32)
	for len(data) >= 4 {
		lo, hi = marvinRound(lo+binary.LittleEndian.Uint32(data), hi)
		data = data[4:]
	}
	lo, hi = marvinRound(lo+lastWord(data), hi)
	lo, hi = marvinRound(lo, hi)
	return uint64(hi)<<32 | uint64(lo)
}

// lastWord puts the up to three bytes left over, and the byte 0x80 that ends
// every input, into a little-endian word.
func lastWord(rest []byte) uint32 {
	word := uint32(0x80)
	for i := len(rest) - 1; i >= 0; i-- {
		word = word<<8 | uint32(rest[i])
	}
	return word
}

func marvinRound(lo, hi uint32) (uint32, uint32) {
	hi ^= lo
	lo = bits.RotateLeft32(lo, 20) + hi
	hi = bits.RotateLeft32(hi, 9) ^ lo
	lo = bits.RotateLeft32(lo, 27) + hi
	return lo, bits.RotateLeft32(hi, 19)
}

// checksum folds the hash to the 32 bits that a key carries.
func checksum(data []byte, seed uint64) uint32 {
	h := marvin(data, seed)
	return uint32(h) ^ uint32(h>>32)
}
