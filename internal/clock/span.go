package clock

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// ParseSpan reads a duration in which d stands for days of 24 hours, such as 90d,
// 1d12h or 2160h0m0s. It must be more than nothing; anything else is
// problem.Invalid.
func ParseSpan(text string) (time.Duration, error) {
	days, rest, has := strings.Cut(text, "d")
	if !has {
		days, rest = "0", text
	}
	if rest == "" {
		rest = "0s"
	}
	n, err := strconv.ParseUint(days, 10, 14)
	d, bad := time.ParseDuration(rest)
	if err != nil || bad != nil || d < 0 || d+time.Duration(n)*24*time.Hour <= 0 {
		return 0, problem.New(problem.Invalid, fmt.Sprintf("%.40q is no duration such as 5d, 36h or 1d12h", text))
	}
	return d + time.Duration(n)*24*time.Hour, nil
}
