package signin

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds of attempts. Links cannot be guessed; what is kept down is the work that
// strangers can make, and that only: whoever has a good link comes in however many
// others try.
const (
	window   = time.Minute
	most     = 30   // that fail from one address
	together = 600  // by a provider, from all
	sources  = 4096 // that are remembered
	lane     = 16   // links that are looked up at a time
	slow     = 2    // of addresses that failed too often
)

// count is what one source did in a window.
type count struct {
	since time.Time
	n     int
}

// attempts counts attempts to sign in. It is safe for concurrent use.
type attempts struct {
	clock       clock.Clock
	fast, tardy chan struct{}

	mu    sync.Mutex
	links *lru.Cache[string, *count] // those that were not good, by source
	by    *lru.Cache[string, *count] // by a provider
	all   count                      // by a provider
}

func newAttempts(c clock.Clock) (*attempts, error) {
	links, err := lru.New[string, *count](sources)
	by, err2 := lru.New[string, *count](sources)
	return &attempts{clock: c, fast: make(chan struct{}, lane), tardy: make(chan struct{}, slow), links: links, by: by}, errors.Join(err, err2)
}

// look waits until a link may be looked up for somebody, which is soon: nobody is kept
// out, but those who failed too often wait for each other. Call done afterwards. It
// fails only if ctx ends.
func (a *attempts) look(ctx context.Context, remote string) (done func(), err error) {
	through := a.fast
	if a.often(remote) {
		through = a.tardy
	}
	select {
	case through <- struct{}{}:
		return func() { <-through }, nil
	case <-ctx.Done():
		return nil, problem.Wrap(problem.Unavailable, "too many sign in at the same time", ctx.Err())
	}
}

// often reports whether there were as many links that are not good from somewhere as
// there may be.
func (a *attempts) often(remote string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, known := a.links.Get(source(remote))
	return known && c.n >= most && a.clock.Now().Sub(c.since) < window
}

// failed notes a link that is not good and reports whether there are too many.
func (a *attempts) failed(remote string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return add(a.links, source(remote), a.clock.Now()) > most
}

// allow notes an attempt by a provider and reports whether it may be made: others are
// asked then, who have bounds too. One that leads to a session is taken back.
func (a *attempts) allow(remote string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Now()
	return add(a.by, source(remote), now) <= most && a.all.add(now) <= together
}

// succeeded takes attempts back that led to a session.
func (a *attempts) succeeded(remote string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, known := a.by.Get(source(remote)); known {
		c.n = max(c.n-n, 0)
	}
	a.all.n = max(a.all.n-n, 0)
}

func add(to *lru.Cache[string, *count], from string, now time.Time) int {
	c, known := to.Get(from)
	if !known {
		c = &count{}
		to.Add(from, c)
	}
	return c.add(now)
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
