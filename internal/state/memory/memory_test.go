package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/statetest"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestFaults(t *testing.T) {
	ctx, s := testContext(t), memory.New(clock.Real{})
	defer func() { _ = s.Close() }()
	events, err := s.Watch(ctx, "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Acquire(ctx, "job", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Kind != state.EventPut || e.Key != "/leases/job" {
		t.Errorf("got %v", e)
	}
	s.SetUnavailable(true)
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	s.SetUnavailable(false)
	s.ExpireLeases()
	<-l.Lost()
	if _, err := s.Write(ctx, l.Fence(), state.Put("/a", nil, state.Any)); !errors.Is(err, state.ErrConflict) {
		t.Errorf("got %v", err)
	}
	s.Forget()
	for e := range events {
		if e.Kind == state.EventResync {
			return
		}
	}
	t.Error("the watch ended without EventResync")
}

func open(t *testing.T) statetest.Harness {
	s := memory.New(clock.Real{})
	t.Cleanup(func() { _ = s.Close() })
	return statetest.Harness{Store: s, Forget: s.Forget}
}

func TestMemoryKeepsTheContract(t *testing.T) { statetest.Run(t, open) }
