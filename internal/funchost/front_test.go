package funchost

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// fakeWorker takes requests as they are when forwards is set, else invocations.
type fakeWorker struct {
	forwards bool
	invoke   func(context.Context, *worker.Invocation) (*worker.Result, error)
	serve    func(http.ResponseWriter, *http.Request, *worker.Invocation) error // nil answers 200
	exited   chan struct{}
}

func (w *fakeWorker) Start(context.Context) error     { return nil }
func (w *fakeWorker) Stop(context.Context) error      { return nil }
func (w *fakeWorker) Exited() <-chan struct{}         { return w.exited }
func (w *fakeWorker) Exit() worker.Exit               { return worker.Exit{} }
func (w *fakeWorker) PID() int                        { return 1 }
func (w *fakeWorker) Forwards(*funcapp.Function) bool { return w.forwards }

func (w *fakeWorker) Invoke(ctx context.Context, inv *worker.Invocation) (*worker.Result, error) {
	return w.invoke(ctx, inv)
}

func (w *fakeWorker) ServeInvocation(rw http.ResponseWriter, r *http.Request, inv *worker.Invocation) error {
	if w.serve != nil {
		return w.serve(rw, r, inv)
	}
	rw.WriteHeader(http.StatusOK)
	return nil
}

// rig is a front with a running instance.
type rig struct {
	front *Front
	keys  *keyring.Ring
	clock *clock.Manual
	log   strings.Builder
}

func newRig(t testing.TB, w *fakeWorker, host funcapp.HostConfig, retry *funcapp.Retry) *rig {
	t.Helper()
	return newRigOf(t, w, newModel(host, retry), instance.Triggers{})
}

