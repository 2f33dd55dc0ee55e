package hosttest_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// seen keeps what the handler process was asked, and answers 200 with its path.
type seen struct{ requests chan *http.Request }

func newSeen() *seen { return &seen{requests: make(chan *http.Request, 1000)} }

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests <- r.Clone(r.Context())
	_, _ = w.Write([]byte("{}"))
}

// last gives the request that the handler saw, of which there must be one.
func (s *seen) last(t testing.TB) *http.Request {
	t.Helper()
	select {
	case r := <-s.requests:
		return r
	default:
		t.Fatal("the handler saw no request")
		return nil
	}
}

func (s *seen) none(t testing.TB) {
	t.Helper()
	select {
	case r := <-s.requests:
		t.Errorf("the handler saw %s %s", r.Method, r.URL)
	default:
	}
}

// threeLevels are functions of each level, and a disabled one of each kind.
func threeLevels() map[string]string {
	return map[string]string{
		"open/function.json":    testkit.HTTPFunction("anonymous", ""),
		"closed/function.json":  testkit.HTTPFunction("function", ""),
		"other/function.json":   testkit.HTTPFunction("function", ""),
		"boss/function.json":    testkit.HTTPFunction("admin", ""),
		"wire/function.json":    testkit.HTTPFunction("system", ""),
		"off/function.json":     testkit.HTTPFunction("function", ""),
		"off2/function.json":    testkit.HTTPFunction("function", ""),
		"offopen/function.json": testkit.HTTPFunction("anonymous", ""),
	}
}

var disabledSettings = map[string]string{
	"AzureWebJobs.off.Disabled":     "true",
	"AzureWebJobs_off2_Disabled":    "1",
	"AzureWebJobs.offopen.Disabled": "true",
}

var modes = map[string]testkit.Mode{
	"default": testkit.Default, "forwarding": testkit.Forwarding, "proxying": testkit.Proxying,
}

// eventually asks until the answer is yes; what it asks must take a moment of
// its own, as a request does.
func eventually(t testing.TB, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	for !yes() {
		if ctx.Err() != nil {
			t.Fatal("waited in vain")
		}
		runtime.Gosched()
	}
}

func watch(c *server.Config) { c.Watch = true }

// receive takes a value from a channel, or finds it closed; it does not wait for ever.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
