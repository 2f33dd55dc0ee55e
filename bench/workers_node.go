package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/azfkey"
)

// installFunctions installs the library of the example's version.
func installFunctions(ctx context.Context, dir string) (modules string, err error) {
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("examples", "hello-node", name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--silent", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", err, out)
	}
	return filepath.Join(dir, "node_modules"), nil
}

// nodeApp is an app in Node.js and how to run it.
type nodeApp struct {
	name, dir, key string
	processes      int
	env            []string
}

const (
	nodeHello = `const { app } = require('@azure/functions');
%sapp.http('hello', { methods: ['GET'], authLevel: 'function', handler: async () => ({ body: 'Hello, world' }) });
`
	bareNode = `require('http').createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain');
  response.end('Hello, world');
}).listen(Number(process.env.PORT), '127.0.0.1');
`
)

func nodeApps(o options, dir, modules string) ([]nodeApp, error) {
	list := []nodeApp{
		{name: "Latchkey, own worker, key checked", processes: 1},
		{name: "the same, 2 processes", processes: 2},
		{name: "the same, requests streamed to HttpUri", processes: 1},
	}
	if o.workers != "" {
		list = append(list, nodeApp{name: "worker of " + o.workers, processes: 1, env: []string{"languageWorkers__workersDirectory=" + o.workers}})
	}
	for n := range list {
		a := &list[n]
		a.dir = filepath.Join(dir, "app"+strconv.Itoa(n))
		a.env = append(a.env, "FUNCTIONS_WORKER_RUNTIME=node", "FUNCTIONS_WORKER_PROCESS_COUNT="+strconv.Itoa(a.processes))
		setup := ""
		if n == 2 {
			setup = "app.setup({ enableHttpStream: true });\n"
		}
		var err error
		if a.key, err = a.write(modules, fmt.Sprintf(nodeHello, setup)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// write writes the app with a key of our own making.
func (a *nodeApp) write(modules, code string) (key string, err error) {
	if key, err = azfkey.Generate(azfkey.Function); err != nil {
		return "", err
	}
	master, err := azfkey.Generate(azfkey.Master)
	if err != nil {
		return "", err
	}
	files := map[string]string{
		"host.json":    `{"version":"2.0"}`,
		"package.json": `{"name":"app","main":"index.js"}`,
		"index.js":     code,
		"bare.js":      bareNode,
		".latchkey/secrets/host.json": fmt.Sprintf(`{"masterKey":{"name":"master","value":%q,"encrypted":false},`+
			`"functionKeys":[{"name":"default","value":%q,"encrypted":false}],"systemKeys":[]}`, master, key),
	}
	for name, text := range files {
		path := filepath.Join(a.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return key, os.Symlink(modules, filepath.Join(a.dir, "node_modules"))
}

func (a *nodeApp) start(ctx context.Context, o options) (*latchkey, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := spawn(ctx, a.name, "127.0.0.1:"+strconv.Itoa(port), path, a.env, o.binary, "start", a.dir,
		"--port", strconv.Itoa(port), "--metrics-address", "", "--no-watch", "--log-level", "warn")
	if err != nil {
		return nil, err
	}
	l := &latchkey{peer: p, key: a.key}
	if err := l.awaitServed(ctx); err != nil {
		l.stop()
		return nil, err
	}
	return l, awaitChildren(ctx, p.cmd.Process.Pid, a.processes)
}

// awaitChildren waits until a process has so many, and a moment for the last one to
// load its app.
func awaitChildren(ctx context.Context, pid, want int) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if len(childrenOf(pid)) >= want {
			if want > 1 {
				time.Sleep(2 * time.Second)
			}
			return nil
		}
	}
	return errors.New("the worker processes never came")
}

// childrenOf gives the processes whose parent is pid.
func childrenOf(pid int) (children []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, p := range paths {
		stat, _ := os.ReadFile(p)
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			children = append(children, child)
		}
	}
	return children
}

// measureNodeStart measures the time from the start of the program to its first
// answer, and what it has in memory when idle then.
func measureNodeStart(ctx context.Context, o options, a nodeApp) error {
	var starts, host, worker []float64
	for range o.rounds {
		begun := time.Now()
		l, err := a.start(ctx, o)
		if err != nil {
			return err
		}
		starts = append(starts, float64(time.Since(begun).Milliseconds()))
		time.Sleep(time.Second)
		pid := l.cmd.Process.Pid
		if m, err := memoryOf(pid); err == nil {
			host = append(host, float64(m.total())/1024)
		}
		for _, child := range childrenOf(pid) {
			if m, err := memoryOf(child); err == nil {
				worker = append(worker, float64(m.total())/1024)
			}
		}
		l.stop()
	}
	fmt.Printf("\nNode.js app: start to first answer %.0f ms (median of %d, each: %v); idle: host %.1f MiB, worker process %.1f MiB.\n",
		median64(starts), len(starts), starts, median64(host), median64(worker))
	return nil
}

// measureNodeLoad loads each of the apps, and Node.js by itself, in turn. Each is
// up while it is measured, and not otherwise: idle processes of the language take
// time too.
func measureNodeLoad(ctx context.Context, o options, apps []nodeApp) error {
	const bare = "bare Node.js http"
	results, costs, order := map[string][]sample{}, map[string][]cost{}, []string{bare}
	for _, a := range apps {
		order = append(order, a.name)
	}
	for range o.rounds {
		s, c, err := loadBareNode(ctx, o, apps[0].dir)
		if err != nil {
			return err
		}
		results[bare], costs[bare] = append(results[bare], s), append(costs[bare], c)
		for _, a := range apps {
			s, c, err := loadNodeApp(ctx, o, a)
			if err != nil {
				return err
			}
			results[a.name], costs[a.name] = append(results[a.name], s), append(costs[a.name], c)
		}
	}
	base := median(results[bare])
	fmt.Println("\n| hello in Node.js | requests/s | ÷ bare | p99 | µs of processor per request: host, Node.js | non-2xx and socket errors |\n|---|---|---|---|---|---|")
	for _, name := range order {
		m := median(results[name])
		fmt.Printf("| %s | %.0f | %.2f | %v | %.0f, %.0f | %d |\n", name, m.rate, m.rate/base.rate, m.p99.Round(10*time.Microsecond),
			medianCost(costs[name], func(c cost) float64 { return c.host }), medianCost(costs[name], func(c cost) float64 { return c.node }), m.errors)
	}
	return nil
}

// warmUp is how long a server is loaded before it is measured: Node.js compiles
// what is used often.
const warmUp = 2

// cost is the processor time of a request, in µs.
type cost struct{ host, node float64 }

func medianCost(list []cost, figure func(cost) float64) float64 {
	values := make([]float64, len(list))
	for n, c := range list {
		values[n] = figure(c)
	}
	return median64(values)
}

// ticksOf gives the processor time of processes so far, in hundredths of a second.
func ticksOf(pids ...int) (sum float64) {
	for _, pid := range pids {
		sum += float64(ticks(pid))
	}
	return sum
}

func loadBareNode(ctx context.Context, o options, dir string) (sample, cost, error) {
	port, err := freePort()
	if err != nil {
		return sample{}, cost{}, err
	}
	p, err := spawn(ctx, "node", "127.0.0.1:"+strconv.Itoa(port), path, []string{"PORT=" + strconv.Itoa(port)}, "node", filepath.Join(dir, "bare.js"))
	if err != nil {
		return sample{}, cost{}, err
	}
	defer p.stop()
	return warmWrk(ctx, o, p.url, "", nil, []int{p.cmd.Process.Pid})
}

func loadNodeApp(ctx context.Context, o options, a nodeApp) (sample, cost, error) {
	l, err := a.start(ctx, o)
	if err != nil {
		return sample{}, cost{}, fmt.Errorf("%s: %w", a.name, err)
	}
	defer l.stop()
	pid := l.cmd.Process.Pid
	return warmWrk(ctx, o, l.url, a.key, []int{pid}, childrenOf(pid))
}

func warmWrk(ctx context.Context, o options, url, key string, host, node []int) (s sample, c cost, err error) {
	warm := o
	warm.seconds = warmUp
	if _, err := wrk(ctx, warm, url, key); err != nil {
		return s, c, err
	}
	c = cost{-ticksOf(host...), -ticksOf(node...)}
	if s, err = wrk(ctx, o, url, key); err != nil {
		return s, c, err
	}
	requests := s.rate * float64(o.seconds)
	const tick = 1e4 // µs
	return s, cost{(c.host + ticksOf(host...)) * tick / requests, (c.node + ticksOf(node...)) * tick / requests}, nil
}
