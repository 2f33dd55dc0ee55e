package keyring

import (
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// Level is how far a request reaches; the names are the values of the stock
// host's authlevel claim.
type Level uint8

const (
	Anonymous     Level = iota // no key, or none that matched
	FunctionLevel              // functions of level function
	SystemLevel                // the webhook of the extension the key is named after
	AdminLevel                 // everything
)

var levelNames = [...]string{"Anonymous", "Function", "System", "Admin"}

// String gives the level's claim value.
func (l Level) String() string { return levelNames[l] }

func levelOf(k accesskey.Kind) Level {
	switch k {
	case accesskey.Master:
		return AdminLevel
	case accesskey.System:
		return SystemLevel
	case accesskey.Host, accesskey.Function:
		return FunctionLevel
	}
	return Anonymous
}

// Reason says how a decision came about. It is for the operator: telling a
// caller would help guessing.
type Reason uint8

const (
	NoKey            Reason = iota // nothing was presented
	Matched                        // the key is in force here
	Unknown                        // no key of this app
	OtherFunction                  // a key of another function
	NotIdentifiable                // a stored key that strict mode refuses
	TooLong                        // longer than any key may be
	NotEvaluated                   // a short value from a throttled source: not looked at
	StoreUnavailable               // keys that could decide are not readable, so there is no decision
)

var reasonNames = [...]string{
	"noKey", "matched", "unknown", "otherFunction", "notIdentifiable", "tooLong",
	"notEvaluated", "storeUnavailable",
}

// String gives the reason's name as audit records and metrics show it.
func (r Reason) String() string { return reasonNames[r] }

// Decision is the answer to a presented key. The zero value is that of a
// request without a key.
type Decision struct {
	Level      Level
	Kind       accesskey.Kind // accesskey.None when nothing matched
	Reason     Reason         // operator only
	Throttled  bool           // the source has presented too many wrong keys
	Name       string         // the key's name, "" when nothing matched
	RetryAfter time.Duration  // with Throttled: when the source may try again
}

// Unavailable reports that the keys needed for a decision cannot be read, which
// is neither yes nor no: a front answers 500 or 503.
func (d Decision) Unavailable() bool { return d.Reason == StoreUnavailable }

func matched(kind accesskey.Kind, name string) Decision {
	return Decision{Level: levelOf(kind), Kind: kind, Reason: Matched, Name: name}
}
