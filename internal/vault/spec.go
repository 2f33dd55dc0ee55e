package vault

import (
	"github.com/latchkey/latchkey/internal/problem"
)

// Spec is what a request says of a vault. What it does not say is nil or empty;
// members that clients cannot set, and such that nobody knows, are left out.
type Spec struct {
	Location string
	Tags     map[string]string
	Recover  bool // createMode is "recover"
	said     properties
}

type properties struct{}

// ParseSpec reads the body of a request that creates or changes a vault. It
// returns problem.Invalid, or TooLarge, naming the member that is wrong.
func ParseSpec(body []byte) (Spec, error) { return Spec{}, errTodo }

// ParsePolicies reads the body of a request that changes access policies:
// {"properties": {"accessPolicies": […]}}. Errors are those of ParseSpec.
func ParsePolicies(body []byte) ([]Policy, error) { return nil, errTodo }

// CheckName returns problem.Invalid with NameInvalid for what cannot be the name of a vault.
func CheckName(name string) error { return problem.Wrap(problem.Invalid, "todo", NameInvalid) }
