package nodeapp

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

const ends = `
app.http('hello', { authLevel: 'anonymous', handler: async () => ({ body: 'hello' }) });
app.http('end', { authLevel: 'anonymous', handler: async (request) => {
  switch (request.query.get('how')) {
    case 'killed': process.kill(process.pid, 'SIGKILL'); break;
    case 'thrown': setImmediate(() => { throw new Error('outside of any function'); }); break;
    case 'restart': process.exit(200); break;
    case 'memory': for (const all = []; ;) all.push(new Array(1e5).fill(all.length));
  }
  return new Promise(() => {});
} });`

// TestRequestsAreAnsweredWhileProcessesDie ends processes of the worker in ways
// that real apps do, while others are called: no request is left without an
// answer, and the app serves again by itself.
func TestRequestsAreAnsweredWhileProcessesDie(t *testing.T) {
	for _, processes := range []string{"1", "2"} {
		t.Run(processes+" processes", func(t *testing.T) {
			a := v4(ends)
			a.settings = map[string]string{"FUNCTIONS_WORKER_PROCESS_COUNT": processes, "languageWorkers__node__arguments": "--max-old-space-size=48"}
			h := run(t, a)
			stop, count := callUntil(t, h)
			for _, how := range []string{"killed", "thrown", "restart", "memory"} {
				if s := h.Get(t, "/api/end?how="+how, "").Status; s != http.StatusInternalServerError && s != http.StatusServiceUnavailable {
					t.Errorf("%s: status %d", how, s)
				}
				before := count.Load()
				if !eventually(t.Context(), func() bool { return count.Load() > before+5 }) {
					t.Fatalf("%s: the app does not serve again\n%s", how, h.Log)
				}
			}
			stop()
		})
	}
}

// callUntil calls the app from four clients until stop, and counts what succeeds.
func callUntil(t *testing.T, h *testkit.Host) (stop func(), succeeded *atomic.Int64) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*testkit.Patience)
	var all sync.WaitGroup
	succeeded = &atomic.Int64{}
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				answer, err := h.Try(ctx, testkit.Request{Method: "GET", Path: "/api/hello"})
				switch {
				case ctx.Err() != nil:
				case err != nil:
					t.Errorf("a request was not answered: %v", err)
				case answer.Status == http.StatusOK:
					succeeded.Add(1)
				case answer.Status != http.StatusInternalServerError && answer.Status != http.StatusServiceUnavailable:
					t.Errorf("status %d", answer.Status)
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }, succeeded
}
