package keyring

import (
	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
)

// identifiable is the format of package azfkey, where host function keys share
// the seed of function keys.
type identifiable struct{}

func (identifiable) Generate(kind accesskey.Kind) (string, error) {
	return azfkey.Generate(seedOf(kind))
}

func (identifiable) Identifiable(kind accesskey.Kind, value string) bool {
	return azfkey.Check(value, seedOf(kind))
}

func seedOf(kind accesskey.Kind) azfkey.Kind {
	switch kind {
	case accesskey.Master:
		return azfkey.Master
	case accesskey.System:
		return azfkey.System
	default:
		return azfkey.Function
	}
}
