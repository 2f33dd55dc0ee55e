package instance

import "time"

// Crash policy (runtime §13): a worker is started again after a crash; the
// count of crashes is forgotten when two are further apart than crashWindow or
// the worker served for stableService in between.
// The stock host gives up and ends its process after maxCrashes; this host goes
// to state Error, refuses work at once and keeps trying ever more slowly.
const (
	maxCrashes    = 3
	crashWindow   = 30 * time.Minute
	firstBackoff  = time.Second
	longestPause  = 2 * time.Minute
	stableService = time.Minute // after this a crash counts as the first
)

// crashes is the memory of the policy. It is a value: next gives a new one.
type crashes struct {
	count int
	last  time.Time
}

// next decides what to do after a crash at now of a worker that had served for
// the given time: how long to wait before the next start, and whether the app is
// in error until then.
func (c crashes) next(now time.Time, served time.Duration) (after crashes, pause time.Duration, failed bool) {
	if now.Sub(c.last) > crashWindow || served >= stableService {
		c.count = 0
	}
	after = crashes{count: c.count + 1, last: now}
	switch {
	case after.count == 1:
		return after, 0, false
	case after.count <= maxCrashes:
		return after, firstBackoff, false
	default:
		return after, backoff(after.count - maxCrashes), true
	}
}

// backoff doubles from one second to two minutes.
func backoff(attempt int) time.Duration {
	d := firstBackoff
	for range attempt {
		d *= 2
		if d >= longestPause {
			return longestPause
		}
	}
	return d
}
