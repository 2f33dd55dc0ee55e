package audit

import (
	"context"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
)

// mostRecent is how many events are kept in memory to be found by their ids.
const mostRecent = 4096

// recent has the last events by correlation id: in the record, events that repeat
// one another have one place, with the ids of the first and of the last of them.
type recent struct {
	mu   sync.Mutex
	ring []Event
	next int
	byID map[string]int // lower case, to the place in ring
}

func (r *recent) keep(e Event) {
	if e.CorrelationID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = map[string]int{}
	}
	if len(r.ring) < mostRecent {
		r.ring = append(r.ring, Event{})
	} else if id := strings.ToLower(r.ring[r.next].CorrelationID); r.byID[id] == r.next {
		delete(r.byID, id)
	}
	r.ring[r.next], r.byID[strings.ToLower(e.CorrelationID)] = e, r.next
	r.next = (r.next + 1) % mostRecent
}

func (r *recent) find(id string) (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.byID[strings.ToLower(id)]
	if !ok {
		return Event{}, false
	}
	return r.ring[at], true
}

// Keep makes an event known to [Log.Find] for a while, without recording it.
func (l *Log) Keep(e Event) { l.recent.keep(l.complete(e).detailed()) }

// findMost is how many events of the chain Find looks at, the newest.
const findMost = 5 * scanMost

// Find gives an event by its correlation id: one of the last few thousand refusals
// of this process, also those that the chain has only as repetitions, whose Sequence
// is then 0; or one of the newest 50,000 events of the chain. It returns
// problem.NotFound if it is none of these.
func (l *Log) Find(ctx context.Context, id string) (Entry, error) {
	if e, ok := l.recent.find(id); ok {
		return Entry{Event: e}, nil
	}
	f := Filter{Correlation: id, Limit: 1}
	for range findMost / scanMost {
		list, next, err := l.List(ctx, f)
		if err != nil {
			return Entry{}, err
		}
		if len(list) > 0 {
			return list[0], nil
		}
		if f.After = next; next == 0 {
			break
		}
	}
	return Entry{}, problem.New(problem.NotFound, "nothing is known of this id").
		WithNext("ask with x-ms-correlation-request-id, or x-ms-request-id, of the answer; of requests that are alike within a minute the record has the first and the last")
}
