package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/azfkey"
)

// measureLimits compares requests with a key that has a rate, a quota, an expiry,
// methods and networks with requests with one that has nothing, through the front
// of the same process, round after round. The uses of both are counted, as those
// of every key are.
func measureLimits(ctx context.Context, o options) error {
	return withApp(func(dir, plain string) error {
		limited, err := addLimited(dir)
		if err != nil {
			return err
		}
		l, err := startLatchkey(ctx, o.binary, dir, plain, "--log-level", "error")
		if err != nil {
			return err
		}
		defer l.stop()
		return compareKeys(ctx, o, l, plain, limited)
	})
}

// addLimited gives the app a host key with every restriction that a request with
// it passes.
func addLimited(dir string) (key string, err error) {
	if key, err = azfkey.Generate(azfkey.Function); err != nil {
		return "", err
	}
	path := filepath.Join(dir, ".latchkey", "secrets", "host.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	const end = `}],"systemKeys":[]}`
	more := fmt.Sprintf(`},{"name":"limited","value":%q,"encrypted":false,"latchkey":{"v":1,"expires":"2099-01-01T00:00:00Z",`+
		`"methods":["GET"],"cidrs":["127.0.0.0/8","::1/128"],"rate":{"n":1000000,"per":"1s"},"quota":{"n":1000000000,"per":"month"}}`, key)
	if len(text) < len(end) {
		return "", fmt.Errorf("the keys of the app are %d bytes", len(text))
	}
	return key, os.WriteFile(path, append(text[:len(text)-len(end)], more+end...), 0o600)
}

// keyRound is what one round with one key came to.
type keyRound struct {
	sample
	cpu float64 // µs of the process per request
}

func compareKeys(ctx context.Context, o options, l *latchkey, plain, limited string) error {
	keys := []struct{ name, key string }{{"plain", plain}, {"with rate, quota, expiry, methods, networks", limited}}
	results := map[string][]keyRound{}
	for range max(o.rounds, 5) {
		slices.Reverse(keys) // whoever is first has no advantage
		for _, k := range keys {
			before := ticks(l.cmd.Process.Pid)
			s, err := wrk(ctx, o, l.url, k.key)
			if err != nil {
				return err
			}
			used := float64(ticks(l.cmd.Process.Pid)-before) * 10_000 // µs, a tick is 10 ms
			results[k.key] = append(results[k.key], keyRound{s, used / (s.rate * float64(o.seconds))})
		}
	}
	fmt.Println("\n| key | requests/s | p99 | µs of processor time per request | non-2xx and socket errors |\n|---|---|---|---|---|")
	for _, k := range keys {
		m, cpu := medianRound(results[k.key])
		fmt.Printf("| %s | %.0f | %v | %.1f | %d |\n", k.name, m.rate, m.p99, cpu, m.errors)
	}
	fmt.Printf("\nThe limits cost %.1f %% of throughput and %.1f %% of processor time, medians of the ratios of %d rounds.\n",
		100*(1-middleRatio(results, limited, plain, func(r keyRound) float64 { return r.rate })),
		100*(middleRatio(results, limited, plain, func(r keyRound) float64 { return r.cpu })-1), len(results[plain]))
	return nil
}

func medianRound(list []keyRound) (sample, float64) {
	var samples []sample
	var cpu []float64
	for _, r := range list {
		samples, cpu = append(samples, r.sample), append(cpu, r.cpu)
	}
	slices.Sort(cpu)
	return median(samples), cpu[len(cpu)/2]
}

// middleRatio gives the median over rounds of one key's figure by another's.
func middleRatio(results map[string][]keyRound, of, by string, figure func(keyRound) float64) float64 {
	var ratios []float64
	for i, r := range results[of] {
		ratios = append(ratios, figure(r)/figure(results[by][i]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// ticks gives the processor time of a process, without its children.
func ticks(pid int) (sum int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(text), ") ")
	for i, f := range strings.Fields(after) {
		if i == 11 || i == 12 { // utime, stime
			n, _ := strconv.ParseInt(f, 10, 64)
			sum += n
		}
	}
	return sum
}
