package drill_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/drill"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

func open(t *testing.T, s state.Store) (*drill.Drill, *clock.Drill) {
	t.Helper()
	c := clock.NewDrill()
	d, err := drill.Open(t.Context(), s, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d, c
}

func store(t *testing.T) state.Store {
	t.Helper()
	return memory.New(clock.Real{})
}

func TestTheClockStaysAheadOverRestarts(t *testing.T) {
	s := store(t)
	if err := drill.Check(t.Context(), s); err != nil {
		t.Fatalf("a new state: %v", err)
	}
	d, c := open(t, s)
	for _, by := range []time.Duration{5 * 24 * time.Hour, time.Hour} {
		if _, err := d.Advance(t.Context(), by); err != nil {
			t.Fatal(err)
		}
	}
	_, again := open(t, s)
	if want := 121 * time.Hour; c.Ahead() != want || again.Ahead() != want {
		t.Errorf("ahead by %s, and after a restart by %s", c.Ahead(), again.Ahead())
	}
	if err := drill.Check(t.Context(), s); problem.KindOf(err) != problem.Conflict || problem.NextOf(err) == "" {
		t.Errorf("a start without the drill: %v", err)
	}
	if _, err := d.Reset(t.Context()); err != nil || c.Ahead() != 0 {
		t.Errorf("%v, ahead by %s", err, c.Ahead())
	}
	if err := drill.Check(t.Context(), s); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

func TestNodesShareADrill(t *testing.T) {
	s := store(t)
	one, _ := open(t, s)
	two, c := open(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); two.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	moved := c.NewTimer(time.Hour)
	if _, err := one.Switch(t.Context(), drill.Faults{Vault: drill.VaultErrors, Token: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Advance(t.Context(), 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	select {
	case <-moved.C():
	case <-time.After(time.Minute):
		t.Fatal("the other node's clock is not moved")
	}
	if f, err := two.Vault(t.Context()); f != drill.VaultErrors || err != nil {
		t.Errorf("vaults of the other node: %q, %v", f, err)
	}
	if err := two.Token(t.Context()); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("tokens of the other node: %v", err)
	}
}

func TestWhatCannotBeDrilledIsRefused(t *testing.T) {
	d, c := open(t, store(t))
	for _, by := range []time.Duration{0, -time.Hour, drill.MaxAhead + 1} {
		if _, err := d.Advance(t.Context(), by); problem.KindOf(err) != problem.Invalid {
			t.Errorf("advance by %s: %v", by, err)
		}
	}
	for _, f := range []drill.Faults{{Vault: "gone"}, {Slow: -1}, {Slow: drill.MaxSlow + 1}} {
		if _, err := d.Switch(t.Context(), f); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if c.Ahead() != 0 || d.Now() != (drill.State{}) {
		t.Errorf("something was changed: %+v", d.Now())
	}
}

func TestSlownessEndsWithTheCaller(t *testing.T) {
	d, _ := open(t, store(t))
	if _, err := d.Switch(t.Context(), drill.Faults{Slow: time.Minute}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Vault(ctx); err == nil {
		t.Error("a vault does not wait")
	}
	if err := d.Token(ctx); err == nil {
		t.Error("the identity endpoint does not wait")
	}
}

func TestADamagedDocumentIsNamed(t *testing.T) {
	s := store(t)
	if _, err := s.Write(t.Context(), state.Put("/drill/state", []byte("{"), state.Absent)); err != nil {
		t.Fatal(err)
	}
	if err := drill.Check(t.Context(), s); problem.KindOf(err) != problem.Undecryptable {
		t.Error(err)
	}
}
