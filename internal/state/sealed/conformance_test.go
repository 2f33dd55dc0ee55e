package sealed_test

import (
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/sealed"
	"github.com/latchkey/latchkey/internal/state/statetest"
)

// outside keeps the keyset in another store, so that the sealed one is empty.
func outside(t *testing.T) *keyset.Sealer {
	keys, err := keyset.OpenIn(t.Context(), sealed.Box(memory.New(clock.Real{}), sealed.KeysetKey), keyset.NewKEK(keyset.RandomKEK(), ""), true)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func overMemory(t *testing.T) statetest.Harness {
	inner := memory.New(clock.Real{})
	s := sealed.New(inner, outside(t))
	t.Cleanup(func() { _ = s.Close() })
	return statetest.Harness{Store: s, MaxValue: s.Limit(), Forget: inner.Forget}
}

func overBolt(t *testing.T) statetest.Harness {
	path, keys := filepath.Join(t.TempDir(), "state.db"), outside(t)
	open := func() *sealed.Store {
		inner, err := bolt.Open(t.Context(), path, clock.Real{})
		if err != nil {
			t.Fatal(err)
		}
		return sealed.New(inner, keys)
	}
	s := open()
	t.Cleanup(func() { _ = s.Close() })
	return statetest.Harness{Store: s, MaxValue: s.Limit(), Reopen: func() state.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		return s
	}}
}

func TestASealedStoreKeepsTheContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) { statetest.Run(t, overMemory) })
	t.Run("bolt", func(t *testing.T) { statetest.Run(t, overBolt) })
	statetest.Cross(t, overMemory, func(t *testing.T) statetest.Harness {
		s := memory.New(clock.Real{})
		t.Cleanup(func() { _ = s.Close() })
		return statetest.Harness{Store: s}
	})
}
