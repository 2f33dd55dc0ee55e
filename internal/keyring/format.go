package keyring

import (
	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
)

// identifiable is the format of package azfkey, where host function keys share
// the seed of function keys.
type identifiable struct{}

func (identifiable) Generate(kind accesskey.Kind) (string, error) {
	return azfkey.Generate(kind.Seed())
}

func (identifiable) Identifiable(kind accesskey.Kind, value string) bool {
	return kind.Identifiable(value)
}
