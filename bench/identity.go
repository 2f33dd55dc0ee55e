package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// mints is how many tokens are made one after the other in a round.
const mints = 200

// measureIdentity measures the identity endpoint of a running app: tokens that are
// kept, next to a server that does nothing but answer with JSON, and tokens that
// are made, with both kinds of signing keys.
func measureIdentity(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bare, err := startChild(ctx, "json", dir)
	if err != nil {
		return err
	}
	defer bare.stop()
	algorithms := []string{"RS256", "ES256"}
	endpoints := map[string]endpoint{}
	for _, algorithm := range algorithms {
		n, e, err := startEndpoint(ctx, o, dir, algorithm)
		if n != nil {
			defer n.stop()
		}
		if err != nil {
			return err
		}
		endpoints[algorithm] = e
	}
	hello, kept, made := []sample{}, map[string][]sample{}, map[string][]time.Duration{}
	for range o.rounds {
		s, err := wrkWith(ctx, o, bare.addr)
		if err != nil {
			return err
		}
		hello = append(hello, s)
		for _, algorithm := range algorithms {
			e := endpoints[algorithm]
			if s, err = wrkWith(ctx, o, e.url("https://vault.azure.net"), "-H", "X-Identity-Header: "+e.header); err != nil {
				return err
			}
			kept[algorithm] = append(kept[algorithm], s)
			took, err := e.mint(ctx, mints)
			if err != nil {
				return err
			}
			made[algorithm] = append(made[algorithm], took...)
		}
	}
	base := median(hello)
	fmt.Println("\n| server | requests/s | ÷ hello | p99 | errors | token made: p50, p99 |\n|---|---|---|---|---|---|")
	fmt.Printf("| hello in JSON, net/http | %.0f | 1.00 | %v | %d | |\n", base.rate, base.p99, base.errors)
	for _, algorithm := range algorithms {
		m, d := median(kept[algorithm]), made[algorithm]
		fmt.Printf("| identity endpoint, %s | %.0f | %.2f | %v | %d | %.2f, %.2f ms |\n", algorithm, m.rate, m.rate/base.rate, m.p99, m.errors,
			ms(quantile(d, 0.5)), ms(quantile(d, 0.99)))
	}
	return nil
}

// endpoint is an app's identity endpoint.
type endpoint struct {
	address, header string
	asked           int
}

// startEndpoint starts a node with an app that has an identity.
func startEndpoint(ctx context.Context, o options, dir, algorithm string) (*node, endpoint, error) {
	dir, err := makeDir(dir, algorithm)
	if err != nil {
		return nil, endpoint{}, err
	}
	n, err := startNode(ctx, o.binary, dir, []string{"LATCHKEY_TOKENS_ALGORITHM=" + algorithm, "LATCHKEY_WORKERS_ISOLATION=off"})
	if err != nil {
		return nil, endpoint{}, err
	}
	for _, args := range [][]string{{"app", "create", "worker"}, {"identity", "assign", "worker"}} {
		if err := n.latchkey(ctx, o.binary, args...); err != nil {
			return n, endpoint{}, err
		}
	}
	c, err := n.client(ctx)
	if err != nil {
		return n, endpoint{}, err
	}
	if err := n.deployWorkload(ctx, c, "worker"); err != nil {
		return n, endpoint{}, err
	}
	var w workload
	err = await(ctx, time.Minute, func() (err error) {
		if w, err = n.workload(ctx, "worker"); err == nil && w.Endpoint == "" {
			err = fmt.Errorf("the app has no identity endpoint")
		}
		return err
	})
	return n, endpoint{address: w.Endpoint, header: w.Header}, err
}

func (e endpoint) url(resource string) string {
	return e.address + "?api-version=2019-08-01&resource=" + url.QueryEscape(resource)
}

// mint asks for tokens that nobody asked for before, one after the other, and
// gives how long each took.
func (e *endpoint) mint(ctx context.Context, count int) (took []time.Duration, err error) {
	for range count {
		e.asked++
		began := time.Now()
		if err := e.token(ctx, fmt.Sprintf("https://resource-%d-%d.example", began.UnixNano(), e.asked)); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func (e *endpoint) token(ctx context.Context, resource string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url(resource), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Identity-Header", e.header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if _, drained := io.Copy(io.Discard, resp.Body); err == nil {
		err = drained
	}
	if err == nil && answer.Token == "" {
		err = fmt.Errorf("the endpoint answers %s without a token", resp.Status)
	}
	return err
}
