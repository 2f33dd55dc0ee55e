package recovery_test

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/keystore/recovery"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestAStoreWithoutCopiesLosesNothing: what cannot be kept is not given up.
func TestAStoreWithoutCopiesLosesNothing(t *testing.T) {
	s := memory.New()
	s.Put("host", keystoretest.Host("1"))
	s.Corrupt("host")
	_, discard := recovery.Discard(t.Context(), s, "host")
	_, restore := recovery.Restore(t.Context(), s, "host", "host.snapshot.a.json")
	for _, err := range []error{discard, restore} {
		if !errors.Is(err, problem.Unsupported) || problem.NextOf(err) == "" {
			t.Error(err)
		}
	}
	if _, _, err := s.Load(t.Context(), "host"); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("the document: %v", err)
	}
}
