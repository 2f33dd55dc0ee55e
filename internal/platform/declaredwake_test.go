package platform

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/memory"
)

// TestAnAppThatComesToRunIsGivenItsDeclaredKeysAtOnce: the clock stands still.
func TestAnAppThatComesToRunIsGivenItsDeclaredKeysAtOnce(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := &Node{cfg: Config{Clock: c}, deployed: make(chan struct{}, 1)}
	ring, err := keyring.New(keyring.Config{Store: memory.New(), Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	seen := n.modelLoaded("orders", ring)
	woken := make(chan bool)
	go func() { woken <- n.awaitDeclared(t.Context()) }()
	seen(&instance.Model{App: &funcapp.App{}})
	seen(&instance.Model{App: &funcapp.App{}}) // nobody needs to be waiting
	select {
	case again := <-woken:
		if !again {
			t.Error("it ended")
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody was woken")
	}
}
