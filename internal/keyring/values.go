package keyring

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// ValuesSetting is the setting that says how an app's keys are kept; see
// [ParseValues].
const ValuesSetting = "LATCHKEY_KEY_VALUES"

// Ways to keep values.
const (
	revealable = "revealable"
	hashOnly   = "hash-only"
)

// SetHashOnly changes Config.HashOnly: it counts for values that are given from now on.
func (r *Ring) SetHashOnly(hash bool) { r.hashOnly.Store(hash) }

// ParseValues reads [ValuesSetting] for [Config].HashOnly: "revealable", which
// nothing stands for too, or "hash-only", ignoring case. It returns
// problem.Invalid for anything else: taking it for the default would keep values
// that somebody does not want kept.
func ParseValues(text string) (hash bool, err error) {
	switch text = strings.ToLower(strings.TrimSpace(text)); text {
	case "", revealable:
		return false, nil
	case hashOnly:
		return true, nil
	}
	return false, problem.New(problem.Invalid, fmt.Sprintf("%s is %.40q", ValuesSetting, text)).
		WithNext("set it to " + revealable + " or " + hashOnly)
}
