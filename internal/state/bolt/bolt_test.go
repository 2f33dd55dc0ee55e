package bolt_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/statetest"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func openAt(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(testContext(t), path, clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func harness(t *testing.T) statetest.Harness {
	path := filepath.Join(t.TempDir(), "state")
	s := openAt(t, path)
	return statetest.Harness{Store: s, Reopen: func() state.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, path)
		return s
	}}
}

func TestBoltKeepsTheContract(t *testing.T) { statetest.Run(t, harness) }

func TestBoltDoesWhatMemoryDoes(t *testing.T) {
	statetest.Cross(t, harness, func(t *testing.T) statetest.Harness {
		s := memory.New(clock.Real{})
		t.Cleanup(func() { _ = s.Close() })
		return statetest.Harness{Store: s}
	})
}
