// Package schedule owns when timers fire: NCRONTAB expressions and constant
// intervals, in a time zone, over changes of daylight saving. It reads no clock
// and knows nothing of functions.
package schedule

import (
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// Schedule is a series of moments. It does not change and is safe for concurrent
// use.
type Schedule struct {
	cron  *cron         // nil for an interval
	every time.Duration // of an interval
	zone  *time.Location
}

// shortest is the least time between two occurrences of an interval.
const shortest = time.Second

// Parse reads an NCRONTAB expression, of six fields or five, or a time span
// such as 00:05:00 for a constant interval. It returns problem.Invalid naming the
// field and the rule it breaks.
func Parse(text string, zone *time.Location) (*Schedule, error) {
	text = strings.TrimSpace(text)
	if fields := strings.Fields(text); len(fields) != 1 {
		c, err := parseCron(fields)
		if err != nil {
			return nil, err
		}
		return &Schedule{cron: c, zone: zone}, nil
	}
	every, err := funcapp.ParseTimeSpan(text)
	if err != nil {
		return nil, invalid("schedule " + quote(text) + " is neither a CRON expression of 5 or 6 fields nor a time span such as 00:05:00")
	}
	if every < shortest {
		return nil, invalid("schedule " + quote(text) + ": an interval is at least one second")
	}
	return &Schedule{every: every, zone: zone}, nil
}

// Next gives the first moment strictly after a time; the zero time when there is
// none within 100 years.
func (s *Schedule) Next(after time.Time) time.Time {
	if s.cron == nil {
		return after.Add(s.every).In(s.zone)
	}
	return s.cron.next(after, s.zone)
}

// Constant reports whether the schedule is an interval, which takes no notice of
// daylight saving.
func (s *Schedule) Constant() bool { return s.cron == nil }

// Frequent reports whether, of the next few occurrences after a time, two are
// less than a minute apart.
func (s *Schedule) Frequent(after time.Time) bool {
	at := s.Next(after)
	for range 5 {
		next := s.Next(at)
		if at.IsZero() || next.IsZero() {
			return false
		}
		if next.Sub(at) < time.Minute {
			return true
		}
		at = next
	}
	return false
}

func invalid(message string) error { return problem.New(problem.Invalid, message) }
