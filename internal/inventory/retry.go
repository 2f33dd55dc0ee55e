package inventory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// attempts bounds how often a change is made anew because others were faster.
const attempts = 20

// ErrStale says that what a change was made from is not what there is now. It
// matches problem.Conflict.
var ErrStale = problem.New(problem.Conflict, "somebody else changed it first")

// Retry makes a change of the resource until nobody else was faster: while it ends
// with ErrStale or another conflict, 20 times at most, then the error is
// problem.Conflict and says so of what, such as "vault". An error marked by Final
// ends it at once.
func Retry[T any](ctx context.Context, what string, id resource.ID, once func() (T, error)) (T, error) {
	var none T
	for try := range attempts {
		value, err := once()
		var f final
		if errors.As(err, &f) {
			return none, f.error
		}
		if problem.KindOf(err) != state.ErrConflict {
			return value, err
		}
		wait := time.Duration(rand.Int64N(int64(2*time.Millisecond) << min(try, 6)))
		if clock.Sleep(ctx, clock.Real{}, wait) != nil {
			return none, state.Alive(ctx)
		}
	}
	return none, problem.New(problem.Conflict, fmt.Sprintf("others kept changing %s %q", what, id.Name())).WithNext("try again")
}

// Final marks an error, which must not be nil, that trying again does not mend,
// even if it is a conflict.
func Final(err error) error { return final{err} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }
