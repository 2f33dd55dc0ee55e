package keyring_test

import (
	"context"
	"slices"
	"sync"

	"github.com/latchkey/latchkey/internal/keyring"
)

// ledgerBook is a usage store in memory.
type ledgerBook struct {
	mu     sync.Mutex
	uses   []keyring.Use
	writes int
	fail   error
}

func (b *ledgerBook) Load(context.Context) ([]keyring.Use, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.uses), b.fail
}

func (b *ledgerBook) Add(_ context.Context, uses []keyring.Use) ([]keyring.Use, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	b.writes++
	var sums []keyring.Use
	for _, u := range uses {
		at := slices.IndexFunc(b.uses, func(have keyring.Use) bool { return have.Key == u.Key })
		if at < 0 {
			b.uses, at = append(b.uses, keyring.Use{Key: u.Key, Since: u.Since}), len(b.uses)
		}
		b.uses[at] = b.uses[at].Merge(u)
		sums = append(sums, b.uses[at])
	}
	return sums, nil
}
