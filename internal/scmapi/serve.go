package scmapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/web"
)

// exchange is one request on its way to its answer.
type exchange struct {
	api    *API
	w      *web.Recorder
	r      *http.Request
	site   Site
	caller string
	denied string
}

// ServeHTTP serves a request to a host of [Config].Domain; others are not found.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &web.Recorder{}
	rec.Reset(w)
	x := &exchange{api: a, w: rec, r: r}
	if err := x.serve(); err != nil {
		x.fail(err)
	}
	if x.denied != "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		x.record(rec.Status(), false)
	}
}

func (x *exchange) record(status int, reads bool) {
	x.api.cfg.Audit(x.r.Context(), AuditEntry{
		Method: x.r.Method, Path: x.r.URL.EscapedPath(), App: x.site.Name, Site: x.site.ID,
		Caller: x.caller, Remote: x.r.RemoteAddr, Status: status, Denied: x.denied, Reads: reads,
	})
}

func (x *exchange) serve() error {
	name, ok := AppOf(x.r.Host, x.api.cfg.Domain)
	if !ok {
		return problem.New(problem.NotFound, "this host belongs to no app")
	}
	var err error
	if x.site, err = x.api.cfg.Sites.Site(x.r.Context(), name); err != nil {
		return err
	}
	if err := x.admit(); err != nil {
		return err
	}
	if err := x.sameSite(); err != nil {
		return err
	}
	return x.dispatch()
}

// serve is a route's work; id is the deployment in the path.
type serve func(x *exchange, id string) error

// routes are found by the path without "/api", in lower case, with {id} for the
// deployment: clients use both forms.
var routes = map[string]map[string]serve{
	"":                     {http.MethodGet: (*exchange).info},
	"deployments":          {http.MethodGet: (*exchange).list},
	"deployments/{id}":     {http.MethodGet: (*exchange).get, http.MethodPut: (*exchange).redeploy},
	"deployments/{id}/log": {http.MethodGet: (*exchange).log},
	"zipdeploy":            {http.MethodPost: (*exchange).zipDeploy, http.MethodPut: (*exchange).zipDeploy},
	"publish":              {http.MethodPost: (*exchange).publish, http.MethodPut: (*exchange).publish},
	"isdeploying":          {http.MethodGet: (*exchange).isDeploying},
	"settings":             {http.MethodGet: (*exchange).settings},
	"environment":          {http.MethodGet: (*exchange).info},
	"scm/info":             {http.MethodGet: (*exchange).scmInfo},
}

func (x *exchange) dispatch() error {
	segs := strings.FieldsFunc(x.r.URL.Path, func(c rune) bool { return c == '/' })
	if len(segs) > 0 && strings.EqualFold(segs[0], "api") {
		segs = segs[1:]
	}
	if len(segs) > 0 && strings.EqualFold(segs[0], logstream) {
		return x.serveStream(segs[1:])
	}
	id := ""
	if len(segs) > 1 && strings.EqualFold(segs[0], "deployments") {
		segs, id = slices.Clone(segs), segs[1]
		segs[1] = "{id}"
	}
	byMethod := routes[strings.ToLower(strings.Join(segs, "/"))]
	if byMethod == nil {
		return problem.New(problem.NotFound, "this deployment endpoint does not exist")
	}
	method := x.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do := byMethod[method]
	if do == nil {
		x.w.Header().Set("Allow", strings.Join(allowed(byMethod), ", "))
		web.WriteJSON(x.w, http.StatusMethodNotAllowed, message{"The method is not served here."})
		return nil
	}
	return do(x, id)
}

func allowed(byMethod map[string]serve) []string {
	var list []string
	for m := range byMethod {
		list = append(list, m)
	}
	slices.Sort(list)
	return list
}

// message is the body of errors; clients print Message.
type message struct {
	Message string
}

var statuses = map[problem.Kind]int{
	problem.Invalid: http.StatusBadRequest, problem.NotFound: http.StatusNotFound,
	problem.Exists: http.StatusConflict, problem.Unauthenticated: http.StatusUnauthorized,
	problem.Denied: http.StatusForbidden, problem.Conflict: http.StatusConflict,
	problem.ReadOnly: http.StatusConflict, problem.Undecryptable: http.StatusConflict,
	problem.Unavailable: http.StatusServiceUnavailable, problem.TooLarge: http.StatusRequestEntityTooLarge,
	problem.Throttled: http.StatusTooManyRequests, problem.Timeout: http.StatusGatewayTimeout,
	problem.Unsupported: http.StatusBadRequest,
}

// fail answers with an error. Texts of errors that callers cannot do anything
// about are for the log only.
func (x *exchange) fail(err error) {
	status, known := statuses[problem.KindOf(err)]
	if !known || status == http.StatusServiceUnavailable || problem.KindOf(err) == problem.Undecryptable {
		x.api.cfg.Log.Error("a deployment request failed", "app", x.site.Name, "method", x.r.Method, "path", x.r.URL.EscapedPath(), "reason", err)
	}
	if !known {
		web.WriteJSON(x.w, http.StatusInternalServerError, message{"The server failed; its log has the reason."})
		return
	}
	switch status {
	case http.StatusUnauthorized:
		challenge(x.w)
	case http.StatusServiceUnavailable:
		x.w.Header().Set("Retry-After", "1")
	}
	web.WriteJSON(x.w, status, message{text(err)})
}

// text gives the outermost message and the advice; causes are for the log.
func text(err error) string {
	return release.PublicText(err)
}
