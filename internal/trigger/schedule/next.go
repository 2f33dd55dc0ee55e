package schedule

import (
	"math/bits"
	"time"
)

// horizon bounds the search: February 29 on a given day of the week can be 40
// years away.
const horizon = 100

// next finds the first moment after a time. Between two changes of its offset a
// zone's wall clock runs evenly, so each such piece is searched as if it were UTC:
//   - wall times that a change skips happen as much later as it skips;
//   - wall times that a change repeats happen twice for an interval, else once.
func (c *cron) next(after time.Time, zone *time.Location) time.Time {
	at := after.In(zone).Truncate(time.Second).Add(time.Second)
	limit := after.AddDate(horizon, 0, 0)
	for at.Before(limit) {
		p := pieceAt(at)
		if found := c.within(p, at); !found.IsZero() {
			return found.In(zone)
		}
		if p.end.IsZero() {
			break
		}
		at = p.end
	}
	return time.Time{}
}

// piece is a time in which a zone has one offset. The zero start and end are
// for ever.
type piece struct {
	start, end     time.Time
	offset, before time.Duration // from UTC, now and before start
}

func pieceAt(at time.Time) piece {
	var p piece
	p.start, p.end = at.ZoneBounds()
	if !p.end.IsZero() && !p.end.After(at) { // on December 31 of leap years beyond a zone's table
		p.start, p.end = at, at.Add(24*time.Hour)
	}
	p.offset = offsetOf(at)
	p.before = p.offset
	if !p.start.IsZero() {
		p.before = offsetOf(p.start.Add(-time.Second))
	}
	return p
}

func offsetOf(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// within gives the first moment of a piece from a time on; the zero time when it
// has none.
func (c *cron) within(p piece, from time.Time) time.Time {
	start := from
	if p.before > p.offset && !c.interval { // the wall clock went back
		if repeated := p.start.Add(p.before - p.offset); start.Before(repeated) {
			start = repeated
		}
	}
	found := c.after(wall(start, p.offset)).Add(-p.offset)
	if !p.end.IsZero() && !found.Before(p.end) {
		found = time.Time{}
	}
	if skipped := p.offset - p.before; skipped > 0 && from.Before(p.start.Add(skipped)) {
		shifted := c.after(wall(from, p.before)).Add(-p.before)
		if shifted.Before(p.start.Add(skipped)) && (found.IsZero() || shifted.Before(found)) {
			return shifted
		}
	}
	return found
}

// wall gives what a clock with an offset shows, as a time in UTC.
func wall(t time.Time, offset time.Duration) time.Time { return t.UTC().Add(offset) }

// after gives the first wall time from w on that the expression names; one
// beyond all horizons when there is none.
func (c *cron) after(w time.Time) time.Time {
	year, month, day := w.Date()
	hour, minute, second := w.Clock()
	if !has(c.months, int(month)) || !c.onDay(year, month, day) {
		return c.firstOf(year, month, day+1)
	}
	if has(c.hours, hour) {
		if has(c.minutes, minute) {
			if s, ok := atLeast(c.seconds, second); ok {
				return time.Date(year, month, day, hour, minute, s, 0, time.UTC)
			}
		}
		if m, ok := atLeast(c.minutes, minute+1); ok {
			return time.Date(year, month, day, hour, m, lowest(c.seconds), 0, time.UTC)
		}
	}
	if h, ok := atLeast(c.hours, hour+1); ok {
		return time.Date(year, month, day, h, lowest(c.minutes), lowest(c.seconds), 0, time.UTC)
	}
	return c.firstOf(year, month, day+1)
}

// firstOf gives the first time of the first named day from a day on, which may be
// one too many for its month.
func (c *cron) firstOf(year int, month time.Month, day int) time.Time {
	for end := year + horizon; year <= end; {
		if has(c.months, int(month)) {
			for length := daysIn(year, month); day <= length; day++ {
				if c.onDay(year, month, day) {
					return time.Date(year, month, day, lowest(c.hours), lowest(c.minutes), lowest(c.seconds), 0, time.UTC)
				}
			}
		}
		if month++; month > time.December {
			year, month = year+1, time.January
		}
		day = 1
	}
	return time.Date(year+1, 1, 1, 0, 0, 0, 0, time.UTC)
}

// onDay reports whether both the day of the month and that of the week fit.
func (c *cron) onDay(year int, month time.Month, day int) bool {
	return has(c.days, day) && has(c.weekdays, int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday()))
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func has(set uint64, v int) bool { return set>>v&1 == 1 }

func lowest(set uint64) int { return bits.TrailingZeros64(set) }

// atLeast gives the least value of a set that is not below v.
func atLeast(set uint64, v int) (int, bool) {
	rest := set >> v << v
	return bits.TrailingZeros64(rest), rest != 0
}
