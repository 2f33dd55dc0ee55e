package keyring

import (
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// ledger is what a key has used of its rate and quota. All values of one name
// share it, so that a rotation gives nobody more. It is safe for concurrent use
// and never locks.
type ledger struct {
	until  atomic.Int64 // when everything spent of the rate is earned back, since the ring's birth
	quota  atomic.Int64 // uses here, see pack
	others atomic.Int64 // uses elsewhere and before the start, see pack

	sent Used // of quota, handed over; guarded by Ring.flushing
}

// spendRate takes one use of a rate; with none left it takes nothing and says
// how long that lasts. It is the generic cell rate algorithm.
func (l *ledger) spendRate(rate accesskey.Rate, now time.Duration) (wait time.Duration) {
	if rate.IsZero() {
		return 0
	}
	burst := rate.Burst
	if burst == 0 {
		burst = rate.N
	}
	interval := rate.Per / time.Duration(rate.N)
	tolerance := interval * time.Duration(burst-1)
	for {
		was := l.until.Load()
		until := time.Duration(was)
		if wait = until - tolerance - now; wait > 0 {
			return wait
		}
		if l.until.CompareAndSwap(was, int64(max(until, now)+interval)) {
			return 0
		}
	}
}

// spendQuota takes one use of a quota; with none left it takes nothing and says
// how long the period still lasts.
func (l *ledger) spendQuota(q accesskey.Quota, now time.Time) (wait time.Duration) {
	if q.IsZero() {
		return 0
	}
	day := dayOf(q.Per.Start(now))
	for {
		was := l.quota.Load()
		used := usedIn(was, day)
		if used+usedIn(l.others.Load(), day) >= int64(q.N) {
			return q.Per.End(now).Sub(now)
		}
		if l.quota.CompareAndSwap(was, pack(day, used+1)) {
			return 0
		}
	}
}

// pack puts the first day of a period and the uses in it into one word.
func pack(day, used int64) int64 { return day<<32 | min(used, 1<<32-1) }

// usedIn gives the uses in the period that begins at a day.
func usedIn(packed, day int64) int64 {
	if packed>>32 != day {
		return 0
	}
	return packed & (1<<32 - 1)
}

const daySeconds = 24 * 60 * 60

func dayOf(t time.Time) int64 { return t.Unix() / daySeconds }

// used gives the uses counted here as they are kept; zero when there are none.
func (l *ledger) used() Used {
	packed := l.quota.Load()
	if packed == 0 {
		return Used{}
	}
	return Used{Start: time.Unix(packed>>32*daySeconds, 0).UTC(), Count: packed & (1<<32 - 1)}
}

// adopt notes what all nodes have used together, of which own was counted here.
func (l *ledger) adopt(total, own Used) {
	if total.Start.IsZero() {
		return
	}
	if own.Start.Equal(total.Start) {
		total.Count -= own.Count
	}
	l.others.Store(pack(dayOf(total.Start), max(0, total.Count)))
}
