package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one wrk run.
type sample struct {
	rate   float64 // requests per second
	p99    time.Duration
	errors int
}

var (
	rateLine  = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99Line   = regexp.MustCompile(`\s99%\s+([\d.]+)(us|ms|s)`)
	errorLine = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	sockLine  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

func wrk(ctx context.Context, o options, url, key string) (sample, error) {
	if key == "" {
		return wrkWith(ctx, o, url)
	}
	return wrkWith(ctx, o, url, "-H", "x-functions-key: "+key)
}

// wrkWith runs wrk with further arguments.
func wrkWith(ctx context.Context, o options, url string, more ...string) (sample, error) {
	args := []string{"-t1", "-c" + strconv.Itoa(o.conns), "-d" + strconv.Itoa(o.seconds) + "s", "--latency"}
	args = append(args, more...)
	out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return parseWrk(string(out))
}

func parseWrk(out string) (s sample, err error) {
	m := rateLine.FindStringSubmatch(out)
	p := p99Line.FindStringSubmatch(out)
	if m == nil || p == nil {
		return s, fmt.Errorf("wrk said %q", out)
	}
	s.rate, _ = strconv.ParseFloat(m[1], 64)
	s.p99, err = time.ParseDuration(strings.Replace(p[1]+p[2], "us", "µs", 1))
	if e := errorLine.FindStringSubmatch(out); e != nil {
		s.errors, _ = strconv.Atoi(e[1])
	}
	if e := sockLine.FindStringSubmatch(out); e != nil {
		for _, n := range e[1:] {
			count, _ := strconv.Atoi(n)
			s.errors += count
		}
	}
	return s, err
}

// measureLoad compares requests per second and latency, all servers up at once,
// one measured at a time, round after round.
func measureLoad(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peers, key, err := startAll(ctx, o, dir)
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	if err != nil {
		return err
	}
	results := map[string][]sample{}
	for range o.rounds {
		for _, p := range peers {
			s, err := wrk(ctx, o, p.url, key)
			if err != nil {
				return err
			}
			results[p.name] = append(results[p.name], s)
		}
	}
	printLoad(peers, results)
	return nil
}

func startAll(ctx context.Context, o options, dir string) (peers []*peer, key string, err error) {
	direct, upstream, err := startHandler(ctx)
	if err != nil {
		return peers, "", err
	}
	peers = append(peers, direct)
	for _, start := range []func() (*peer, error){
		func() (*peer, error) { return startNginx(ctx, "nginx, 1 worker", dir, upstream, "off", 1) },
		func() (*peer, error) { return startNginx(ctx, "nginx, 2 workers", dir, upstream, "off", 2) },
		func() (*peer, error) { return startReverseProxy(ctx, upstream) },
	} {
		p, err := start()
		if err != nil {
			return peers, "", err
		}
		peers = append(peers, p)
	}
	app := dir + "/app"
	if key, err = newApp(app); err != nil {
		return peers, "", err
	}
	l, err := startLatchkey(ctx, o.binary, app, key, "--log-level", "warn")
	if err != nil {
		return peers, "", err
	}
	l.name = "Latchkey, key checked"
	peers = append(peers, l.peer)
	logged, err := startLatchkey(ctx, o.binary, app, key, "--log-format", "json")
	if err != nil {
		return peers, "", err
	}
	logged.name = "Latchkey, each request logged too"
	return append(peers, logged.peer), key, nil
}

func printLoad(peers []*peer, results map[string][]sample) {
	base := median(results["nginx, 1 worker"])
	fmt.Println("\n| server | requests/s | ÷ nginx | p99 | p99 ÷ nginx | non-2xx and socket errors |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, p := range peers {
		m := median(results[p.name])
		fmt.Printf("| %s | %.0f | %.2f | %v | %.2f | %d |\n", p.name, m.rate, m.rate/base.rate,
			m.p99.Round(10*time.Microsecond), float64(m.p99)/float64(base.p99), m.errors)
	}
}

// median takes the median of each figure by itself, and the sum of errors.
func median(list []sample) (m sample) {
	if len(list) == 0 {
		return m
	}
	rates := make([]float64, len(list))
	p99s := make([]time.Duration, len(list))
	for i, s := range list {
		rates[i], p99s[i] = s.rate, s.p99
		m.errors += s.errors
	}
	slices.Sort(rates)
	slices.Sort(p99s)
	m.rate, m.p99 = rates[len(rates)/2], p99s[len(p99s)/2]
	return m
}
