package supervise

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
)

// probe asks the container how it is until ctx ends, in goroutines of work.
func (c *container) probe(ctx context.Context, work *sync.WaitGroup, id string) {
	var liveness, readiness, startup *engine.Probe
	for i := range c.spec.Probes {
		switch p := &c.spec.Probes[i]; p.Kind {
		case engine.Liveness:
			liveness = p
		case engine.Readiness:
			readiness = p
		case engine.Startup:
			startup = p
		}
	}
	if liveness == nil && readiness == nil && startup == nil {
		return
	}
	work.Go(func() {
		if startup != nil && !c.rounds(ctx, *startup, func(bool) bool { return c.unhealthy(ctx, id, startup, false) }) {
			return
		}
		if readiness == nil {
			c.set(func() { c.ready = true })
		} else {
			work.Go(func() {
				c.rounds(ctx, *readiness, func(ok bool) bool {
					c.set(func() { c.ready = ok })
					return true
				})
			})
		}
		if liveness != nil {
			c.rounds(ctx, *liveness, func(ok bool) bool { return ok || c.unhealthy(ctx, id, liveness, ok) })
		}
	})
}

// unhealthy ends the container when a probe says it is to be started again. It
// gives false: there is nothing more to ask.
func (c *container) unhealthy(ctx context.Context, id string, p *engine.Probe, ok bool) bool {
	if ok {
		return false
	}
	c.p.r.event(c.p.name, c.spec.Name, engine.ReasonUnhealthy, string(p.Kind)+" probe failed; the container is started again")
	grace := cmp.Or(c.p.spec.Grace, 30*time.Second)
	if err := c.p.r.e.rt.Stop(ctx, id, grace); err != nil && ctx.Err() == nil {
		c.p.r.event(c.p.name, c.spec.Name, engine.ReasonOf(err), err.Error())
	}
	return false
}

// rounds asks again and again and tells verdict when a threshold is reached, until
// verdict says false or ctx ends. It gives whether a startup probe succeeded.
func (c *container) rounds(ctx context.Context, p engine.Probe, verdict func(bool) bool) bool {
	if clock.Sleep(ctx, c.clock(), p.InitialDelay) != nil {
		return false
	}
	good, bad, last := 0, 0, -1
	for {
		if c.ask(ctx, p) == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		if ctx.Err() != nil {
			return false
		}
		if good >= cmp.Or(p.SuccessThreshold, 1) && last != 1 {
			last = 1
			if p.Kind == engine.Startup {
				return true
			}
			if !verdict(true) {
				return false
			}
		}
		if bad >= cmp.Or(p.FailureThreshold, 3) && last != 0 {
			last = 0
			if !verdict(false) {
				return false
			}
		}
		if clock.Sleep(ctx, c.clock(), cmp.Or(p.Period, 10*time.Second)) != nil {
			return false
		}
	}
}

// ask is one try of a probe.
func (c *container) ask(ctx context.Context, p engine.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, time.Second))
	defer cancel()
	c.p.mu.Lock()
	addr := c.p.addrs[p.Port]
	c.p.mu.Unlock()
	if addr == "" {
		return fmt.Errorf("port %d has no address", p.Port)
	}
	if p.HTTP != nil {
		return askHTTP(ctx, addr, *p.HTTP)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func askHTTP(ctx context.Context, addr string, p engine.HTTPProbe) error {
	scheme := "http"
	if p.HTTPS {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+"/"+strings.TrimPrefix(p.Path, "/"), nil)
	if err != nil {
		return err
	}
	req.Host = cmp.Or(p.Host, "localhost")
	req.Header.Set("User-Agent", "latchkey-probe")
	for k, v := range p.Headers {
		req.Header.Set(k, v)
	}
	// The container is where we dial; whose certificate it shows says nothing.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
