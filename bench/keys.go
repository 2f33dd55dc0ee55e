package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var benchLine = regexp.MustCompile(`(?m)^Benchmark((?:Authorize|Managed)\S*?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?(\d+) allocs/op`)

// measureKeys runs the keyring's own benchmarks, interleaved by count, and prints
// the median of each.
func measureKeys(ctx context.Context, o options) error {
	args := []string{"test", "./internal/keyring", "-run", "^$", "-bench", "Authorize|Managed", "-benchmem",
		"-benchtime", "100ms", "-cpu", "1", "-count", strconv.Itoa(max(o.rounds, 5))}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	times, allocs, order := map[string][]float64{}, map[string]string{}, []string{}
	for _, m := range benchLine.FindAllStringSubmatch(string(out), -1) {
		if times[m[1]] == nil {
			order = append(order, m[1])
		}
		ns, _ := strconv.ParseFloat(m[2], 64)
		times[m[1]] = append(times[m[1]], ns)
		allocs[m[1]] = m[3]
	}
	fmt.Println("\n| key check | ns, median | allocations |\n|---|---|---|")
	for _, name := range order {
		slices.Sort(times[name])
		fmt.Printf("| %s | %.0f | %s |\n", strings.TrimPrefix(strings.TrimPrefix(name, "Authorize/"), "Managed/"), times[name][len(times[name])/2], allocs[name])
	}
	return nil
}
