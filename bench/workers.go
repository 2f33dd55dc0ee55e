package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// measureWorkers measures language workers: what the host costs, and apps in
// Node.js against Node.js by itself.
func measureWorkers(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("\nLoad average at the start: %s\n", strings.Join(strings.Fields(string(load))[:3], ", "))
	if err := measureCeiling(ctx, o, dir); err != nil {
		return err
	}
	modules, err := installFunctions(ctx, dir)
	if err != nil {
		return err
	}
	apps, err := nodeApps(o, dir, modules)
	if err != nil {
		return err
	}
	if err := measureNodeStart(ctx, o, apps[0]); err != nil {
		return err
	}
	return measureNodeLoad(ctx, o, apps)
}

var workerLine = regexp.MustCompile(`(?m)^Benchmark(Ceiling|Dispatch)/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)

// measureCeiling runs the benchmarks of internal/worker/rpc, each once a round.
func measureCeiling(ctx context.Context, o options, dir string) error {
	program := filepath.Join(dir, "rpc.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./internal/worker/rpc").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	times, order := map[string][]float64{}, []string{}
	for range o.rounds {
		out, err := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", "Ceiling|Dispatch", "-test.benchtime", "1s").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, m := range workerLine.FindAllStringSubmatch(string(out), -1) {
			name := m[1] + ": " + strings.ReplaceAll(m[2], "_", " ")
			if times[name] == nil {
				order = append(order, name)
			}
			ns, _ := strconv.ParseFloat(m[3], 64)
			times[name] = append(times[name], ns)
		}
	}
	base := median64(times["Ceiling: bare gRPC echo"])
	fmt.Println("\n| messages, 64 at once | µs each, median | invocations/s | ÷ bare gRPC echo |\n|---|---|---|---|")
	for _, name := range order {
		ns := median64(times[name])
		fmt.Printf("| %s | %.1f | %.0f | %.2f |\n", name, ns/1e3, 1e9/ns, base/ns)
	}
	return nil
}

func median64(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
