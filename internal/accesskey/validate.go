package accesskey

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of what can be stored under our hands. Names are counted in
// characters, values in bytes.
const (
	MaxNameLen  = 127
	MaxValueLen = 1024
)

// nameRule is what a person needs to know to choose a name that is accepted.
const nameRule = "use 1 to 127 visible characters, spaces only inside, no slash or backslash, and neither . nor .. nor _master"

// ValidateName reports why name cannot be the name of a key other than the
// master key, as a [problem.Invalid] error, or nil if it can. The stock host
// accepts nearly anything that fits a URL segment, and so do we, except names
// that cannot be told apart by eye, cannot be typed, or mean something in a path.
// Stores may have narrower rules of their own. Names read from a store are not
// judged: what is there keeps working.
func ValidateName(name string) error {
	switch {
	case name == "":
		return invalidName("is empty")
	case !utf8.ValidString(name):
		return invalidName("is not UTF-8 text")
	case utf8.RuneCountInString(name) > MaxNameLen:
		return invalidName(fmt.Sprintf("is longer than %d characters", MaxNameLen))
	case IsMasterName(name):
		return invalidName("is " + MasterName + ", which is reserved for the master key")
	case name == "." || name == "..":
		return invalidName("is a path")
	case strings.Trim(name, " ") != name:
		return invalidName("begins or ends with a space")
	}
	return validateRunes(name)
}

func validateRunes(name string) error {
	for i, r := range name {
		switch {
		case r == '/' || r == '\\':
			return invalidName("contains a slash or backslash")
		case !visible(r):
			return invalidName(fmt.Sprintf("contains %U, which cannot be seen", r))
		case i == 0 && unicode.Is(unicode.M, r):
			return invalidName(fmt.Sprintf("begins with %U, which joins the character before it", r))
		}
	}
	return nil
}

// visible reports whether r shows by itself. Controls, direction marks, other
// format characters and unassigned ones are not printable by Go's definition;
// a few letters and marks are printable but drawn as nothing.
func visible(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.IsPrint(r) && r != brailleBlank &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// invalidName makes the error. The name itself stays out of it: people do put
// the key where the name belongs.
func invalidName(fault string) error {
	return problem.New(problem.Invalid, "key name "+fault).WithNext(nameRule)
}

// IsMasterName reports whether name addresses the master key, ignoring case.
func IsMasterName(name string) bool { return strings.EqualFold(name, MasterName) }

const valueRule = "use 1 to 1024 bytes of text without control characters or spaces at the ends, or leave the value out and have one generated"

// ValidateValue reports why value cannot be a key's value, as a
// [problem.Invalid] error that does not repeat it, or nil if it can. The stock
// host accepts anything, the empty text included; the rules here refuse only what
// no client could present or what a store would change on the way.
func ValidateValue(value string) error {
	switch {
	case value == "":
		return invalidValue("is empty")
	case len(value) > MaxValueLen:
		return invalidValue(fmt.Sprintf("is longer than %d bytes", MaxValueLen))
	case !utf8.ValidString(value):
		return invalidValue("is not UTF-8 text")
	case strings.IndexFunc(value, unicode.IsControl) >= 0:
		return invalidValue("contains a control character")
	case strings.TrimSpace(value) != value:
		return invalidValue("begins or ends with a space, which a request header would lose")
	case LooksLikeVerifier(value):
		return invalidValue("begins with " + verifierPrefix + ", which marks what is kept of values that are not kept")
	}
	return nil
}

func invalidValue(fault string) error {
	return problem.New(problem.Invalid, "key value "+fault).WithNext(valueRule)
}
