package keyring

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/latchkey/latchkey/internal/clock"
)

// Budget is a rate of wrong keys: Burst at once, then PerSecond. Both are at
// least 1. Its methods are pure; a source's account is one point in time, the
// moment at which everything it spent is earned back (the theoretical arrival
// time of the generic cell rate algorithm).
type Budget struct{ Burst, PerSecond int }

func (b Budget) interval() time.Duration { return time.Second / time.Duration(b.PerSecond) }

// tolerance is how far an account may run ahead of the clock.
func (b Budget) tolerance() time.Duration { return b.interval() * time.Duration(b.Burst-1) }

// Wait gives how long an account has nothing left; 0 when it has.
func (b Budget) Wait(account, now time.Duration) time.Duration {
	return max(0, account-b.tolerance()-now)
}

// Spend takes one from an account. With nothing left it takes nothing and says
// how long that lasts.
func (b Budget) Spend(account, now time.Duration) (next, wait time.Duration) {
	if wait := b.Wait(account, now); wait > 0 {
		return account, wait
	}
	return max(account, now) + b.interval(), 0
}

// tellEvery is how often the throttling of one source is reported.
const tellEvery = time.Minute

// Limiter keeps the accounts of the sources seen last, a fixed number of them.
// IPv6 addresses count by their /64 network, which is what one site has. It is
// safe for concurrent use.
type Limiter struct {
	clock  clock.Clock
	budget Budget
	born   time.Time
	// horizon is the account furthest ahead: while that one has budget left, all
	// have, and Wait need not lock.
	horizon atomic.Int64

	mu       sync.Mutex
	accounts *simplelru.LRU[netip.Addr, account]
}

type account struct {
	until    time.Duration
	quiet    time.Duration // no report before then
	reported bool
}

// NewLimiter makes a limiter that remembers up to sources sources, at least one.
func NewLimiter(c clock.Clock, budget Budget, sources int) *Limiter {
	accounts, err := simplelru.NewLRU[netip.Addr, account](max(1, sources), nil)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &Limiter{clock: c, budget: budget, born: c.Now(), accounts: accounts}
}

// Wait gives how long a source has no budget left; 0 when it has. It spends
// nothing.
func (l *Limiter) Wait(source netip.Addr) time.Duration {
	now := l.now()
	if l.budget.Wait(time.Duration(l.horizon.Load()), now) == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a, _ := l.accounts.Get(network(source))
	return l.budget.Wait(a.until, now)
}

// Spend charges a wrong key. wait > 0 says that there was no budget left for
// it; tell that this is worth reporting, which is so once a minute per source.
func (l *Limiter) Spend(source netip.Addr) (wait time.Duration, tell bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	key := network(source)
	a, _ := l.accounts.Get(key)
	a.until, wait = l.budget.Spend(a.until, now)
	if wait > 0 && (!a.reported || now >= a.quiet) {
		a.quiet, a.reported, tell = now+tellEvery, true, true
	}
	l.accounts.Add(key, a)
	l.horizon.Store(max(l.horizon.Load(), int64(a.until)))
	return wait, tell
}

func (l *Limiter) now() time.Duration { return l.clock.Now().Sub(l.born) }

// network gives what a source is accounted under.
func network(source netip.Addr) netip.Addr {
	source = source.Unmap().WithZone("")
	if !source.Is6() {
		return source
	}
	p, _ := source.Prefix(64) // 64 is in range
	return p.Addr()
}

func sourceText(source netip.Addr) string {
	n := network(source)
	if n.Is6() {
		return n.String() + "/64"
	}
	return n.String()
}
