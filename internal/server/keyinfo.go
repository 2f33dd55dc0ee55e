package server

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
)

// Describe gives what is kept about the keys of a section and how they were used,
// in the order of List, whose errors it returns.
func (k *Keys) Describe(ctx context.Context, sec keyring.Section) ([]keyinfo.Info, error) {
	return keyinfo.List(ctx, k.Ring, sec, time.Now())
}
