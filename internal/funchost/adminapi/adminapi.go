// Package adminapi owns the runtime API of an app under /admin: keys, the
// host's status and state, functions and their invocation (keys §4.1–4.3). It
// decides nothing about keys itself, that is the keyring's, and knows nothing of
// how functions are served to their callers.
package adminapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
)

// Config says what the API speaks about.
type Config struct {
	Gate     *access.Gate
	Keys     *keyring.Ring
	Instance *instance.Instance
	Log      *slog.Logger
	Clock    clock.Clock

	HostID      string // as status shows it
	Version     string // of this host
	SecretsPath string // where the keys are, for the paths answer
	DataPath    string // writable folder for test data
	Computer    string // name of this machine
	InstanceID  string // WEBSITE_INSTANCE_ID, "" elsewhere

	// Overloaded tells those who ask by ping whether the app should get no more
	// work for now; nil looks at the limit of outstanding requests.
	Overloaded func() bool
	PlainPing  bool // pings always answer 200
}

// API serves /admin. It is an [http.Handler]; Close ends the invocations it
// started.
type API struct {
	cfg    Config
	routes []adminRoute
	work   sync.WaitGroup  // functions invoked without anybody waiting
	alive  context.Context // of those
	close  context.CancelFunc
	slots  chan struct{} // bounds them
	born   time.Time
	warmed sync.Once
}

// maxBackground bounds the functions running because of POST
// /admin/functions/{name}.
const maxBackground = 256

// New makes the API.
func New(cfg Config) *API {
	a := &API{cfg: cfg, slots: make(chan struct{}, maxBackground), born: cfg.Clock.Now()}
	a.alive, a.close = context.WithCancel(context.Background())
	if a.cfg.Overloaded == nil {
		a.cfg.Overloaded = a.outstandingFull
	}
	a.routes = append(append(a.keyRoutes(), a.hostRoutes()...), a.functionRoutes()...)
	return a
}

// Close ends the functions invoked through the API and waits for them.
func (a *API) Close() {
	a.close()
	a.work.Wait()
}

// policy says who may use a route.
type policy uint8

const (
	admin policy = iota
	adminOrInternal
	anyone
)

// adminRoute is one operation. Segments of pattern in braces are parameters;
// the others are compared ignoring case, as the stock host does.
type adminRoute struct {
	method  string
	pattern string
	policy  policy
	serve   func(w http.ResponseWriter, r *http.Request, params []string)
}

// ServeHTTP finds the operation. Who may not use the API learns nothing about
// which operations there are.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, params, pathKnown := a.find(r)
	required := admin
	if route != nil {
		required = route.policy
	}
	if !a.permitted(w, r, required) {
		return
	}
	switch {
	case route != nil:
		route.serve(w, r, params)
	case pathKnown:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (a *API) permitted(w http.ResponseWriter, r *http.Request, p policy) bool {
	var v access.Verdict
	var d keyring.Decision
	switch p {
	case anyone:
		return true
	case adminOrInternal:
		v, d = a.cfg.Gate.AdminOrInternal(r)
	default:
		v, d = a.cfg.Gate.Admin(r)
	}
	return access.Enforce(w, v, d)
}

func (a *API) find(r *http.Request) (found *adminRoute, params []string, pathKnown bool) {
	segments := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	if len(segments) > 8 {
		return nil, nil, false
	}
	for i := range a.routes {
		p, ok := matchSegments(a.routes[i].pattern, segments)
		if !ok {
			continue
		}
		pathKnown = true
		if a.routes[i].method == r.Method {
			return &a.routes[i], p, true
		}
	}
	return nil, nil, pathKnown
}

// matchSegments compares a path with a pattern; parameters are decoded.
func matchSegments(pattern string, segments []string) (params []string, ok bool) {
	want := strings.Split(pattern, "/")
	if len(want) != len(segments) {
		return nil, false
	}
	for i, w := range want {
		text, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if strings.HasPrefix(w, "{") {
			params = append(params, text)
		} else if !strings.EqualFold(w, text) {
			return nil, false
		}
	}
	return params, true
}

// selfURL gives the URL of a request without its query, which may hold a key.
func selfURL(r *http.Request) string {
	return baseURL(r) + r.URL.EscapedPath()
}

func baseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
