package keyring

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// GoneKeptSetting is the setting that says how long the keys of a function that
// is gone are kept; see [ParseGoneKept].
const GoneKeptSetting = "LATCHKEY_DELETED_FUNCTION_KEYS"

// Bounds of [GoneKeptSetting]. A deployment may take a function away for a moment.
const (
	goneKeptLeast = time.Hour
	goneKeptMost  = 3650 * 24 * time.Hour
	keepGone      = "keep"
)

// ParseGoneKept reads [GoneKeptSetting] for Limits.GoneKept: "30d", "36h", an hour
// at least and ten years at most; nothing, which is 0, for the default; or "keep",
// for no [Roster]. It returns problem.Invalid for anything else.
func ParseGoneKept(text string) (kept time.Duration, keep bool, err error) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch text {
	case "":
		return 0, false, nil
	case keepGone:
		return 0, true, nil
	}
	kept, err = clock.ParseSpan(text)
	if err != nil || kept < goneKeptLeast || kept > goneKeptMost {
		return 0, false, problem.New(problem.Invalid, fmt.Sprintf("%s is %.40q", GoneKeptSetting, text)).
			WithNext("set it to a time from 1h to 3650d, such as 30d, or to " + keepGone)
	}
	return kept, false, nil
}
