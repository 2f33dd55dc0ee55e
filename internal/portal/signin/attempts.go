package signin

import (
	"net"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/clock"
)

// Bounds of attempts. Links cannot be guessed; what is kept down is the work that
// strangers can make.
const (
	window   = time.Minute
	most     = 30   // from one address
	together = 600  // from all
	sources  = 4096 // that are remembered
)

// count is what one source did in a window.
type count struct {
	since time.Time
	n     int
}

// attempts counts attempts to sign in. It is safe for concurrent use.
type attempts struct {
	clock clock.Clock

	mu  sync.Mutex
	by  *lru.Cache[string, *count]
	all count
}

func newAttempts(c clock.Clock) (*attempts, error) {
	by, err := lru.New[string, *count](sources)
	return &attempts{clock: c, by: by}, err
}

// allow notes an attempt and reports whether it may be made.
func (a *attempts) allow(remote string) bool {
	host := source(remote)
	a.mu.Lock()
	defer a.mu.Unlock()
	c, known := a.by.Get(host)
	if !known {
		c = &count{}
		a.by.Add(host, c)
	}
	now := a.clock.Now()
	return c.add(now) <= most && a.all.add(now) <= together
}

// source gives what counts as one address: whoever has one of IPv6 has as many as a
// network of 64 bits holds.
func source(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	a, err := netip.ParseAddr(host)
	if a = a.Unmap().WithZone(""); err != nil || a.Is4() {
		return host
	}
	network, err := a.Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

func (c *count) add(now time.Time) int {
	if d := now.Sub(c.since); d >= window || d < 0 {
		*c = count{since: now}
	}
	c.n++
	return c.n
}
