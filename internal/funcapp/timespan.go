package funcapp

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var errTimeSpan = errors.New(`must be a time span such as "00:05:00" (hh:mm:ss) or "1.00:00:00" (d.hh:mm:ss)`)

// ParseTimeSpan reads the .NET time span form [-][d.]hh:mm[:ss[.fffffff]], or
// a bare number of days. Hours above 23, and minutes and seconds above 59, are
// errors: .NET reads "24:00:00" as 24 days, which nobody means. Fractions have
// up to seven digits. Values beyond the range of time.Duration are errors.
func ParseTimeSpan(text string) (time.Duration, error) {
	s := strings.TrimSpace(text)
	s, negative := strings.CutPrefix(s, "-")
	d, ok := timeSpan(s)
	if !ok {
		return 0, errTimeSpan
	}
	if negative {
		d = -d
	}
	return d, nil
}

func timeSpan(s string) (time.Duration, bool) {
	clock, days := s, ""
	if i := strings.IndexByte(s, '.'); i >= 0 && i < strings.IndexByte(s, ':') {
		days, clock = s[:i], s[i+1:]
	} else if !strings.Contains(s, ":") {
		n, ok := digits(s, 8, math.MaxInt32)
		return addDays(0, n, ok)
	}
	d, ok := clockTime(clock)
	if !ok || days == "" {
		return d, ok && s[0] != '.'
	}
	n, ok := digits(days, 8, math.MaxInt32)
	return addDays(d, n, ok)
}

// clockTime reads hh:mm[:ss[.fffffff]].
func clockTime(s string) (time.Duration, bool) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, false
	}
	hours, ok1 := digits(parts[0], 2, 23)
	minutes, ok2 := digits(parts[1], 2, 59)
	d := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if len(parts) == 2 || !ok1 || !ok2 {
		return d, ok1 && ok2
	}
	whole, fraction, has := strings.Cut(parts[2], ".")
	seconds, ok := digits(whole, 2, 59)
	d += time.Duration(seconds) * time.Second
	if !has || !ok {
		return d, ok
	}
	ticks, ok := digits((fraction + "0000000")[:max(7, len(fraction))], 7, 9999999)
	return d + time.Duration(ticks)*100, ok && fraction != ""
}

func digits(s string, width, limit int) (int, bool) {
	if s == "" || len(s) > width || strings.TrimLeft(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= limit
}

func addDays(d time.Duration, days int, ok bool) (time.Duration, bool) {
	const day = 24 * time.Hour
	if !ok || int64(days) > int64((math.MaxInt64-d)/day) {
		return 0, false
	}
	return d + time.Duration(days)*day, true
}
