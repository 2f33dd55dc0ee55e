package rpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
)

func TestAWarmProcessGetsItsApp(t *testing.T) {
	for _, replace := range []bool{false, true} {
		f := newFixture(t, "seen")
		f.cfg.Placeholder, f.cfg.Runtime.Process.Count = true, 2
		f.script.Capabilities = map[string]string{"HandlesWorkerWarmupMessage": "1", "TypedDataCollection": "1"}
		f.script.Reloaded, f.script.Replace = map[string]string{"WorkerStatus": "1"}, replace
		w := f.start(t)
		f.logs.await(t, "warming up")
		f.logs.await(t, `init in ""`)
		pid := w.PID()
		if err := w.Specialize(limited(t), f.cfg.App, f.cfg.Settings, map[string]string{testworker.Variable: f.script.Text(), "X": "y"}); err != nil {
			t.Fatal(err)
		}
		if list, ok := w.Indexed(); !ok || len(list) != 1 {
			t.Fatalf("functions %+v", list)
		}
		if w.PIDs()[0] != pid && len(w.PIDs()) == 1 {
			t.Error("another process")
		}
		if !replace {
			continue // both processes may answer; they know different things
		}
		until(t, "a second process", func() bool { return len(w.PIDs()) == 2 })
		wantKind(t, w.Specialize(limited(t), f.cfg.App, nil, nil), problem.Unavailable)
	}
}

func TestAReloadThatFails(t *testing.T) {
	f := newFixture(t, "seen")
	f.cfg.Placeholder, f.script.FailAt = true, testworker.AtReload
	w := f.start(t)
	err := w.Specialize(limited(t), f.cfg.App, nil, map[string]string{})
	wantKind(t, err, problem.Unavailable, "cannot take the app's environment: failing at reload")
}

func TestPing(t *testing.T) {
	f := newFixture(t, "echo")
	f.script.Capabilities = map[string]string{"WorkerStatus": "1"}
	if took, err := f.start(t).Ping(limited(t)); err != nil || took <= 0 {
		t.Errorf("%s, %v", took, err)
	}
	f.script.SilentAt = testworker.AtStatus
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := f.start(t).Ping(ctx)
	wantKind(t, err, problem.Unavailable, "does not answer")
}

func TestLoadsInOneMessage(t *testing.T) {
	for _, name := range []string{"SupportsLoadResponseCollection", "AcceptsListOfFunctionLoadRequests"} {
		f := newFixture(t, "echo", "unload")
		f.script.Capabilities = map[string]string{name: "1"}
		w := f.start(t)
		invoke(t, w, "echo", "x")
		_, err := w.Invoke(limited(t), invocation(w, "unload", ""))
		wantKind(t, err, problem.Internal, "cannot be loaded")
	}
}

func TestManyFunctionsAreLoaded(t *testing.T) {
	f := newFixture(t)
	f.script.Many = 1000
	w := f.start(t)
	if list, _ := w.Indexed(); len(list) != 1000 {
		t.Errorf("%d functions", len(list))
	}
}

// streaming starts a worker that takes requests, behind an HTTP server.
func streaming(t *testing.T, name string, timeout time.Duration) (*rpc.Worker, *httptest.Server, chan error) {
	f := newFixture(t, name)
	f.script.HTTP = true
	f.script.Functions[0].Bindings = []string{httpTrigger, httpReturn}
	w := f.start(t)
	results := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inv := invocation(w, name, nil)
		if !w.Forwards(inv.Function) {
			t.Error("requests are not handed on")
		}
		inv.Request, inv.StripKey, inv.Timeout = r, true, timeout
		err := w.ServeInvocation(rw, r, inv)
		var committed *worker.CommittedError
		if err != nil && !errors.As(err, &committed) {
			rw.WriteHeader(http.StatusInternalServerError)
		}
		results <- err
	}))
	t.Cleanup(s.Close)
	return w, s, results
}

func TestRequestsAreStreamedToWorkersThatTakeThem(t *testing.T) {
	_, s, results := streaming(t, "stream", 0)
	body, in := io.Pipe()
	r, err := http.NewRequestWithContext(limited(t), "POST", s.URL+"/api/x%20y?q=1&code=secret", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Functions-Key", "secret")
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	if _, err := io.WriteString(in, "one"); err != nil {
		t.Fatal(err)
	}
	resp := <-answered // before the body is complete
	if resp == nil {
		t.FailNow()
	}
	defer resp.Body.Close()
	buf := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "one" {
		t.Fatalf("%q, %v", buf, err)
	}
	if _, err := io.WriteString(in, "two"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "two" {
		t.Fatalf("%q, %v", rest, err)
	}
	got := []string{resp.Header.Get("Seen-X-Forwarded-Host"), resp.Header.Get("Seen-X-Forwarded-Proto"), resp.Header.Get("Seen-X-Functions-Key"), resp.Status}
	if diff := cmp.Diff([]string{r.URL.Host, "http", "", "202 Accepted"}, got); diff != "" {
		t.Error(diff)
	}
	if err := receive(t, results); err != nil {
		t.Error(err)
	}
}

func TestWhatAStreamedFunctionReturnsBesidesIsHandedOut(t *testing.T) {
	f := newFixture(t, "stream-out")
	f.script.HTTP = true
	f.script.Functions[0].Bindings = []string{httpTrigger, httpReturn, `{"type":"queue","name":"out","direction":"out","queueName":"p"}`}
	w := f.start(t)
	results := make(chan *worker.Result, 1)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inv := invocation(w, "stream-out", nil)
		inv.Request, inv.Finished = r, func(_ context.Context, res *worker.Result) { results <- res }
		if err := w.ServeInvocation(rw, r, inv); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if value, _, ok := receive(t, results).Output("out"); !ok || string(value) != `"text"` {
		t.Errorf("output %s, %v", value, ok)
	}
}

func TestAStreamedFunctionThatFailsDoesNotHang(t *testing.T) {
	_, s, results := streaming(t, "stream-throw", 0)
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantKind(t, receive(t, results), problem.Internal, "it threw")
	if resp.StatusCode != 500 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestAStreamedFunctionThatNeverEnds(t *testing.T) {
	w, s, results := streaming(t, "hang", 100*time.Millisecond)
	before := w.PID()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantKind(t, receive(t, results), problem.Timeout)
	until(t, "another process", func() bool { return w.PID() != before && w.PID() != 0 })
}
