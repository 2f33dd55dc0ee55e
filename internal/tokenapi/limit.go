package tokenapi

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/keyring"
)

// Wrong proofs that are let through at once and then per second, by source and by
// app, and how many of each are remembered.
const (
	wrongBurst     = 30
	wrongPerSecond = 2
	remembered     = 4096
	trustFor       = 24 * time.Hour
)

// limits slow down those who present wrong proofs. Who is over the limit is told
// to wait before anything is verified; only a source that was right about an app
// within a day goes on being verified for that app, so that neither a stranger
// who knows an app id nor a neighbour behind the same address locks it out.
type limits struct {
	clock   clock.Clock
	born    time.Time
	sources *keyring.Limiter

	mu      sync.Mutex
	apps    *simplelru.LRU[string, time.Duration]
	trusted *simplelru.LRU[pair, time.Time]
}

// pair is a client at a place.
type pair struct {
	source netip.Addr
	app    string
}

var budget = keyring.Budget{Burst: wrongBurst, PerSecond: wrongPerSecond}

func newLimits(c clock.Clock) *limits {
	apps, err := simplelru.NewLRU[string, time.Duration](remembered, nil)
	if err != nil {
		panic(err) // only for a size below one
	}
	trusted, err := simplelru.NewLRU[pair, time.Time](remembered, nil)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &limits{clock: c, born: c.Now(), sources: keyring.NewLimiter(c, budget, remembered), apps: apps, trusted: trusted}
}

// wait gives how long a client must wait before it is listened to; 0 for not.
func (l *limits) wait(source netip.Addr, app string) time.Duration {
	wait := l.sources.Wait(source)
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	account, _ := l.apps.Get(app)
	wait = max(wait, budget.Wait(account, now.Sub(l.born)))
	if until, ok := l.trusted.Peek(pair{source, app}); wait > 0 && ok && now.Before(until) {
		return 0
	}
	return wait
}

// wrong charges a wrong proof to its source and, if there is such an app, to the
// app. It gives how long to wait if either had nothing left.
func (l *limits) wrong(source netip.Addr, app string) time.Duration {
	wait, _ := l.sources.Spend(source)
	if app == "" {
		return wait // strangers' inventions must not push out the accounts of apps
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	account, _ := l.apps.Get(app)
	account, own := budget.Spend(account, l.clock.Now().Sub(l.born))
	l.apps.Add(app, account)
	return max(wait, own)
}

// right remembers where a client really is.
func (l *limits) right(source netip.Addr, app string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trusted.Add(pair{source, app}, l.clock.Now().Add(trustFor))
}

// wrongProof says whether an error is the client's wrong proof, and whether there
// is such an app.
func wrongProof(err error) (known, wrong bool) {
	var refused *identity.Refused
	var f *fault
	switch {
	case errors.As(err, &refused):
		return refused.Reason != identity.UnknownApp, true
	case errors.As(err, &f):
		return true, true
	}
	return false, false
}
