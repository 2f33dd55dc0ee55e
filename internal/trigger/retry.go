package trigger

import (
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// RetryDelay gives the wait before the next attempt after the given number of
// failed retries, 0 after the first attempt.
func RetryDelay(p *funcapp.Retry, retries int) time.Duration {
	if p.MinimumInterval == 0 && p.MaximumInterval == 0 {
		return p.DelayInterval
	}
	d := max(p.MinimumInterval, time.Millisecond)
	for range retries {
		if d >= p.MaximumInterval {
			break
		}
		d *= 2
	}
	return min(d, p.MaximumInterval)
}
