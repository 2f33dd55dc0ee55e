package message

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// PoisonSuffix is what the names of queues end in that take messages which could
// not be processed.
const PoisonSuffix = "-poison"

const maxName = 63

var nameShape = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// CheckName returns problem.Invalid, with the rule, for what cannot be a queue's name.
func CheckName(name string) error {
	if len(name) < 3 || len(name) > maxName || !nameShape.MatchString(name) {
		return problem.New(problem.Invalid, fmt.Sprintf("%q cannot be the name of a queue", name)).
			WithNext("names have 3 to 63 lower-case letters, digits and single hyphens, and begin and end with a letter or digit")
	}
	return nil
}

// Poison gives the name of the queue for messages of a queue that could not be
// processed; ok is false for a queue that has none: it is one itself, or its name
// is too long for another.
func Poison(queue string) (name string, ok bool) {
	name = queue + PoisonSuffix
	return name, !strings.HasSuffix(queue, PoisonSuffix) && len(name) <= maxName
}
