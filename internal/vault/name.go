package vault

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Lengths of names.
const (
	minName       = 3
	maxName       = 24
	maxSecretName = 127
)

// CheckName returns problem.Invalid with NameInvalid for what cannot be the name
// of a vault: it becomes a label of a host name.
func CheckName(name string) error {
	why := ""
	switch {
	case len(name) < minName || len(name) > maxName:
		why = fmt.Sprintf("it must have %d to %d characters", minName, maxName)
	case strings.ContainsFunc(name, notLabel):
		why = "only the letters a to z, digits and hyphens are allowed"
	case !isLetter(rune(name[0])):
		why = "it must begin with a letter"
	case name[len(name)-1] == '-':
		why = "it must not end with a hyphen"
	case strings.Contains(name, "--"):
		why = "it must not have two hyphens one after the other"
	default:
		return nil
	}
	return problem.Wrap(problem.Invalid, fmt.Sprintf("%q is no name of a vault: %s", clip(name), why), NameInvalid).WithNext("choose another name")
}

// CheckSecretName returns problem.Invalid with BadParameter for what cannot be the
// name of a secret.
func CheckSecretName(name string) error {
	if name != "" && len(name) <= maxSecretName && !strings.ContainsFunc(name, notLabel) {
		return nil
	}
	return problem.Wrap(problem.Invalid, fmt.Sprintf("%q is no name of a secret: it must have 1 to %d characters, letters a to z, digits and hyphens only", clip(name), maxSecretName), BadParameter)
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func notLabel(r rune) bool { return !isLetter(r) && !(r >= '0' && r <= '9') && r != '-' }

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
