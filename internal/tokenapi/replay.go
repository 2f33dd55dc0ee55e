package tokenapi

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
)

// How many assertions are remembered, in all and per client. Beyond that clients
// have to wait: forgetting one would let it be used again.
const (
	maxAssertions    = 1 << 16
	maxPerClient     = 1 << 12
	sweepAtMostEvery = time.Second
)

// replays remembers the assertions that clients presented until they expire, so
// that nobody who got hold of one uses it too. It is this process's own memory.
type replays struct {
	clock  clock.Clock
	strict bool // no second use from anywhere

	mu      sync.Mutex
	seen    map[[sha256.Size]byte]sighting
	clients map[string]int // how many of each client
	swept   time.Time
}

type sighting struct {
	app     string
	raw     [sha256.Size]byte
	source  netip.Addr
	expires time.Time
}

func newReplays(c clock.Clock, strict bool) *replays {
	return &replays{clock: c, strict: strict, seen: map[[sha256.Size]byte]sighting{}, clients: map[string]int{}}
}

// take accepts an assertion, which has been verified, or returns a fault.
func (p *replays) take(app string, a identity.Assertion, raw string, source netip.Addr) error {
	key, sum, now := sha256.Sum256([]byte(app+"\x00"+a.ID)), sha256.Sum256([]byte(raw)), p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.seen[key]; ok && now.Before(old.expires) {
		if p.strict || old.raw != sum || old.source != source {
			f := faultf(700024, "Client assertion is not within its valid time range (it was presented before).")
			f.reason = "assertion presented again"
			return f
		}
		return nil
	}
	p.forget(key)
	p.sweep(now)
	if len(p.seen) >= maxAssertions || p.clients[app] >= maxPerClient {
		return throttled(sweepAtMostEvery)
	}
	p.seen[key] = sighting{app, sum, source, a.Expires.Add(identity.Skew)}
	p.clients[app]++
	return nil
}

func (p *replays) forget(key [sha256.Size]byte) {
	old, ok := p.seen[key]
	if !ok {
		return
	}
	delete(p.seen, key)
	if p.clients[old.app]--; p.clients[old.app] <= 0 {
		delete(p.clients, old.app)
	}
}

func (p *replays) sweep(now time.Time) {
	if now.Sub(p.swept) < sweepAtMostEvery && !p.swept.IsZero() {
		return
	}
	p.swept = now
	for key, s := range p.seen {
		if !now.Before(s.expires) {
			p.forget(key)
		}
	}
}
