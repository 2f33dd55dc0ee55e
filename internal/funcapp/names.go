package funcapp

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

var (
	functionName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,127}$`)
	bindingName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,127}$`)
)

// ValidName checks a function's name: a letter, then up to 127 letters,
// digits, "_" or "-", and not "host", which key stores and the runtime API use
// for the app itself. The error's kind is problem.Invalid.
func ValidName(name string) error {
	if strings.EqualFold(name, "host") {
		return problem.New(problem.Invalid, `a function must not be named "host"`)
	}
	if !functionName.MatchString(name) {
		return problem.New(problem.Invalid, fmt.Sprintf(
			"%s is not a function name: use a letter, then up to 127 letters, digits, _ or -", quote(name)))
	}
	return nil
}

// CompareNames orders function names as the stock host does everywhere,
// listing and routing alike: by character, ignoring case. Comparing upper-case
// forms matters: "_" comes after letters.
func CompareNames(a, b string) int {
	for len(a) > 0 && len(b) > 0 {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x, y = unicode.ToUpper(x), unicode.ToUpper(y); x != y {
			return cmp.Compare(x, y)
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}
