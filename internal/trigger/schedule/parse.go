package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// cron is an expression: a set of values for each field, as bits.
type cron struct {
	seconds, minutes, hours, days, months, weekdays uint64
	// interval says that the expression names times in relation to others (*, -
	// or / in seconds, minutes or hours) rather than times of the day.
	interval bool
}

// field is what may stand in one place of an expression.
type field struct {
	name     string
	min, max int
	names    []string // of the values from min
}

var fields = [...]field{
	{name: "second", max: 59},
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of the month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{"january", "february", "march", "april", "may", "june",
		"july", "august", "september", "october", "november", "december"}},
	{name: "day of the week", max: 6, names: []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}},
}

// parseCron reads the fields of an expression; without seconds they are 0.
func parseCron(texts []string) (*cron, error) {
	if len(texts) == len(fields)-1 {
		texts = append([]string{"0"}, texts...)
	}
	if len(texts) != len(fields) {
		return nil, invalid(fmt.Sprintf("a CRON expression has 6 fields ({second} {minute} {hour} {day} {month} {day of the week}) or 5 without seconds, not %d", len(texts)))
	}
	var sets [len(fields)]uint64
	for i, text := range texts {
		var err error
		if sets[i], err = fields[i].parse(text); err != nil {
			return nil, err
		}
	}
	c := &cron{sets[0], sets[1], sets[2], sets[3], sets[4], sets[5], strings.ContainsAny(strings.Join(texts[:3], " "), "*-/")}
	if !c.possible() {
		return nil, invalid("the CRON expression never comes true: none of its months has such a day")
	}
	return c, nil
}

// possible reports whether one of the months has one of the days.
func (c *cron) possible() bool {
	first := bits.TrailingZeros64(c.days)
	for month, length := range [...]int{1: 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
		if c.months>>month&1 == 1 && first <= length {
			return true
		}
	}
	return false
}

// parse reads a list of values, ranges and steps.
func (f *field) parse(text string) (uint64, error) {
	var set uint64
	for part := range strings.SplitSeq(text, ",") {
		s, err := f.part(part)
		if err != nil {
			return 0, err
		}
		set |= s
	}
	return set, nil
}

// part reads *, a, a-b, or one of them with /step. A range whose start is above
// its end means the same range the other way round; a/step goes on to the end of
// the field.
func (f *field) part(text string) (uint64, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	step := 1
	if stepped {
		var err error
		if step, err = number(stepText); err != nil || step < 1 {
			return 0, f.fault(text, "a step is a whole number of at least 1")
		}
	}
	first, last := f.min, f.max
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		var err error
		if first, err = f.value(text, from); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if last, err = f.value(text, to); err != nil {
				return 0, err
			}
		case !stepped:
			last = first
		}
	}
	return f.set(min(first, last), max(first, last), step), nil
}

func (f *field) set(first, last, step int) (set uint64) {
	for v := first; v <= last; v += step {
		set |= 1 << v
	}
	return set
}

// value reads a number or a name, of which three letters are enough.
func (f *field) value(part, text string) (int, error) {
	if v, err := number(text); err == nil {
		if v < f.min || v > f.max {
			rule := fmt.Sprintf("it goes from %d to %d", f.min, f.max)
			if f.names != nil && f.max == 6 {
				rule += ", Sunday is 0"
			}
			return 0, f.fault(part, rule)
		}
		return v, nil
	}
	if lower := strings.ToLower(text); len(lower) >= 3 {
		for i, name := range f.names {
			if strings.HasPrefix(name, lower) {
				return f.min + i, nil
			}
		}
	}
	if f.names != nil {
		return 0, f.fault(part, fmt.Sprintf("it takes numbers from %d to %d, English names such as %s, *, ranges a-b, lists a,b and steps /n", f.min, f.max, f.names[0][:3]))
	}
	return 0, f.fault(part, fmt.Sprintf("it takes numbers from %d to %d, *, ranges a-b, lists a,b and steps /n", f.min, f.max))
}

func (f *field) fault(part, rule string) error {
	return invalid("CRON field " + f.name + ": " + quote(part) + " is not understood: " + rule)
}

// number reads digits; signs, which strconv takes, are none.
func number(text string) (int, error) {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

// quote shows what somebody wrote, not too much of it.
func quote(text string) string {
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return strconv.Quote(text)
}
