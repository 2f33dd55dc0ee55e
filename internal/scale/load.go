package scale

import (
	"time"

	"github.com/latchkey/latchkey/internal/scale/decide"
)

// looks are what there was to do lately: of the last interval, and the last one
// before it, the oldest first.
type looks []look

type look struct {
	at time.Time
	Load
}

// add takes a look.
func (l *looks) add(now time.Time, load Load) {
	keep := *l
	for len(keep) > 1 && now.Sub(keep[1].at) >= decide.Interval {
		keep = keep[1:]
	}
	*l = append((*l)[:copy(*l, keep)], look{now, load})
}

// mean gives how much was in flight over the last interval.
func (l looks) mean(now time.Time) float64 {
	sum, n := 0, 0
	for _, k := range l {
		if now.Sub(k.at) < decide.Interval {
			sum, n = sum+k.InFlight, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}

// rate gives how many requests came in each second of the last interval.
func (l looks) rate() float64 {
	if len(l) < 2 {
		return 0
	}
	came := l[len(l)-1].Total - l[0].Total
	return float64(max(came, 0)) / decide.Interval.Seconds()
}
