package statestore

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) (instances.Store, func() instances.Store) {
		docs := memory.New(clock.NewManual(time.Unix(0, 0)))
		cfg := Config{Docs: docs, Prefix: "/apps/a/durable/", Clock: clock.NewManual(time.Unix(0, 0))}
		return New(cfg), func() instances.Store { return New(cfg) }
	})
}
