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

	KeyDisabled        // a stored key that is switched off
	NotYetValid        // a stored key whose time has not come
	KeyExpired         // a stored key whose time is over, former values included
	MethodNotAllowed   // a stored key that is not for this HTTP method
	FunctionNotAllowed // a host key that is not for this function
	SourceNotAllowed   // a stored key that is not for this address
	RateExceeded       // a key in force that is used too often; Throttled is set
	QuotaExceeded      // a key in force that is used up for this period; Throttled is set
	MetadataUnreadable // a stored key whose restrictions cannot be understood
)

var reasonNames = [...]string{
	"noKey", "matched", "unknown", "otherFunction", "notIdentifiable", "tooLong",
	"notEvaluated", "storeUnavailable",
	"keyDisabled", "notYetValid", "keyExpired", "methodNotAllowed", "functionNotAllowed", "sourceNotAllowed",
	"rateExceeded", "quotaExceeded", "metadataUnreadable",
}

// String gives the reason's name as audit records and metrics show it.
func (r Reason) String() string { return reasonNames[r] }

// Decision is the answer to a presented key. The zero value is that of a
// request without a key.
type Decision struct {
	Level      Level
	Kind       accesskey.Kind // of the key in Name
	Reason     Reason         // operator only
	Throttled  bool           // the source has presented too many wrong keys, or the key is used up for now
	Name       string         // of the key that matched or was refused; "" when there is none
	Retired    string         // name of a former value of the key Name, when it was that; operator only
	RetryAfter time.Duration  // with Throttled: when to try again
}

// Known reports whether what was presented is a key of the app, in force here or
// not: functions should not get to see it.
func (d Decision) Known() bool {
	switch d.Reason {
	case Matched, OtherFunction, NotIdentifiable:
		return true
	}
	return d.Name != ""
}

// Unavailable reports that the keys needed for a decision cannot be read, which
// is neither yes nor no: a front answers 500 or 503.
func (d Decision) Unavailable() bool { return d.Reason == StoreUnavailable }

func matched(kind accesskey.Kind, name string) Decision {
	return Decision{Level: levelOf(kind), Kind: kind, Reason: Matched, Name: name}
}
