package app

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of what surrounds the properties of a resource.
const (
	maxTags     = 50
	maxTagName  = 512 // characters
	maxTagValue = 256
	maxDepth    = 64 // of objects and lists in each other
	maxLocation = 90 // characters
)

// Lengths of what can have any letter are not in the expressions: one that counts
// to a hundred letters of all scripts takes megabytes, and tens of milliseconds
// of every start.
var (
	locationText = regexp.MustCompile(`^[\p{L}\p{N} ()._-]*$`)
	kindText     = regexp.MustCompile(`^[A-Za-z0-9,.:_ -]{0,90}$`)
	tagText      = regexp.MustCompile(`^[^<>%&\\?/\x00-\x1f]+$`)
)

// check refuses what would not fit around a resource.
func (s Spec) check() error {
	switch {
	case !locationText.MatchString(s.Location) || utf8.RuneCountInString(s.Location) > maxLocation:
		return problem.New(problem.Invalid, "member 'location' must be the name of a region: letters, digits and spaces")
	case !kindText.MatchString(s.Kind):
		return problem.New(problem.Invalid, "member 'kind' must be words with commas between them, such as functionapp,linux")
	case len(s.Tags) > maxTags:
		return problem.New(problem.Invalid, fmt.Sprintf("a resource has at most %d tags, not %d", maxTags, len(s.Tags)))
	}
	for name, value := range s.Tags {
		if !tagText.MatchString(name) || utf8.RuneCountInString(name) > maxTagName || utf8.RuneCountInString(value) > maxTagValue {
			return problem.New(problem.Invalid, fmt.Sprintf("tag %q breaks a rule", clip(name))).WithNext(fmt.Sprintf(
				"names have up to %d characters and none of <>%%&\\?/, values up to %d characters", maxTagName, maxTagValue))
		}
	}
	return nil
}

// checkSize refuses members that have too many bytes together.
func (m Members) checkSize(where string, most int) error {
	total := 0
	for name, value := range m {
		total += len(name) + len(value)
	}
	if total > most {
		return problem.New(problem.TooLarge, fmt.Sprintf("%s has %d bytes, more than the limit of %d", where, total, most))
	}
	return nil
}

// checkDepth refuses JSON that is nested deeper than anything a client means:
// merging walks every level.
func checkDepth(text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return problem.New(problem.Invalid, fmt.Sprintf("the body is nested deeper than %d levels", maxDepth))
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
