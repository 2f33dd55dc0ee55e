package accesskey

import (
	"fmt"

	"github.com/latchkey/latchkey/azfkey"
)

// Format keeps the value out of everything that package fmt prints, sets of
// keys included.
func (k Key) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%q %s", k.Name, azfkey.Mask(k.Value))
}

// Mask gives what may be shown of a value: its beginning and its length.
func Mask(value string) string { return azfkey.Mask(value) }

// Seed gives the kind by which an identifiable key of kind k is marked; host
// and function keys are marked alike. None has no mark: the zero [azfkey.Kind],
// for which nothing is generated and nothing is valid.
func (k Kind) Seed() azfkey.Kind {
	switch k {
	case Master:
		return azfkey.Master
	case System:
		return azfkey.System
	case Host, Function:
		return azfkey.Function
	default:
		return 0
	}
}

// Identifiable reports whether value carries the mark of kind k. Values made
// before the mark existed, or chosen by people, don't and are still good keys.
func (k Kind) Identifiable(value string) bool { return azfkey.Check(value, k.Seed()) }
