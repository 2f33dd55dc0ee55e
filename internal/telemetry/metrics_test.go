package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
)

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, string(body)
}

// series gives the lines of our own metrics, without help, sorted by the format.
func series(t *testing.T, m *Metrics, prefixes ...string) []string {
	t.Helper()
	_, body := get(t, OpsHandler(m, new(Health)), "GET", "/metrics")
	var out []string
	for line := range strings.Lines(body) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				out = append(out, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return out
}

func TestMetricsShowWhatWasCounted(t *testing.T) {
	m := NewMetrics("v1.2.3")
	a, f := m.App("shop"), m.Function("shop", "Hello")
	a.Enter()
	a.Enter()
	a.Leave()
	a.KeyDecision(KeyUnknown)
	a.KeyDecision(200)
	a.WorkerRestarted()
	a.SetKeystore(KeystoreDegraded)
	m.CountDrops(func() uint64 { return 4 })
	m.CountDrops(func() uint64 { return 1 })
	for _, status := range []int{200, 200, 404, 0, 1000, -1} {
		f.Observe(status, 3*time.Millisecond)
	}
	want := []string{
		`latchkey_key_decisions_total{app="shop",result="unknown"} 1`,
		`latchkey_keystore_state{app="shop"} 1`,
		`latchkey_log_dropped_total 5`,
		`latchkey_request_duration_seconds_count{app="shop",function="Hello"} 6`,
		`latchkey_requests_in_flight{app="shop"} 1`,
		`latchkey_requests_total{app="shop",function="Hello",status="0"} 3`,
		`latchkey_requests_total{app="shop",function="Hello",status="200"} 2`,
		`latchkey_requests_total{app="shop",function="Hello",status="404"} 1`,
		`latchkey_worker_restarts_total{app="shop"} 1`,
	}
	got := series(t, m, `latchkey_key_decisions_total{app="shop",result="unknown"}`, "latchkey_keystore",
		"latchkey_log", "latchkey_request_duration_seconds_count", "latchkey_requests", "latchkey_worker")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := series(t, m, "latchkey_build_info", "go_goroutines", "process_open_fds "); len(got) != 3 ||
		!strings.Contains(got[1], `version="v1.2.3"`) {
		t.Errorf("got %q", got)
	}
}

func TestHandlesAreTheSameForTheSameNames(t *testing.T) {
	m := NewMetrics("")
	a := m.App("a")
	if again := m.App("a"); again != a || m.Function("a", "f") != a.Function("f") || m.App("b") == a {
		t.Error("handles differ")
	}
}

func TestNamesThatAreNotTextDoNotBreakMetrics(t *testing.T) {
	m := NewMetrics("\xff")
	m.Function("a\xff\"\n", "\xc0").Observe(200, time.Second)
	if got := series(t, m, "latchkey_requests_total"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

func TestAForgottenAppStaysAwayThoughOldHandlesCount(t *testing.T) {
	m := NewMetrics("")
	f := m.Function("gone", "f")
	f.Observe(200, time.Second)
	m.Function("stays", "f").Observe(200, time.Second)
	m.Forget("gone")
	f.Observe(200, time.Second)
	f.Observe(500, time.Second)
	if got := series(t, m, "latchkey_requests_total"); len(got) != 1 || !strings.Contains(got[0], `app="stays"`) {
		t.Errorf("got %q", got)
	}
	m.Function("gone", "f").Observe(201, time.Second)
	if got := series(t, m, "latchkey_requests_total"); len(got) != 2 {
		t.Errorf("a new app of the same name shows %q", got)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	f := NewMetrics("").Function("a", "f")
	f.Observe(200, time.Second)
	if n := testing.AllocsPerRun(100, func() { f.Observe(200, time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadinessListsEveryCheckWithItsReason(t *testing.T) {
	h := new(Health)
	ops := OpsHandler(NewMetrics(""), h)
	if code, _ := get(t, ops, "GET", "/readyz"); code != 200 {
		t.Errorf("without checks: %d", code)
	}
	h.Set("b", func(context.Context) error {
		return problem.New(problem.Unavailable, "cannot read http://h/?code="+canary).WithNext("mount it")
	})
	h.Set("a", func(context.Context) error { return nil })
	h.Set("c", func(context.Context) error { panic("oh") })
	code, body := get(t, ops, "GET", "/readyz")
	var got Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := Readiness{Checks: []CheckResult{
		{Name: "a", Ready: true},
		{Name: "b", Reason: "cannot read http://h/?code=REDACTED", Next: "mount it"},
		{Name: "c", Reason: "check panicked: oh"},
	}}
	if diff := cmp.Diff(want, got); diff != "" || code != 503 {
		t.Errorf("%d %s", code, diff)
	}
	h.Remove("b")
	h.Set("c", func(context.Context) error { return nil })
	h.Set("b", func(context.Context) error {
		return Degraded(problem.New(problem.Unavailable, "an old copy is in use").WithNext("mount it"))
	})
	code, body = get(t, ops, "GET", "/readyz")
	got = Readiness{}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want = Readiness{Ready: true, Checks: []CheckResult{
		{Name: "a", Ready: true},
		{Name: "b", Ready: true, Degraded: true, Reason: "an old copy is in use", Next: "mount it"},
		{Name: "c", Ready: true},
	}}
	if diff := cmp.Diff(want, got); diff != "" || code != 200 {
		t.Errorf("after repair: %d %s", code, diff)
	}
}

func TestAliveWhileNotReady(t *testing.T) {
	h := new(Health)
	h.Set("a", func(context.Context) error { return errors.New("no") })
	ops := OpsHandler(NewMetrics(""), h)
	if code, body := get(t, ops, "GET", "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := get(t, ops, "POST", "/healthz"); code != 405 {
		t.Errorf("POST: %d", code)
	}
	if code, _ := get(t, ops, "GET", "/other"); code != 404 {
		t.Errorf("other path: %d", code)
	}
}

func BenchmarkObserve(b *testing.B) {
	f := NewMetrics("").Function("a", "f")
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.Observe(200, 3*time.Millisecond)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				f.Observe(200, 3*time.Millisecond)
			}
		})
	})
}
