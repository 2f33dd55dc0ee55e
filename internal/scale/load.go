package scale

import (
	"time"

	"github.com/latchkey/latchkey/internal/scale/decide"
)

// load is what was in flight lately.
type load struct {
	looks []look // of the last interval and the one before it, oldest first
}

type look struct {
	at       time.Time
	inFlight int
	requests uint64
}

// add takes a look.
func (l *load) add(now time.Time, inFlight int, requests uint64) {
	keep := l.looks
	for len(keep) > 1 && now.Sub(keep[1].at) >= decide.Interval {
		keep = keep[1:]
	}
	l.looks = append(l.looks[:copy(l.looks, keep)], look{now, inFlight, requests})
}

// mean gives how much was in flight over the last interval.
func (l *load) mean(now time.Time) float64 {
	sum, n := 0, 0
	for _, k := range l.looks {
		if now.Sub(k.at) < decide.Interval {
			sum, n = sum+k.inFlight, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}

// rate gives how many requests came in each second of the last interval.
func (l *load) rate(now time.Time) float64 {
	if len(l.looks) < 2 {
		return 0
	}
	first, last := l.looks[0], l.looks[len(l.looks)-1]
	if last.requests < first.requests { // it was counted anew
		return 0
	}
	return float64(last.requests-first.requests) / decide.Interval.Seconds()
}
