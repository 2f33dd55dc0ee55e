package traffic

import "math"

// What is kept of an app: 64 minutes and 98 quarters of an hour, which is a day and
// the one that is not over.
const (
	minutesKept  = 64
	quartersKept = 98
	quarter      = 15 // minutes
)

// slot is what was counted within a minute or a quarter of an hour, 56 bytes.
type slot struct {
	at     uint32 // since 1970, in units of the slot
	counts [classes]uint32
	micros uint64
}

// ledger is what is kept of one app on one node, some 9 KiB.
type ledger struct {
	minutes  [minutesKept]slot
	quarters [quartersKept]slot
}

// add enters what was counted in a minute.
func (l *ledger) add(minute int64, s Sum) {
	l.minutes[minute%minutesKept].add(minute, s)
	l.quarters[minute/quarter%quartersKept].add(minute/quarter, s)
}

func (s *slot) add(at int64, sum Sum) {
	if s.at != uint32(at) { //nolint:gosec // minutes fit for eight thousand years
		*s = slot{at: uint32(at)} //nolint:gosec // likewise
	}
	for i, n := range sum.Counts {
		s.counts[i] = uint32(min(uint64(s.counts[i])+n, math.MaxUint32)) //nolint:gosec // bounded
	}
	s.micros += sum.Micros
}

// sum adds up count units from first, of minutes or of quarters.
func (l *ledger) sum(first, count int64, quarters bool) (total Sum) {
	slots := l.minutes[:]
	if quarters {
		slots = l.quarters[:]
	}
	for at := max(first, 0); at < first+count; at++ {
		if s := &slots[at%int64(len(slots))]; s.at == uint32(at) { //nolint:gosec // minutes fit
			for i, n := range s.counts {
				total.Counts[i] += uint64(n)
			}
			total.Micros += s.micros
		}
	}
	return total
}
