package app_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestNamesOfPlans(t *testing.T) {
	f := newFixture(t)
	for name, fine := range map[string]bool{
		"plan-1_é": true, strings.Repeat("é", 100): true, strings.Repeat("é", 101): false, "a b": false, "a.b": false,
	} {
		_, _, err := f.PutPlan(t.Context(), planID("rg", name), "me", app.Spec{Location: "local"})
		if fine != (err == nil) || !fine && !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
