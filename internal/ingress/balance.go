package ingress

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/worker/hop"
)

// share is one revision's part of an app.
type share struct {
	revision *revision
	weight   int
	current  int // what it is owed; guarded by the site
	failed   bool
}

// choose gives the revision whose turn it is, nil if none has a weight. Turns are
// mixed as evenly as they can be, and exact over the sum of all weights.
func (a *app) choose() *share {
	switch len(a.shares) {
	case 0:
		return nil
	case 1:
		return a.shares[0]
	}
	a.site.mu.Lock()
	defer a.site.mu.Unlock()
	total, best := 0, a.shares[0]
	for _, s := range a.shares {
		s.current += s.weight
		total += s.weight
		if s.current > best.current {
			best = s
		}
	}
	best.current -= total
	return best
}

// revision is what is kept of one: its replicas and counts. It outlives changes of
// its app.
type revision struct {
	ref   engine.Ref
	clock clock.Clock

	inFlight             tally
	waiting, total, last atomic.Int64
	drained              atomic.Bool // it was waited for its end, however that went

	mu       sync.Mutex
	replicas []*replica
	parting  []*replica // not among the others any more, with requests under way
	turn     int
}

// replica is one that is ready.
type replica struct {
	name  string
	token string          // names it to clients that stay with it
	ports map[int]*target // by the replica's port
	least int             // the lowest port
	busy  tally
	gone  bool // it gets no new requests
}

// target is one address of a replica.
type target struct {
	addr   string
	client *hop.Client
}

// begin counts a request in.
func (r *revision) begin() {
	r.total.Add(1)
	r.enter()
}

// enter counts a request in that has been counted before, by another revision.
func (r *revision) enter() {
	r.inFlight.begin()
	r.last.Store(r.clock.Now().UnixNano())
}

// end counts a request out.
func (r *revision) end() {
	r.last.Store(r.clock.Now().UnixNano())
	r.inFlight.end()
}

func (r *revision) load() Load {
	l := Load{InFlight: int(r.inFlight.n.Load()), Waiting: int(r.waiting.Load()), Total: r.total.Load()}
	if last := r.last.Load(); last != 0 {
		l.Last = time.Unix(0, last)
	}
	return l
}

// idle reports whether there is nothing to keep of it.
func (r *revision) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inFlight.n.Load() == 0 && len(r.replicas) == 0
}

// set takes what replicas there are. Those that stay keep their connections.
func (r *revision) set(list []Replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := r.replicas
	r.parting = slices.DeleteFunc(r.parting, func(one *replica) bool { return one.busy.n.Load() == 0 })
	r.replicas = make([]*replica, 0, len(list))
	for _, one := range list {
		r.replicas = append(r.replicas, renewed(had, r.ref, one))
	}
	for _, old := range had {
		if !slices.Contains(r.replicas, old) {
			old.close(r.replicas)
			r.parting = append(r.parting, old)
		}
	}
}

// retire keeps new requests from a replica, and gives what there is of it.
func (r *revision) retire(name string) (list []*replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.replicas {
		if one.name == name {
			one.gone = true
			list = append(list, one)
		}
	}
	for _, one := range r.parting {
		if one.name == name {
			list = append(list, one)
		}
	}
	return list
}

// renewed gives the replica that is there already, or a new one with what
// connections of it can be kept.
func renewed(had []*replica, ref engine.Ref, one Replica) *replica {
	i := slices.IndexFunc(had, func(r *replica) bool { return r.name == one.Name })
	if i >= 0 && had[i].at(one.Addresses) {
		return had[i]
	}
	sum := sha256.Sum256([]byte(ref.Key().String() + "\x00" + one.Name))
	r := &replica{name: one.Name, token: hex.EncodeToString(sum[:8]), ports: make(map[int]*target, len(one.Addresses))}
	r.gone = i >= 0 && had[i].gone
	for port, addr := range one.Addresses {
		if i >= 0 && had[i].ports[port] != nil && had[i].ports[port].addr == addr {
			r.ports[port] = had[i].ports[port]
		} else {
			r.ports[port] = &target{addr: addr, client: hop.New(addr)}
		}
		if r.least == 0 || port < r.least {
			r.least = port
		}
	}
	return r
}

// at reports whether a replica's addresses are these.
func (r *replica) at(addresses map[int]string) bool {
	for port, addr := range addresses {
		if t := r.ports[port]; t == nil || t.addr != addr {
			return false
		}
	}
	return len(addresses) == len(r.ports)
}

// close drops idle connections that none of those that stay uses.
func (r *replica) close(stay []*replica) {
	for port, t := range r.ports {
		if !slices.ContainsFunc(stay, func(s *replica) bool { return s.ports[port] == t }) {
			t.client.Close()
		}
	}
}

// target gives where a port of the replica is, nil for nowhere.
func (r *replica) target(port int) *target {
	if port == 0 {
		port = r.least
	}
	return r.ports[port]
}

// pick gives the ready replica with the least to do that was not tried yet, nil if
// there is none. Those with as much take turns. Whoever gets it releases it.
func (r *revision) pick(port int, tried []*replica) *replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	var best *replica
	n := len(r.replicas)
	for i := range n {
		one := r.replicas[(r.turn+i)%n]
		if one.gone || one.target(port) == nil || slices.Contains(tried, one) {
			continue
		}
		if best == nil || one.busy.n.Load() < best.busy.n.Load() {
			best = one
		}
	}
	r.turn++
	if best != nil {
		best.busy.begin()
	}
	return best
}

// pickToken gives the replica that a token names, nil if it is not ready.
func (r *revision) pickToken(port int, token string, tried []*replica) *replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.replicas {
		if one.token == token && !one.gone && one.target(port) != nil && !slices.Contains(tried, one) {
			one.busy.begin()
			return one
		}
	}
	return nil
}

func (r *replica) release() { r.busy.end() }
