package vaultapi

import (
	"sync"
	"time"
)

// window is how long requests are counted together.
const window = 10 * time.Second

// maxWindows bounds how many vaults are counted.
const maxWindows = 4096

// throttle lets a number of requests to each vault through in every window. It is
// safe for concurrent use; nil lets all through.
type throttle struct {
	most int

	mu     sync.Mutex
	vaults map[string]*count // by uid
}

type count struct {
	since time.Time
	n     int
}

func newThrottle(most int) *throttle {
	if most <= 0 {
		return nil
	}
	return &throttle{most: most, vaults: map[string]*count{}}
}

// wait counts a request and gives how long the client must wait, 0 for not.
func (t *throttle) wait(uid string, now time.Time) time.Duration {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.vaults[uid]
	if c == nil {
		t.forget(now)
		c = &count{since: now}
		t.vaults[uid] = c
	}
	if age := now.Sub(c.since); age >= window || age < 0 {
		c.since, c.n = now, 0
	}
	if c.n++; c.n <= t.most {
		return 0
	}
	return c.since.Add(window).Sub(now)
}

// forget makes room when there are too many vaults: those whose window is over
// have nothing to remember.
func (t *throttle) forget(now time.Time) {
	if len(t.vaults) < maxWindows {
		return
	}
	for uid, c := range t.vaults {
		if now.Sub(c.since) >= window {
			delete(t.vaults, uid)
		}
	}
}
