package azfkey

import (
	"encoding/base64"
	"encoding/binary"
	"testing"
)

// withSeed is a key like any other, but for a seed that no kind has.
func withSeed(random byte, seed uint64) [Size]byte {
	var key [Size]byte
	for i := range randomLen {
		key[i] = random
	}
	copy(key[randomLen:], "\x03\x31\x6e")
	binary.LittleEndian.PutUint32(key[checkedLen:], checksum(key[:checkedLen], seed))
	return key
}

func TestAKeyOfAnotherSeedIsOfNoKind(t *testing.T) {
	const odd = 0xFFFFFFFF
	for random := range byte(200) {
		key := withSeed(random, odd)
		sum := binary.LittleEndian.Uint32(key[checkedLen:])
		for _, k := range Kinds() {
			seed, _ := k.seed()
			if checksum(key[:checkedLen], seed) == sum {
				t.Errorf("%d: the checksum is right for a %s key", random, k)
			}
		}
		if checksum(key[:checkedLen], odd) != sum {
			t.Errorf("%d: the checksum is not right for its own seed", random)
		}
		if kind, ok := Identify(base64.URLEncoding.EncodeToString(key[:])); ok {
			t.Errorf("%d: taken for a %s key", random, kind)
		}
	}
}
