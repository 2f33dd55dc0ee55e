package filestore

import (
	"testing"

	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (instances.Store, func() instances.Store) {
		dir := t.TempDir() + "/durable"
		return New(dir), func() instances.Store { return New(dir) }
	})
}
