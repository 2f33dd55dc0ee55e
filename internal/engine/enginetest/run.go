package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
)

// Backend is one machine with an engine to be tested; each test gets its own
// installation on it.
type Backend struct {
	Open     func(t *testing.T, cfg engine.Config) engine.Engine
	Image    string // runs Main
	Missing  string // an image that nobody has
	Kill     func(t *testing.T, o engine.Object)
	Survives bool     // containers outlive Latchkey
	Program  []string // how the program is called inside a container, for Exec
	// Swaps says that containers do not get the header that Identity gave: they have
	// one of their own, and the backend puts the former in its place on the way.
	Swaps bool
	// Except names tests that are not for this backend, with the reason.
	Except map[string]string
}

// bench is one test's engine.
type bench struct {
	t        *testing.T
	b        Backend
	cfg      engine.Config
	identity *Provider
	engine.Engine
}

const patience = 60 * time.Second

// Run holds a backend to the contract.
func Run(t *testing.T, b Backend) {
	for name, test := range map[string]func(*bench){
		"a replica serves with its environment, secrets and identity":        serves,
		"secrets are mounted as files":                                       mounts,
		"init containers run in order, each to success, before the main one": initOrder,
		"a container that ends is started again with another secret":         restarts,
		"a container that is killed is repaired":                             repairs,
		"replicas are added and taken away":                                  scales,
		"an update replaces replicas when the new ones are ready":            updates,
		"readiness and liveness are asked":                                   probes,
		"output can be read and commands run":                                logsAndExec,
		"nothing is left of what was removed":                                removes,
		"what runs is found after a restart":                                 resumes,
		"what nobody wants is swept":                                         sweeps,
		"installations do not see each other":                                strangers,
		"an image that is not there says so and is tried again":              missingImage,
		"a port that is used says so":                                        portTaken,
		"what containers use is told":                                        measures,
	} {
		t.Run(name, func(t *testing.T) {
			if why := b.Except[name]; why != "" {
				t.Skip(why)
			}
			test(newBench(t, b))
		})
	}
}

func newBench(t *testing.T, b Backend) *bench {
	x := &bench{t: t, b: b, identity: &Provider{}}
	x.cfg = engine.Config{Installation: fmt.Sprintf("t%d", time.Now().UnixNano()), Identity: x.identity, Clock: clock.Real{}, Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	x.open()
	t.Cleanup(x.cleanUp)
	return x
}

// testWriter hands lines to a test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

func (x *bench) open() { x.Engine = x.b.Open(x.t, x.cfg) }

func (x *bench) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = x.Close()
	x.open()
	if _, err := x.Sweep(ctx, nil); err != nil {
		x.t.Errorf("sweep at the end: %v", err)
	}
	if left, err := x.List(ctx); err != nil || len(left) > 0 {
		x.t.Errorf("left at the end: %v %v", left, err)
	}
	_ = x.Close()
}

// spec is a revision whose main container runs the program with args.
func (x *bench) spec(args ...string) engine.Spec {
	return engine.Spec{Ref: engine.Ref{App: "/subscriptions/s/apps/One", Revision: "one--a"}, Replicas: 1, Grace: 2 * time.Second,
		Main: []engine.Container{x.container("main", args...)}, Ports: []engine.Port{{Number: Port}}}
}

func (x *bench) container(name string, args ...string) engine.Container {
	return engine.Container{Name: name, Image: x.b.Image, Args: args, CPU: 0.25, Memory: 64 << 20}
}

func (x *bench) place(s engine.Spec) {
	x.t.Helper()
	if err := x.Place(x.t.Context(), s); err != nil {
		x.t.Fatal(err)
	}
}

// await waits until the revision is as done says.
func (x *bench) await(ref engine.Ref, what string, done func(engine.Status) bool) engine.Status {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	s, err := engine.Await(ctx, clock.Real{}, x.Engine, ref, done)
	if err != nil {
		x.t.Fatalf("not seen: %s: %v\n%+v", what, err, s)
	}
	return s
}

// ready waits for exactly n replicas, all ready and of the newest spec.
func (x *bench) ready(ref engine.Ref, n int) engine.Status {
	x.t.Helper()
	return x.await(ref, fmt.Sprintf("%d ready replicas", n), func(s engine.Status) bool { return s.Ready == n && len(s.Replicas) == n })
}

// get asks the first replica, until it answers.
func (x *bench) get(s engine.Status, path string) string {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	for {
		body, err := fetch(ctx, s.Replicas[0].Addresses[Port], path)
		if err == nil {
			return body
		}
		if clock.Sleep(ctx, clock.Real{}, 20*time.Millisecond) != nil {
			x.t.Fatalf("%s of %v: %v", path, s.Replicas[0].Addresses, err)
		}
	}
}

func fetch(ctx context.Context, addr, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}

func (x *bench) env(s engine.Status) map[string]string {
	x.t.Helper()
	env := map[string]string{}
	if err := json.Unmarshal([]byte(x.get(s, "/env")), &env); err != nil {
		x.t.Fatal(err)
	}
	return env
}

func (x *bench) file(s engine.Status, path string) string {
	x.t.Helper()
	return x.get(s, "/file?path="+url.QueryEscape(path))
}
