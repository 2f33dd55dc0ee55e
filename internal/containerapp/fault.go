package containerapp

import (
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Codes of faults, as clients of the platform know them.
const (
	CodeTemplate    = "InvalidParameterValueInContainerTemplate"
	CodeName        = "ContainerAppInvalidName"
	CodeImage       = "ContainerAppImageRequired"
	CodeSecret      = "ContainerAppSecretInvalid"
	CodeSecretURL   = "ContainerAppSecretKeyVaultUrlInvalid"
	CodeSecretRef   = "ContainerAppSecretRefNotFound"
	CodeTraffic     = "ContainerAppInvalidTrafficWeight"
	CodeEnvironment = "ManagedEnvironmentNotFound"
)

// Fault is one thing wrong with what a client said.
type Fault struct {
	Code    string
	Field   string // such as "template.containers[0].image"
	Message string // a sentence, without a secret
}

// Faults is everything wrong with what a client said, at least one thing. It
// matches problem.Invalid.
type Faults []Fault

// Error gives all messages.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = one.Message
	}
	return strings.Join(texts, " ")
}

// Unwrap makes the error problem.Invalid.
func (f Faults) Unwrap() error { return problem.Invalid }

// faults collects what is wrong.
type faults struct{ list Faults }

// most bounds how many faults are told at once.
const mostFaults = 20

func (f *faults) add(code, field, message string) {
	if len(f.list) < mostFaults {
		f.list = append(f.list, Fault{code, field, message})
	}
}

// field adds that a field has a wrong value, in the platform's words.
func (f *faults) field(field, value, why string, args ...any) {
	f.add(CodeTemplate, field, fmt.Sprintf("Field '%s' is invalid with details: 'Invalid value: %q: %s';", field, clip(value), fmt.Sprintf(why, args...)))
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	return f.list
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
