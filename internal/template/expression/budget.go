package expression

import (
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of the language.
const (
	MaxText   = 24576   // bytes of an expression
	MaxString = 1 << 20 // bytes of a string
	maxNodes  = 200_000 // members and elements of a value, those within it included
	maxNested = 64      // levels of a value
	maxDepth  = 200     // levels of calls while evaluating
	maxParse  = 100     // levels of calls in one expression
)

// Budget bounds the work of evaluating: a step is an evaluated node, an element of
// a value that was made, or 16 bytes of it.
type Budget struct{ left int }

// NewBudget gives a budget of so many steps.
func NewBudget(steps int) *Budget { return &Budget{steps} }

// Spend takes steps. It fails with problem.TooLarge when there are no more.
func (b *Budget) Spend(steps int) error {
	if b.left -= steps; b.left < 0 {
		b.left = 0
		return problem.New(problem.TooLarge, "evaluating the template takes too many steps").WithNext("make it smaller or split it")
	}
	return nil
}

// Made pays for a value that was made, and fails if it is too large.
func (b *Budget) Made(v any) error {
	m := measure{}
	if err := m.walk(v, 0); err != nil {
		return err
	}
	return b.Spend(m.nodes + m.bytes/16)
}

type measure struct{ nodes, bytes int }

func (m *measure) walk(v any, depth int) error {
	if depth > maxNested {
		return problem.New(problem.TooLarge, fmt.Sprintf("a value has more than %d levels", maxNested))
	}
	if m.nodes++; m.nodes > maxNodes || m.bytes > 4*MaxString {
		return problem.New(problem.TooLarge, "a value is too large")
	}
	switch v := v.(type) {
	case string:
		m.bytes += len(v)
		return checkLength(len(v))
	case []any:
		for _, e := range v {
			if err := m.walk(e, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, e := range v {
			m.bytes += len(key)
			if err := m.walk(e, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkLength(bytes int) error {
	if bytes > MaxString {
		return problem.New(problem.TooLarge, fmt.Sprintf("a string has at most %d bytes", MaxString))
	}
	return nil
}
