package reference

import (
	"maps"
	"sync"
)

// Stats are figures of this node's resolver.
type Stats struct {
	Leading  bool             // this node refreshes
	InFlight int              // fetches going on
	Queued   int              // fetches that wait for a place
	Fetches  map[Status]int64 // that ended, by how they ended
	Touches  int64            // times that copies were made to start anew
	Apps     int              // with references; 0 on nodes that do not refresh
}

// Stats gives the figures as they are now.
func (r *Resolver) Stats() Stats {
	s := r.counts.stats()
	for _, l := range []*lane{r.behind, r.front} {
		s.InFlight += int(l.inFlight.Load())
		s.Queued += int(l.queued.Load())
	}
	if sched := r.leading(); sched != nil {
		s.Leading, s.Apps = true, sched.size()
	}
	return s
}

type counts struct {
	mu      sync.Mutex
	fetches map[Status]int64
	touches int64
}

func (c *counts) fetched(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetches == nil {
		c.fetches = map[Status]int64{}
	}
	c.fetches[s]++
}

func (c *counts) touched() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touches++
}

func (c *counts) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Fetches: maps.Clone(c.fetches), Touches: c.touches}
}
