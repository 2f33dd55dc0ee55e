package seal_test

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

func TestNoneOpensNothing(t *testing.T) {
	for name, s := range map[string]seal.Sealer{"none": seal.None{}, "empty chain": seal.Chain{}} {
		if got, err := s.Seal("v", "p"); got != "v" || err != nil || s.Seals() {
			t.Errorf("%s: %q, %v, seals %v", name, got, err, s.Seals())
		}
		if got, _, err := s.Open("v", "p"); got != "" || !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%s: opened %q, %v", name, got, err)
		}
	}
}

func TestChainMovesFromOneFormatToTheNext(t *testing.T) {
	old, err := dataprotection.FromEnviron([]string{"AzureWebEncryptionKey=00ff00ff00ff00ff"})
	if err != nil {
		t.Fatal(err)
	}
	next, err := keyset.Open(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	chain := seal.Chain{next, old}
	was, _ := old.Seal("v", "p")
	now, _ := chain.Seal("v", "p")
	if plain, stale, err := chain.Open(was, "p"); plain != "v" || !stale || err != nil {
		t.Errorf("old value: %q stale %v, %v", plain, stale, err)
	}
	if plain, stale, err := chain.Open(now, "p"); plain != "v" || stale || err != nil {
		t.Errorf("new value: %q stale %v, %v", plain, stale, err)
	}
	if _, _, err := chain.Open("junk", "p"); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("junk: %v", err)
	}
	if !chain.Seals() || chain.KeyID() != next.KeyID() {
		t.Errorf("chain does not speak for its first member")
	}
}
