package keystore

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// Alive gives an error, matching ctx's own and problem.Timeout, once ctx has
// ended. Stores call it before they touch anything.
func Alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return problem.Wrap(problem.Timeout, "the key store was not asked in time", err)
	}
	return nil
}

// Missing is the ErrNotFound every store answers for an absent document.
func Missing(doc Doc, where string) error {
	return problem.New(ErrNotFound, fmt.Sprintf("no key document %q in %s", string(doc), where))
}

// Refused wraps the error a [Change] returned, keeping its kind.
func Refused(doc Doc, err error) error {
	return fmt.Errorf("key document %q not changed: %w", string(doc), err)
}
