package app

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Lengths of an app's name.
const (
	minName = 2
	maxName = 60
)

// CheckName returns problem.Invalid for what cannot be the name of an app: it
// becomes a label of a host name.
func CheckName(name string) error {
	why := ""
	switch {
	case len(name) < minName || len(name) > maxName:
		why = fmt.Sprintf("it must have %d to %d characters", minName, maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !isLabel(r) }):
		why = "only the letters a to z, digits and hyphens are allowed"
	case name[0] == '-' || name[len(name)-1] == '-':
		why = "it must not begin or end with a hyphen"
	case reserved(strings.ToLower(name)):
		why = "it is reserved"
	default:
		return nil
	}
	return problem.New(problem.Invalid, fmt.Sprintf("%q is no name of an app: %s", clip(name), why)).WithNext("choose another name")
}

func isLabel(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}

// reserved names would be taken for a part of the platform's own host names, or
// for an international name.
func reserved(name string) bool {
	return name == "scm" || name == "vault" || name == "localhost" || strings.HasPrefix(name, "xn--")
}
