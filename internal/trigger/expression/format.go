package expression

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Default forms of times: of {datetime}, which file names may have, and of
// {sys.utcnow} and dates in data.
const (
	pathTime = "2006-01-02T15-04-05Z"
	isoTime  = time.RFC3339Nano
)

func isGUID(name string) bool {
	return strings.EqualFold(name, "rand-guid") || strings.EqualFold(name, "sys.randguid")
}

func isNow(name string) bool {
	return strings.EqualFold(name, "datetime") || strings.EqualFold(name, "sys.utcnow")
}

// checkFormat refuses formats that can be seen to be wrong before there is data.
func checkFormat(p part) error {
	var err error
	switch {
	case p.format == "":
	case isGUID(p.name):
		_, err = guid([16]byte{}, p.format)
	default:
		_, err = formatTime(time.Time{}, p.format)
	}
	return err
}

// guid writes an id in one of the forms N, D, B and P of .NET.
func guid(id [16]byte, format string) (string, error) {
	d := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	switch strings.ToUpper(format) {
	case "", "D":
		return d, nil
	case "N":
		return strings.ReplaceAll(d, "-", ""), nil
	case "B":
		return "{" + d + "}", nil
	case "P":
		return "(" + d + ")", nil
	}
	return "", problem.New(problem.Invalid, fmt.Sprintf("%q is not a format of ids", format)).WithNext("use N, D, B or P")
}

// timeParts are the parts of .NET's custom date formats that have a counterpart,
// longer ones first.
var timeParts = [...]struct{ net, layout string }{
	{"yyyy", "2006"}, {"yy", "06"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"},
	{"dddd", "Monday"}, {"ddd", "Mon"}, {"dd", "02"}, {"d", "2"}, {"HH", "15"}, {"hh", "03"}, {"h", "3"},
	{"mm", "04"}, {"m", "4"}, {"ss", "05"}, {"s", "5"}, {"tt", "PM"},
	{"fffffff", ".0000000"}, {"fff", ".000"}, {"ff", ".00"}, {"f", ".0"}, {"zzz", "-07:00"}, {"K", "Z07:00"},
}

// formatTime writes a time in a custom format of .NET, or in "o" or "s".
func formatTime(t time.Time, format string) (string, error) {
	t = t.UTC()
	switch format {
	case "":
		return t.Format(isoTime), nil
	case "o", "O":
		return t.Format("2006-01-02T15:04:05.0000000Z"), nil
	case "s":
		return t.Format("2006-01-02T15:04:05"), nil
	}
	var b strings.Builder
	for rest := format; rest != ""; {
		net, layout := timePart(rest)
		if net == "" {
			if c := rest[0]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' && c != 'T' && c != 'Z' {
				return "", problem.New(problem.Invalid, fmt.Sprintf("%q is not a format of times", format)).
					WithNext("use yyyy, MM, dd, HH, mm, ss and fff")
			}
			net, layout = rest[:1], ""
			b.WriteString(net)
		}
		if layout != "" {
			b.WriteString(strings.TrimPrefix(t.Format(layout), "."))
		}
		rest = rest[len(net):]
	}
	return b.String(), nil
}

func timePart(text string) (net, layout string) {
	for _, p := range timeParts {
		if strings.HasPrefix(text, p.net) {
			return p.net, p.layout
		}
	}
	return "", ""
}