// newRigOf is newRig for a model and what its functions send values to.
func newRigOf(t testing.TB, w *fakeWorker, model *instance.Model, triggers instance.Triggers) *rig {
	t.Helper()
	r := &rig{}
	c := clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	ring, err := keyring.New(keyring.Config{Store: memory.New(), Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	if err := ring.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exited = make(chan struct{})
	i := instance.New(instance.Config{
		Root: t.TempDir(), Clock: c, Log: slog.New(slog.DiscardHandler),
		Load:      func() (*instance.Model, error) { return model, nil },
		Triggers:  triggers,
		NewWorker: func(*instance.Model) (worker.Worker, error) { return w, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { i.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	if _, err := i.AwaitState(t.Context(), instance.Running); err != nil {
		t.Fatal(err)
	}
	admin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	f := New(Config{App: "app", Instance: i, Gate: &access.Gate{Keys: ring}, Metrics: telemetry.NewMetrics("test").App("app"),
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Clock: c, Admin: admin, Runtime: admin, MaxBody: 1 << 20})
	r.front, r.keys, r.clock = f, ring, c
	return r
}

func newModel(host funcapp.HostConfig, retry *funcapp.Retry) *instance.Model {
	trigger := &funcapp.HTTPTrigger{Route: "f", AuthLevel: funcapp.LevelFunction}
	m := &instance.Model{
		App: &funcapp.App{Root: "/", Host: host},
		Functions: []funcapp.Function{{Name: "f", Retry: retry, Bindings: []funcapp.Binding{
			{Name: "req", Type: "httpTrigger", HTTP: trigger}, {Name: "res", Type: "http", Direction: funcapp.Out}}}},
	}
	m.Routes, _ = route.Build("api", m.Functions)
	return m
}

func (r *rig) key(t testing.TB) string {
	t.Helper()
	k, err := r.keys.Get(t.Context(), keyring.HostKeys(), "default")
	if err != nil {
		t.Fatal(err)
	}
	return k.Value
}

// nowhere is a response writer that keeps nothing and makes no garbage.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }

// TestFrontAllocatesNoMoreThanToday guards the hot path: finding the function,
// checking the key and handing over cost one allocation each for the invocation
// and its id. Lower a number when you beat it; raise one only with a reason.
func TestFrontAllocatesNoMoreThanToday(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; run without -race")
	}
	r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
	tests := []struct {
		name   string
		url    string
		header http.Header
		status int
		most   float64
	}{
		{"key in the header", "/api/f", http.Header{"X-Functions-Key": {r.key(t)}, "Accept": {"*/*"}}, 200, allowedAllocs},
		{"key in the query", "/api/f?code=" + r.key(t), http.Header{}, 200, allowedAllocs},
		{"no key", "/api/f", http.Header{}, 401, 1},
		{"no route", "/api/nosuch", http.Header{}, 404, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest("GET", tt.url, nil)
			req.Header = tt.header
			w := &nowhere{header: http.Header{}}
			n := testing.AllocsPerRun(500, func() { r.front.ServeHTTP(w, req) })
			if w.status != tt.status {
				t.Fatalf("status %d, want %d", w.status, tt.status)
			}
			if n > tt.most {
				t.Errorf("%v allocations, limit %v", n, tt.most)
			}
		})
	}
}

const allowedAllocs = 2

func (r *rig) serve(t testing.TB, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest("GET", "/api/f", nil)
	req.Header.Set("x-functions-key", r.key(t))
	if change != nil {
		change(req)
	}
	w := httptest.NewRecorder()
	r.front.ServeHTTP(w, req)
	return w
}

func TestHSTSIsSentOverTLSToHostsNotExcluded(t *testing.T) {
	host := funcapp.HostConfig{HTTP: funcapp.HTTPConfig{HSTS: &funcapp.HSTS{
		MaxAge: 240 * time.Hour, IncludeSubDomains: true, Preload: true, ExcludedHosts: []string{"localhost", "[::1]", "Skip.example"}}}}
	r := newRig(t, &fakeWorker{forwards: true}, host, nil)
	const value = "max-age=864000; includeSubDomains; preload"
	for name, tt := range map[string]struct {
		host string
		tls  bool
		want string
	}{
		"https":                    {"app.example", true, value},
		"https with port":          {"app.example:8443", true, value},
		"http":                     {"app.example", false, ""},
		"excluded":                 {"localhost:7071", true, ""},
		"excluded IPv6":            {"[::1]:7071", true, ""},
		"excluded IPv6, no port":   {"[::1]", true, ""},
		"excluded in another case": {"skip.EXAMPLE", true, ""},
	} {
		for _, path := range []string{"/api/f", "/api/nosuch", "/admin/host/ping"} {
			w := r.serve(t, func(req *http.Request) {
				req.Host, req.URL.Path = tt.host, path
				if tt.tls {
					req.TLS = &tls.ConnectionState{}
				}
			})
			if got := w.Header().Get("Strict-Transport-Security"); got != tt.want {
				t.Errorf("%s %s: %q, want %q", name, path, got, tt.want)
			}
		}
	}
}

func TestFailedInvocationIsRetriedAsThePolicySays(t *testing.T) {
	failure := problem.New(problem.Internal, "the function failed")
	tests := []struct {
		name     string
		policy   *funcapp.Retry
		failures int // attempts that fail before one succeeds
		err      error
		status   int
		attempts int
		waited   time.Duration
	}{
		{"no policy", nil, 1, failure, 500, 1, 0},
		{"fixed", &funcapp.Retry{MaxRetryCount: 2, DelayInterval: time.Second}, 2, failure, 204, 3, 2 * time.Second},
		{"used up", &funcapp.Retry{MaxRetryCount: 2, DelayInterval: time.Second}, 9, failure, 500, 3, 2 * time.Second},
		{"no delay", &funcapp.Retry{MaxRetryCount: 1}, 1, failure, 204, 2, 0},
		{"for ever", &funcapp.Retry{MaxRetryCount: -1, DelayInterval: time.Minute}, 5, failure, 204, 6, 5 * time.Minute},
		{"exponential", &funcapp.Retry{MaxRetryCount: 4, MinimumInterval: time.Second, MaximumInterval: 4 * time.Second}, 4, failure, 204, 5, 11 * time.Second},
		{"client gone", &funcapp.Retry{MaxRetryCount: 4}, 9, worker.ErrClientGone, 499, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var attempts []worker.Invocation
			var times []time.Time
			var r *rig
			w := &fakeWorker{invoke: func(_ context.Context, inv *worker.Invocation) (*worker.Result, error) {
				attempts, times = append(attempts, *inv), append(times, r.clock.Now())
				if len(attempts) <= tt.failures {
					return nil, tt.err
				}
				return &worker.Result{}, nil
			}}
			r = newRig(t, w, funcapp.HostConfig{}, tt.policy)
			stop := r.runClock(t)
			answer := r.serve(t, nil)
			stop()
			if answer.Code != tt.status || len(attempts) != tt.attempts {
				t.Errorf("status %d after %d attempts", answer.Code, len(attempts))
			}
			if waited := times[len(times)-1].Sub(times[0]); waited < tt.waited || waited > tt.waited+time.Second {
				t.Errorf("waited %v, want %v", waited, tt.waited)
			}
			checkAttempts(t, attempts, tt.policy)
		})
	}
}

// checkAttempts: each has its own id and knows which attempt it is and why.
func checkAttempts(t *testing.T, attempts []worker.Invocation, p *funcapp.Retry) {
	t.Helper()
	ids := map[string]bool{}
	for i, a := range attempts {
		ids[a.ID] = true
		if a.RetryCount != i || a.HasRetry != (p != nil) || (p != nil && a.MaxRetries != p.MaxRetryCount) || (i > 0) != (a.LastError != "") {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	if len(ids) != len(attempts) {
		t.Errorf("%d ids for %d attempts", len(ids), len(attempts))
	}
}

// runClock moves the clock whenever somebody waits for it, in steps that no
// test's delay is a fraction of.
func (r *rig) runClock(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r.clock.AwaitTimers(ctx, 1) == nil {
			r.clock.Advance(time.Second)
		}
	}()
	return func() { cancel(); <-done }
}

func TestRetryDelaysDoubleBetweenTheirLimits(t *testing.T) {
	p := &funcapp.Retry{MinimumInterval: time.Second, MaximumInterval: 5 * time.Second}
	for attempt, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if got := trigger.RetryDelay(p, attempt); got != want {
			t.Errorf("attempt %d: %v, want %v", attempt, got, want)
		}
	}
	if got := trigger.RetryDelay(p, 1_000_000); got != 5*time.Second {
		t.Errorf("late attempt: %v", got)
	}
	if got := trigger.RetryDelay(&funcapp.Retry{DelayInterval: time.Hour}, 3); got != time.Hour {
		t.Errorf("fixed: %v", got)
	}
}

func TestThrottleCountsPlaces(t *testing.T) {
	th := newThrottle(funcapp.HTTPConfig{MaxOutstandingRequests: 2, MaxConcurrentRequests: 1})
	ctx, cancel := context.WithCancel(t.Context())
	if err := enterThrottle(ctx, th); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() { waiting <- enterThrottle(ctx, th) }()
	for th.outstanding.Load() != 2 {
		select {
		case err := <-waiting:
			t.Fatalf("nobody waited: %v", err)
		default:
		}
	}
	if err := enterThrottle(ctx, th); !errors.Is(err, problem.Throttled) {
		t.Errorf("third request: %v", err)
	}
	cancel()
	if err := <-waiting; !errors.Is(err, worker.ErrClientGone) {
		t.Errorf("given up: %v", err)
	}
	th.give()
	th.leave()
	if n := th.outstanding.Load(); n != 0 || len(th.places) != 0 {
		t.Errorf("%d outstanding, %d running after all left", n, len(th.places))
	}
	if newThrottle(funcapp.HTTPConfig{MaxOutstandingRequests: -1, MaxConcurrentRequests: -1}) != nil {
		t.Error("without limits there is a throttle")
	}
}

func TestConcurrentFirstRequestsShareOneThrottle(t *testing.T) {
	r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
	m := r.front.cfg.Instance.Model()
	sites := make(chan *site)
	for range 8 {
		go func() { sites <- r.front.current(m) }()
	}
	first := <-sites
	for range 7 {
		if s := <-sites; s != first {
			t.Error("two requests have different sites")
		}
	}
	newer := newModel(funcapp.HostConfig{}, nil)
	second := r.front.current(newer)
	if r.front.current(m) != first || r.front.current(newer) != second {
		t.Error("a late request on the old model has replaced the new one's site")
	}
}

// enterThrottle queues and takes a place, as a request does.
func enterThrottle(ctx context.Context, t *throttle) error {
	if err := t.queue(); err != nil {
		return err
	}
	if err := t.take(ctx); err != nil {
		t.leave()
		return err
	}
	return nil
}
