package arm

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// API serves management operations. It is safe for concurrent use.
type API struct {
	cfg    Config
	router *router
}

// New makes an API. It fails for operations that are malformed or that clash, and
// for a Config that leaves out what has no default.
func New(cfg Config, operations ...Operation) (*API, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	r, err := newRouter(operations)
	if err != nil {
		return nil, err
	}
	return &API{cfg: cfg, router: r}, nil
}

// ServeHTTP serves one call. It never redirects, and whatever happens in a handler
// the client gets a whole answer.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.serve(&exchange{api: a, w: w, r: r, ids: newIDs(r), time: a.cfg.Clock.Now()})
}

func (a *API) serve(x *exchange) {
	x.setHeaders()
	reply, err := x.guarded()
	if err != nil {
		reply, _ = encode(x.failure(err))
	}
	if err = x.audit(reply); err != nil {
		reply, _ = encode(x.failure(err))
	}
	x.send(reply)
}

// guarded makes the answer. A panic is a failure like any other.
func (x *exchange) guarded() (reply Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.api.cfg.Log.ErrorContext(x.r.Context(), "management API: a handler panicked",
				"method", x.r.Method, "path", clip(x.r.URL.EscapedPath()), "correlation", x.ids.correlation,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			reply, err = Reply{}, errPanic
		}
	}()
	if reply, err = x.run(); err != nil {
		return reply, err
	}
	return encode(reply)
}

var errPanic = problem.New(problem.Internal, "a handler panicked")

// run takes a call through its steps, in the order in which clients expect to be
// refused.
func (x *exchange) run() (Reply, error) {
	segs, err := split(x.r.URL.EscapedPath())
	if err != nil {
		return Reply{}, x.gateway(err)
	}
	x.web = x.isWeb(segs)
	found, allow, err := x.api.router.find(x.r.Method, segs)
	if err != nil {
		if len(allow) > 0 {
			x.w.Header().Set("Allow", strings.Join(allow, ", "))
		}
		return Reply{}, x.gateway(err)
	}
	x.route = found.route
	if err := x.newCall(found); err != nil {
		return Reply{}, x.gateway(err)
	}
	if x.route.Action != Public {
		if err := x.admit(); err != nil {
			return Reply{}, x.gateway(err)
		}
		if err := x.api.cfg.Admit(x.call); err != nil {
			return Reply{}, err
		}
	}
	x.handled = true
	return x.route.Handler(x.call)
}

func (x *exchange) isWeb(segs []string) bool {
	at := lastIndexFold(segs, "providers")
	return at >= 0 && at+1 < len(segs) && strings.EqualFold(segs[at+1], "Microsoft.Web")
}
