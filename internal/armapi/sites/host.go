package sites

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
)

// hostDepth is how many segments a path below hostruntime has at most.
const hostDepth = 10

// hostAction is needed for whatever is asked of the running host, since it is
// asked with the app's master key: the right to read an app is not enough.
const hostAction = "sites/hostruntime/host/action"

func (api *API) hostOperations() []arm.Operation {
	ops := []arm.Operation{
		action("sites/syncfunctiontriggers/action", api.at("POST", "/syncfunctiontriggers", api.syncTriggers)),
		action("sites/host/sync/action", api.at("POST", "/host/default/sync", api.syncTriggers)),
		action("sites/host/listsyncstatus/action", api.at("POST", "/host/default/listsyncstatus", api.syncStatus)),
		secret(api.at("POST", "/listsyncfunctiontriggerstatus", api.syncAddress)),
	}
	below := "/hostruntime"
	for n := range hostDepth {
		below += fmt.Sprintf("/{p%d}", n)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			ops = append(ops, secret(action(hostAction, api.at(method, below, api.passOn(n+1)))))
		}
	}
	return ops
}

// syncTriggers answers 204 also for an app that does not run: the host reads its
// functions when it starts.
func (api *API) syncTriggers(c *arm.Call, a app.App) (arm.Reply, error) {
	if api.SyncTriggers != nil && a.Wanted() {
		if err := api.SyncTriggers(c.Context(), a); err != nil {
			return arm.Reply{}, fromHost(err)
		}
	}
	return arm.NoContent(), nil
}

func (api *API) syncStatus(*arm.Call, app.App) (arm.Reply, error) { return arm.NoContent(), nil }

// syncAddress gives the address that makes a host read its functions anew, with
// the key that opens it.
func (api *API) syncAddress(c *arm.Call, a app.App) (arm.Reply, error) {
	shown := struct {
		Key *string `json:"key"`
		URL string  `json:"trigger_url"`
	}{URL: api.Apps.Hosts(a.Name).AppURL + "/admin/host/synctriggers"}
	if api.MasterKey != nil {
		key, err := api.MasterKey(c.Context(), a)
		if err != nil {
			return arm.Reply{}, err
		}
		shown.Key = &key
	}
	return arm.OK(shown), nil
}

func (api *API) passOn(segments int) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		if api.HostRuntime == nil || !a.Wanted() {
			return arm.Reply{}, fromHost(problem.New(problem.Unavailable, "the app does not run"))
		}
		var path strings.Builder
		for n := range segments {
			path.WriteString("/" + url.PathEscape(c.Params[fmt.Sprintf("p%d", n)]))
		}
		reply, err := api.HostRuntime(c, a, path.String())
		if err != nil {
			return arm.Reply{}, fromHost(err)
		}
		return reply, nil
	}
}

// fromHost gives the platform's words for a host that cannot answer: never a
// server error, which clients would repeat for minutes.
func fromHost(err error) error {
	word := "InternalServerError"
	switch problem.KindOf(err) {
	case problem.Unavailable, problem.Timeout, problem.Throttled:
		word = "ServiceUnavailable"
	case problem.NotFound:
		word = "NotFound"
	case problem.Denied, problem.Unauthenticated:
		word = "Forbidden"
	case problem.Invalid:
		word = "BadRequest"
	}
	return arm.Faultf(http.StatusBadRequest, "BadRequest", "Encountered an error (%s) from host runtime.", word)
}
