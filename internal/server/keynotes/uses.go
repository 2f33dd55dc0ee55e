package keynotes

import (
	"context"

	"github.com/latchkey/latchkey/internal/keyring"
)

// maxUses bounds how many keys uses are kept of: those used last.
const maxUses = 10_000

// Uses is a [keyring.UsageStore].
type Uses struct{ file file }

type uses struct {
	Keys keyring.Uses `json:"keys"`
}

// Load gives all that is kept.
func (u *Uses) Load(context.Context) ([]keyring.Use, error) {
	var kept uses
	if err := u.file.read(&kept); err != nil {
		return nil, err
	}
	return kept.Keys, nil
}

// Add merges uses into what is kept, in one write, and gives the sums.
func (u *Uses) Add(ctx context.Context, more []keyring.Use) (sums []keyring.Use, err error) {
	var kept uses
	err = u.file.update(ctx, &kept, func() {
		sums = kept.Keys.Add(more)
		kept.Keys.Trim(maxUses)
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}
