package expression

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

func dates() map[string]function {
	return map[string]function{
		"dateTimeAdd":       {2, 3, dateTimeAdd},
		"dateTimeToEpoch":   {1, 1, dateTimeToEpoch},
		"dateTimeFromEpoch": {1, 1, dateTimeFromEpoch},
	}
}

// layouts are the forms in which templates write times.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z", "2006-01-02 15:04:05", "2006-01-02", "20060102T150405Z",
}

func parseTime(text string) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid("argument 1 is no time such as 2026-01-31T12:00:00Z")
}

var duration = regexp.MustCompile(`^(-?)P(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,8})S)?)?$`)

func dateTimeAdd(a args) (any, error) {
	base, err := a.text(0)
	if err != nil {
		return nil, err
	}
	t, err := parseTime(base)
	if err != nil {
		return nil, err
	}
	text, err := a.text(1)
	if err != nil {
		return nil, err
	}
	m := duration.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return nil, invalid("argument 2 is no duration such as P1DT2H")
	}
	n := make([]int, len(m))
	for i := 2; i < len(m); i++ {
		n[i], _ = strconv.Atoi(m[i]) // digits, or nothing for 0
		if m[1] == "-" {
			n[i] = -n[i]
		}
	}
	t = t.AddDate(n[2], n[3], 7*n[4]+n[5])
	t = t.Add(time.Duration(n[6])*time.Hour + time.Duration(n[7])*time.Minute + time.Duration(n[8])*time.Second)
	if len(a) < 3 {
		return t.Format("2006-01-02T15:04:05Z"), nil
	}
	layout, err := a.text(2)
	if err != nil {
		return nil, err
	}
	return FormatTime(t, layout)
}

func dateTimeToEpoch(a args) (any, error) {
	text, err := a.text(0)
	if err != nil {
		return nil, err
	}
	t, err := parseTime(text)
	return t.Unix(), err
}

func dateTimeFromEpoch(a args) (any, error) {
	n, err := a.int(0)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > 253402300799 {
		return nil, invalid("argument 1 must be a time in the years 1970 to 9999")
	}
	return time.Unix(n, 0).UTC().Format("2006-01-02T15:04:05Z"), nil
}

// tokens are the parts of a time's custom format and what Go calls them, longer
// ones first.
var tokens = []struct{ theirs, ours string }{
	{"yyyy", "2006"}, {"yy", "06"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"}, {"dddd", "Monday"}, {"ddd", "Mon"},
	{"dd", "02"}, {"d", "2"}, {"HH", "15"}, {"hh", "03"}, {"h", "3"}, {"mm", "04"}, {"m", "4"}, {"ss", "05"}, {"s", "5"}, {"tt", "PM"},
	{"K", "Z07:00"}, {"zzz", "-07:00"},
}

// FormatTime writes a time in a .NET format: a standard one (d, D, o, s, u) or a
// custom one.
func FormatTime(t time.Time, layout string) (string, error) {
	switch layout {
	case "", "u":
		if layout == "" {
			return t.Format("20060102T150405Z"), nil
		}
		return t.Format("2006-01-02 15:04:05Z"), nil
	case "d":
		return t.Format("01/02/2006"), nil
	case "D":
		return t.Format("Monday, 02 January 2006"), nil
	case "s":
		return t.Format("2006-01-02T15:04:05"), nil
	case "o", "O":
		return t.Format("2006-01-02T15:04:05.0000000Z"), nil
	}
	var b strings.Builder
	for layout != "" {
		n := writeToken(&b, t, layout)
		if n == 0 {
			return "", invalid("the time format is not supported at its last %d characters", len(layout))
		}
		layout = layout[n:]
	}
	return b.String(), nil
}

// writeToken writes the first part of a format and gives its length, 0 for one
// that it does not know.
func writeToken(b *strings.Builder, t time.Time, layout string) int {
	for _, token := range tokens {
		if strings.HasPrefix(layout, token.theirs) {
			b.WriteString(t.Format(token.ours))
			return len(token.theirs)
		}
	}
	if n := len(layout) - len(strings.TrimLeft(layout, "f")); n > 0 {
		if n > 7 {
			return 0
		}
		b.WriteString(t.Format("." + strings.Repeat("0", n))[1:])
		return n
	}
	switch c := layout[0]; {
	case c == '\'':
		end := strings.IndexByte(layout[1:], '\'')
		if end < 0 {
			return 0
		}
		b.WriteString(layout[1 : end+1])
		return end + 2
	case isLetter(c) && c != 'T' && c != 'Z':
		return 0
	}
	b.WriteByte(layout[0])
	return 1
}
