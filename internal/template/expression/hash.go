package expression

import (
	"crypto/sha1" //nolint:gosec // what version 5 of UUIDs is made of; nothing is protected by it
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// guidNamespace is the namespace of the UUIDs that guid() gives.
var guidNamespace = [16]byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}

// GUID gives the UUID of version 5 that guid() gives for its arguments.
func GUID(parts ...string) string {
	h := sha1.Sum(append(guidNamespace[:], strings.Join(parts, "-")...)) //nolint:gosec // see the import
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// UniqueString gives the 13 characters that uniqueString() gives for its
// arguments, the same as Azure's.
func UniqueString(parts ...string) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	hash := murmur([]byte(strings.Join(parts, "-")))
	var out [13]byte
	for i := range out {
		out[i] = alphabet[hash>>59]
		hash <<= 5
	}
	return string(out[:])
}

// Constants of the hash, which is one of the Murmur3 family with two lanes of 32
// bits.
const mix1, mix2 = 0x239b961b, 0xab0e9789

func murmur(data []byte) uint64 {
	var h1, h2 uint32
	size := uint32(len(data)) //nolint:gosec // strings have at most MaxString bytes
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= lane1(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= lane2(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	var tail [8]byte
	copy(tail[:], data)
	if len(data) > 0 {
		h1 ^= lane1(binary.LittleEndian.Uint32(tail[:]))
	}
	if len(data) > 4 {
		h2 ^= lane2(binary.LittleEndian.Uint32(tail[4:]))
	}
	h1 ^= size
	h2 ^= size
	h1 += h2
	h2 += h1
	h1, h2 = avalanche(h1), avalanche(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func lane1(k uint32) uint32 { return bits.RotateLeft32(k*mix1, 15) * mix2 }

func lane2(k uint32) uint32 { return bits.RotateLeft32(k*mix2, 17) * mix1 }

func avalanche(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
