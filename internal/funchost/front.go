// Package funchost owns the front of one app: it takes a request, finds the
// function it is for, decides whether the caller may have it, bounds the work in
// progress, hands the request to the worker and answers. Package access below it
// decides who calls, adminapi serves the runtime API, webhooks the extensions.
// It does not know how workers run or where keys are kept.
package funchost

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// Config says what a front is made of.
type Config struct {
	App      string // its name in logs and metrics
	Instance *instance.Instance
	Gate     *access.Gate
	Metrics  *telemetry.AppMetrics
	Requests *telemetry.RequestLog // nil: requests are not logged
	Log      *slog.Logger
	Clock    clock.Clock
	Admin    http.Handler // /admin
	Runtime  http.Handler // /runtime
	HomePage bool         // answer GET / with a page
	MaxBody  int64        // largest request body, in bytes
	// Denied is told of callers that were refused; it must not block. May be nil.
	Denied func(Denial)
}

// Denial is a caller that was refused. It never holds what was presented.
type Denial struct {
	ID         string // what the caller was told in x-ms-request-id, or the invocation's
	Invocation bool   // the function itself answered so: the caller was let in
	Function   string // "" outside of functions
	Method     string
	Path       string
	Key        string // kind and name of the key that was presented, if it is known
	Reason     string // for the operator
	Remote     string // address of the connection
	Status     int
}

// Front serves one app. It is an [http.Handler].
type Front struct {
	cfg  Config
	site atomic.Pointer[site]
	pool sync.Pool // of *exchange

	preparing sync.Mutex
	retired   *site // what site was before; guarded by preparing
}

// patience is how long a request waits for an app that is starting.
const patience = 30 * time.Second

// New makes a front.
func New(cfg Config) *Front {
	f := &Front{cfg: cfg}
	f.pool.New = func() any { return new(exchange) }
	return f
}

// ServeHTTP serves a request to the app.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := f.pool.Get().(*exchange)
	x.begin(f, w, r)
	defer x.end()
	switch area(r.URL.Path) {
	case areaAdmin:
		x.decorateRuntime()
		f.cfg.Admin.ServeHTTP(x, r)
	case areaRuntime:
		x.decorateRuntime()
		f.cfg.Runtime.ServeHTTP(x, r)
	default:
		x.serveFunction()
	}
}

const (
	areaFunctions = iota
	areaAdmin
	areaRuntime
)

// area tells by the first segment of a path, ignoring case, who serves it.
func area(path string) int {
	if len(path) < 6 || path[0] != '/' {
		return areaFunctions
	}
	first, _, _ := strings.Cut(path[1:], "/")
	switch {
	case strings.EqualFold(first, "admin"):
		return areaAdmin
	case strings.EqualFold(first, "runtime"):
		return areaRuntime
	}
	return areaFunctions
}

// current gives the prepared form of the model a worker serves.
func (f *Front) current(m *instance.Model) *site {
	if s := f.site.Load(); s != nil && s.model == m {
		return s
	}
	return f.renew(m)
}

// renew prepares a model once, whoever asks at the same time: two sites would
// be two throttles. A request still on the model before, during a restart, gets
// that one's form and leaves the newer in place.
func (f *Front) renew(m *instance.Model) *site {
	f.preparing.Lock()
	defer f.preparing.Unlock()
	s := f.site.Load()
	switch {
	case s != nil && s.model == m:
		return s
	case f.retired != nil && f.retired.model == m:
		return f.retired
	}
	f.retired = s
	s = f.prepare(m)
	f.site.Store(s)
	return s
}

// levels a function can ask for, in terms of what the keyring gives.
func satisfied(need keyring.Level, d keyring.Decision) bool {
	return need == keyring.Anonymous || d.Level == keyring.AdminLevel || d.Level == need
}
