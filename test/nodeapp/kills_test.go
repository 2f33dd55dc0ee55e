package nodeapp

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// killsSetting says how many processes are killed under load, one a second.
const killsSetting = "LATCHKEY_TEST_WORKER_KILLS"

const pidCode = `
const { app } = require('@azure/functions');
app.http('pid', { authLevel: 'anonymous', handler: async () => ({ body: String(process.pid) }) });
`

// forgiving is the system's clock, on which a test lets enough time go by for a
// crash to be forgotten: then the next restart is at once.
type forgiving struct {
	clock.Real
	ahead atomic.Int64
}

func (f *forgiving) Now() time.Time { return f.Real.Now().Add(time.Duration(f.ahead.Load())) }

func (f *forgiving) forget() { f.ahead.Add(int64(31 * time.Minute)) }

// exceptional leaves requests that succeeded out of a log.
type exceptional struct{ log *testkit.Log }

func (e exceptional) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(" GET /api/pid 200 ")) {
		return len(line), nil
	}
	return e.log.Write(line)
}

// callers ask an app for its process without a pause until they are stopped.
type callers struct {
	p       *platformtest.Platform
	app     string
	client  *http.Client
	stop    context.CancelFunc
	all     sync.WaitGroup
	mu      sync.Mutex
	answers map[int]int // by status
	slowest time.Duration
	broken  error
}

const callersEach = 4

func call(t *testing.T, p *platformtest.Platform, app string) *callers {
	ctx, stop := context.WithCancel(t.Context())
	c := &callers{p: p, app: app, stop: stop, answers: map[int]int{}, client: &http.Client{
		Timeout: platformtest.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * callersEach},
	}}
	t.Cleanup(c.client.CloseIdleConnections)
	for range callersEach {
		c.all.Go(func() {
			for ctx.Err() == nil {
				c.one()
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *callers) end() {
	c.stop()
	c.all.Wait()
}

// one asks once, not to be stopped, and keeps what came of it.
func (c *callers) one() (pid int) {
	began := time.Now()
	status, body, err := c.ask()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[status]++
	c.slowest = max(c.slowest, time.Since(began))
	c.broken = cmp.Or(c.broken, err)
	if status == http.StatusOK {
		pid, _ = strconv.Atoi(body)
	}
	return pid
}

func (c *callers) ask() (status int, body string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+c.p.Node.FunctionsAddr()+"/api/pid", nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = c.app + ".localhost"
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// other waits for an answer of another process than a given one.
func (c *callers) other(t *testing.T, than int) (pid int) {
	t.Helper()
	platformtest.Until(t, "another process answers", func() bool {
		pid = c.one()
		return pid != 0 && pid != than
	})
	return pid
}

// TestAnAppsProcessKilledAgainAndAgain kills the only process of an app under
// load. Every request has an answer, those of another app on the node succeed.
func TestAnAppsProcessKilledAgainAndAgain(t *testing.T) {
	kills, pause := 3, time.Duration(0)
	if n, err := strconv.Atoi(os.Getenv(killsSetting)); err == nil {
		kills, pause = n, time.Second
	}
	c, log := &forgiving{}, &testkit.Log{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the node:\n%s", log)
		}
	})
	p := platformtest.Start(t, platform.Config{Clock: c, Log: exceptional{log}})
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	pkg := packed(t, map[string]string{"host.json": `{"version":"2.0"}`, "package.json": `{"main":"index.js"}`, "index.js": pidCode}, "@azure/functions")
	apps := map[string]*callers{}
	for _, name := range []string{"victim", "neighbour"} {
		p.Do(t, http.MethodPut, p.Site(name), map[string]any{
			"location": "local", "kind": "functionapp,linux",
			"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "node"}}}},
		}, nil)
		p.Deploy(t, name, pkg)
		waiting := &callers{p: p, app: name, client: http.DefaultClient, answers: map[int]int{}}
		waiting.other(t, 0)
		apps[name] = call(t, p, name)
	}
	victim, neighbour := apps["victim"], apps["neighbour"]
	var recoveries []time.Duration
	for range kills {
		time.Sleep(pause) // in the long run only: it sets the rate of crashes
		pid := victim.other(t, 0)
		c.forget()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		victim.other(t, pid)
		recoveries = append(recoveries, time.Since(began))
	}
	victim.end()
	neighbour.end()
	slices.Sort(recoveries)
	t.Logf("%d kills; back after: median %s, most %s; the app's answers: %v, slowest %s; the other app's: %v, slowest %s",
		kills, recoveries[len(recoveries)/2], recoveries[len(recoveries)-1], victim.answers, victim.slowest, neighbour.answers, neighbour.slowest)
	for _, c := range apps {
		if c.broken != nil {
			t.Errorf("%s: a request had no answer: %v", c.app, c.broken)
		}
		for status := range c.answers {
			if status != http.StatusOK && (c == neighbour || status < http.StatusInternalServerError) {
				t.Errorf("%s: %d requests got %d", c.app, c.answers[status], status)
			}
		}
	}
	if last := recoveries[len(recoveries)-1]; last > platformtest.Patience/2 {
		t.Errorf("the app was back after %s", last)
	}
}
