package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/bench/seed"
	"github.com/latchkey/latchkey/internal/armclient"
)

// scaleSizes are the numbers of apps that growth is shown by.
var scaleSizes = []int{100, 500, 1000, 2000}

// scaleRow is what was measured at one number of apps.
type scaleRow struct {
	apps   int
	start  time.Duration // of the process, until it is ready and has answered a call
	ready  time.Duration
	memory memory
	state  int64 // bytes of the state file
	calls  map[string][]time.Duration
}

// measureScale fills a state step by step and measures a node on it each time:
// start, memory, and calls over TLS on connections that stay.
func measureScale(ctx context.Context, o options) error {
	dir, keep := o.dir, o.dir != ""
	if !keep {
		var err error
		if dir, err = os.MkdirTemp("", "latchkey-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if err := install(ctx, o, dir); err != nil {
		return err
	}
	var rows []scaleRow
	for _, apps := range scaleSizes {
		if err := seed.Upto(ctx, dir, apps); err != nil {
			return err
		}
		row, err := scaleAt(ctx, o, dir, apps)
		if err != nil {
			return fmt.Errorf("%d apps: %w", apps, err)
		}
		rows = append(rows, row)
	}
	printScale(rows)
	printGrowth(rows)
	return nil
}

// install lets a node set up its data folder.
func install(ctx context.Context, o options, dir string) error {
	n, err := startNode(ctx, o.binary, dir, nil)
	if err == nil {
		n.stop()
	}
	return err
}

func scaleAt(ctx context.Context, o options, dir string, apps int) (scaleRow, error) {
	row := scaleRow{apps: apps, calls: map[string][]time.Duration{}}
	if info, err := os.Stat(dir + "/state.db"); err == nil {
		row.state = info.Size()
	}
	var starts, readies []time.Duration
	for range max(o.rounds, 3) {
		n, took, err := startAnswered(ctx, o, dir)
		if err != nil {
			return row, err
		}
		starts, readies = append(starts, took), append(readies, n.ready)
		n.stop()
	}
	row.start, row.ready = middle(starts), middle(readies)
	n, _, err := startAnswered(ctx, o, dir)
	if err != nil {
		return row, err
	}
	defer n.stop()
	c, err := n.client(ctx)
	if err != nil {
		return row, err
	}
	if err := listEverything(ctx, c, apps); err != nil {
		return row, err
	}
	if row.memory, err = memoryOf(n.pid()); err != nil {
		return row, err
	}
	return row, timeCalls(ctx, o, c, &row)
}

// startAnswered starts a node and gives the time from the start of the process to
// the first answer of the management API, the client's sign-in included.
func startAnswered(ctx context.Context, o options, dir string) (*node, time.Duration, error) {
	n, err := startNode(ctx, o.binary, dir, nil)
	if err != nil {
		return nil, 0, err
	}
	c, err := n.client(ctx)
	if err == nil {
		err = c.Do(ctx, http.MethodGet, sitePath(c, 0), nil, nil)
	}
	took := time.Since(n.started)
	if err != nil {
		n.stop()
		return nil, 0, err
	}
	return n, took, nil
}

func subscription(c *armclient.Client) string {
	return "/subscriptions/" + c.Credential().SubscriptionID
}

func sitePath(c *armclient.Client, i int) string {
	return subscription(c) + "/resourceGroups/" + seed.GroupName(i) + "/providers/Microsoft.Web/sites/" + seed.AppName(i)
}

// listEverything asks for everything there is once, secrets too, and sees that it
// is there.
func listEverything(ctx context.Context, c *armclient.Client, apps int) error {
	for path, want := range map[string]int{
		subscription(c) + "/providers/Microsoft.Web/sites": apps,
		subscription(c) + "/resources":                     apps + (apps+seed.PerGroup-1)/seed.PerGroup,
	} {
		list, err := armclient.List[struct{}](ctx, c, path)
		if err != nil {
			return err
		}
		if len(list) != want {
			return fmt.Errorf("%s has %d, want %d", path, len(list), want)
		}
	}
	for i := range apps {
		functions, err := armclient.List[struct{}](ctx, c, sitePath(c, i)+"/functions")
		if err != nil {
			return err
		}
		keys := map[string]string{}
		if err := c.Do(ctx, http.MethodPost, sitePath(c, i)+"/functions/"+seed.FunctionName(i%seed.Functions)+"/listkeys", nil, &keys); err != nil {
			return err
		}
		if len(functions) != seed.Functions || len(keys) != seed.KeysPerFunction {
			return fmt.Errorf("%s has %d functions, one has %d keys", seed.AppName(i), len(functions), len(keys))
		}
		if err := c.Do(ctx, http.MethodPost, sitePath(c, i)+"/host/default/listkeys", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// scaleCall is an operation that is timed.
type scaleCall struct {
	name  string
	times int // a round
	bar   time.Duration
	make  func(c *armclient.Client, app int) (method, path, body string)
}

func scaleCalls() []scaleCall {
	get := func(below string) func(*armclient.Client, int) (string, string, string) {
		return func(c *armclient.Client, app int) (string, string, string) {
			return http.MethodGet, sitePath(c, app) + below, ""
		}
	}
	const page, one = 50 * time.Millisecond, 2 * time.Millisecond
	return []scaleCall{
		{"get an app", 200, one, get("")},
		{"functions of an app", 100, page, get("/functions")},
		{"keys of an app's host", 100, page, func(c *armclient.Client, app int) (string, string, string) {
			return http.MethodPost, sitePath(c, app) + "/host/default/listkeys", ""
		}},
		{"page of apps", 10, page, func(c *armclient.Client, _ int) (string, string, string) {
			return http.MethodGet, subscription(c) + "/providers/Microsoft.Web/sites", ""
		}},
		{"page of resources, by type", 10, page, func(c *armclient.Client, _ int) (string, string, string) {
			return http.MethodGet, subscription(c) + "/resources?%24filter=resourceType%20eq%20%27Microsoft.Web%2Fsites%27", ""
		}},
		{"resource by name", 10, page, func(c *armclient.Client, app int) (string, string, string) {
			return http.MethodGet, subscription(c) + "/resources?%24filter=name%20eq%20%27" + seed.AppName(app) + "%27", ""
		}},
		{"Resource Graph by name", 10, page, func(c *armclient.Client, app int) (string, string, string) {
			return http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
				`{"subscriptions":["` + c.Credential().SubscriptionID + `"],"query":"resources | where type =~ 'microsoft.web/sites' | where name =~ '` + seed.AppName(app) + `' | project id, name"}`
		}},
	}
}

// timeCalls makes the calls in turn, round after round, of apps at random.
func timeCalls(ctx context.Context, o options, c *armclient.Client, row *scaleRow) error {
	for range o.rounds {
		for _, call := range scaleCalls() {
			for range call.times {
				method, path, body := call.make(c, rand.IntN(row.apps))
				r := armclient.Request{Method: method, Path: path, Out: io.Discard}
				if body != "" {
					r.Body, r.ContentType, r.Size = bytes.NewReader([]byte(body)), "application/json", int64(len(body))
				}
				began := time.Now()
				if _, err := c.Send(ctx, r); err != nil {
					return fmt.Errorf("%s: %w", call.name, err)
				}
				row.calls[call.name] = append(row.calls[call.name], time.Since(began))
			}
		}
	}
	return nil
}

// quantile gives the value that a share of the others do not exceed. It sorts.
func quantile(d []time.Duration, share float64) time.Duration {
	slices.Sort(d)
	return d[min(int(share*float64(len(d))), len(d)-1)]
}

func printScale(rows []scaleRow) {
	fmt.Println("\n| apps | functions | keys | state | start: ready, first answer | memory: total, anonymous, file |\n|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Printf("| %d | %d | %d | %d MiB | %d ms, %d ms | %d, %d, %d MiB |\n", r.apps, r.apps*seed.Functions, r.apps*seed.Functions*seed.KeysPerFunction, r.state>>20,
			r.ready.Milliseconds(), r.start.Milliseconds(), r.memory.total()>>10, r.memory.anonymous>>10, r.memory.file>>10)
	}
	fmt.Print("\n| p50, p99 in ms |")
	for _, r := range rows {
		fmt.Printf(" %d apps |", r.apps)
	}
	fmt.Print(" bar |\n|---|")
	for range rows {
		fmt.Print("---|")
	}
	fmt.Println("---|")
	for _, call := range scaleCalls() {
		fmt.Printf("| %s |", call.name)
		for _, r := range rows {
			fmt.Printf(" %.1f, %.1f |", ms(quantile(r.calls[call.name], 0.5)), ms(quantile(r.calls[call.name], 0.99)))
		}
		fmt.Printf(" %.0f |\n", ms(call.bar))
	}
}

// printGrowth draws how figures grow with the number of apps, each as its part of
// the bar: as wide as the bar is what may be needed.
func printGrowth(rows []scaleRow) {
	fmt.Println("\nGrowth; the width is the bar:\n\n```")
	for _, g := range []struct {
		name string
		bar  float64
		of   func(scaleRow) float64
	}{
		{"start, 2 s", 2000, func(r scaleRow) float64 { return ms(r.start) }},
		{"memory, 400 MiB", 400, func(r scaleRow) float64 { return float64(r.memory.total()) / 1024 }},
		{"get an app, p50, 2 ms", 2, func(r scaleRow) float64 { return ms(quantile(r.calls["get an app"], 0.5)) }},
		{"page of apps, p50, 50 ms", 50, func(r scaleRow) float64 { return ms(quantile(r.calls["page of apps"], 0.5)) }},
		{"Resource Graph by name, p50, 50 ms", 50, func(r scaleRow) float64 { return ms(quantile(r.calls["Resource Graph by name"], 0.5)) }},
	} {
		fmt.Println(g.name)
		for _, r := range rows {
			part := g.of(r) / g.bar
			fmt.Printf("%6d |%-40s| %.0f %%\n", r.apps, strings.Repeat("#", min(40, int(40*part+0.5))), 100*part)
		}
	}
	fmt.Println("```")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
