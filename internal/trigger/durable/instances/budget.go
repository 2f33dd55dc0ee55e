package instances

import (
	"fmt"
	"math"

	"github.com/latchkey/latchkey/internal/problem"
)

// Budget is what the instances of one app may take of their store together. From
// there on none is started; those in progress, and the orchestrations they start,
// may take as much again to come to their end.
type Budget struct {
	Instances int64 // those that ended and were not purged included
	Bytes     int64 // as they are kept
}

// DefaultBudget is that of an app unless who runs the server says otherwise.
func DefaultBudget() Budget { return Budget{Instances: 10_000, Bytes: 64 << 20} }

// Usage is what the instances of an app take.
type Usage struct{ Instances, Bytes int64 }

// slack is how much an instance may grow, in bytes, by what ends it: that is
// possible however full the store is.
const slack = 4 << 10

// Check says whether what an app uses may grow by more for a change of an instance
// from old, nil for none, to changed. It returns problem.Throttled when nothing can
// be started for now, and problem.TooLarge when what is in progress has used up its
// part, too.
func (b Budget) Check(used, more Usage, old, changed *Instance) error {
	if more.Instances <= 0 && more.Bytes <= 0 || ends(old, changed) && more.Bytes <= slack {
		return nil
	}
	if begins(old, changed) && changed.Parent == nil {
		return b.over(used, more, problem.Throttled, "no orchestration can be started")
	}
	return b.twice().over(used, more, problem.TooLarge, "orchestrations in progress cannot grow")
}

func (b Budget) over(used, more Usage, kind problem.Kind, what string) error {
	limit := ""
	switch {
	case more.Instances > 0 && used.Instances+more.Instances > b.Instances:
		limit = fmt.Sprintf("%d instances", b.Instances)
	case more.Bytes > 0 && used.Bytes+more.Bytes > b.Bytes:
		limit = fmt.Sprintf("%d bytes", b.Bytes)
	default:
		return nil
	}
	return problem.New(kind, what+": those of the app, with the ended ones, have reached the limit of "+limit).
		WithNext("purge instances that have ended, and terminate those that are not wanted")
}

// twice is what instances in progress may use.
func (b Budget) twice() Budget {
	return Budget{Instances: double(b.Instances), Bytes: double(b.Bytes)}
}

func double(n int64) int64 {
	if n > math.MaxInt64/4 {
		return math.MaxInt64 / 2
	}
	return 2 * n
}

// begins reports whether a change makes an instance run that was not there, or had
// ended.
func begins(old, changed *Instance) bool {
	return (old == nil || old.Status.Final()) && !changed.Status.Final()
}

// ends reports whether a change ends an instance, or is the first to tell it to.
func ends(old, changed *Instance) bool {
	if old == nil {
		return false
	}
	return !old.Status.Final() && changed.Status.Final() || told(old) == 0 && told(changed) == 1
}

func told(i *Instance) (n int) {
	for _, v := range i.Inbox {
		if v.EventType == ExecutionTerminated {
			n++
		}
	}
	return n
}
