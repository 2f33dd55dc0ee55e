package azfkey

import (
	"encoding/hex"
	"testing"
)

func TestMarvinGivesTheKnownHashes(t *testing.T) {
	unhex := func(s string) string {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tests := map[string]struct {
		data string
		seed uint64
		want uint64
	}{
		"three bytes":      {"abc", 0xd53cd9cecd0893b7, 0x22c74339492769bf},
		"26 bytes":         {"abcdefghijklmnopqrstuvwxyz", 0x0ddddeeeeffff000, 0xa128eb7e7260aca2},
		"empty":            {"", 0x004fb61a001bdbcc, 0x30ed35c100cd3c7d},
		"a word and three": {unhex("ab427ea8d10fc7"), 0x004fb61a001bdbcc, 0xe11847e4f0678c41},
		"a word and one":   {unhex("153fb79826"), 0x804fb61a001bdbcc, 0x0a06114b13464dbd},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := marvin([]byte(test.data), test.seed); got != test.want {
				t.Errorf("marvin = %#016x, want %#016x", got, test.want)
			}
		})
	}
}

func TestChecksumFoldsTheHash(t *testing.T) {
	var random [randomLen]byte
	checked := append(random[:], 0x03, 0x31, 0x6e)
	for kind, want := range map[Kind]uint32{Master: 0x8cf4def8, System: 0xdecee44f, Function: 0x8fd90e66} {
		seed, _ := kind.seed()
		if got := checksum(checked, seed); got != want {
			t.Errorf("%s: checksum = %#x, want %#x", kind, got, want)
		}
	}
}
