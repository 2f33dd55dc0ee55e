package adminapi

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// maxKeyBody bounds the body of a key operation, in bytes.
const maxKeyBody = 64 << 10

// keyJSON is a key on the wire (keys §4.1). Details are members of our own, which
// clients of the stock host pass over; a plain key has none, so that answers about
// plain keys are the stock host's to the byte.
type keyJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	*keyinfo.Details
	Links []link `json:"links,omitempty"`
}

func (k keyOps) keyJSON(sec keyring.Section, name string, key accesskey.Key, links []link) keyJSON {
	out := keyJSON{Name: name, Value: key.Value, Links: links}
	if !keyinfo.Plain(key) {
		details := keyinfo.Of(sec, key, k.api.cfg.Clock.Now()).Details
		out.Details = &details
	}
	return out
}

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

func (a *API) keyRoutes() []adminRoute {
	var routes []adminRoute
	for _, scope := range []struct {
		pattern string
		section func(params []string) (keyring.Section, string)
	}{
		{"admin/host/keys", hostSection(keyring.HostKeys())},
		{"admin/host/functionkeys", hostSection(keyring.HostKeys())},
		{"admin/host/systemkeys", hostSection(keyring.SystemKeys())},
		{"admin/functions/{function}/keys", functionSection},
	} {
		k := keyOps{a, scope.section}
		routes = append(routes,
			adminRoute{http.MethodGet, scope.pattern, admin, k.guard(k.list)},
			adminRoute{http.MethodGet, scope.pattern + "/{key}", admin, k.guard(k.get)},
			adminRoute{http.MethodPost, scope.pattern + "/{key}", admin, k.guard(k.renew)},
			adminRoute{http.MethodPut, scope.pattern + "/{key}", admin, k.guard(k.put)},
			adminRoute{http.MethodDelete, scope.pattern + "/{key}", admin, k.guard(k.remove)},
		)
	}
	return routes
}

func hostSection(s keyring.Section) func([]string) (keyring.Section, string) {
	return func(params []string) (keyring.Section, string) { return s, first(params) }
}

func functionSection(params []string) (keyring.Section, string) {
	return keyring.FunctionKeys(params[0]), first(params[1:])
}

func first(params []string) string {
	if len(params) == 0 {
		return ""
	}
	return params[0]
}

// keyOps are the five operations on the keys of one scope.
type keyOps struct {
	api     *API
	section func(params []string) (keyring.Section, string)
}

type keyServe func(w http.ResponseWriter, r *http.Request, sec keyring.Section, name string) error

// guard refuses functions that do not exist and key reads tunnelled through the
// management API, and turns errors into answers.
func (k keyOps) guard(serve keyServe) func(http.ResponseWriter, *http.Request, []string) {
	return func(w http.ResponseWriter, r *http.Request, params []string) {
		if tunnelled(r) {
			web.WriteText(w, http.StatusUnauthorized, tunnelText)
			return
		}
		sec, name := k.section(params)
		if sec.Kind == accesskey.Function && !k.api.functionExists(sec.Function) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if err := serve(w, r, sec, name); err != nil {
			k.api.cfg.Log.Warn("key operation failed", "method", r.Method, "path", r.URL.Path, "reason", err)
			web.WriteProblem(w, withRule(err))
		}
	}
}

// withRule has the answer to bad input say what would be good.
func withRule(err error) error {
	if rule := problem.NextOf(err); rule != "" && problem.KindOf(err) == problem.Invalid {
		return problem.New(problem.Invalid, err.Error()+"; "+rule)
	}
	return err
}

const tunnelText = "GET requests for this resource via the hostruntime extensions API are not authorized. " +
	"Please use an alternate first class ARM API."

// tunnelled reports a read of keys that came through the management API's
// generic tunnel, which readers may use who must not see keys.
func tunnelled(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("X-Ms-Arm-Request-Tracking-Id") != "" &&
		len(r.Header.Values("X-Ms-Via-Extensions-Route")) > 0 &&
		!strings.EqualFold(r.Header.Get("X-Ms-Client-Authorization-Source"), "legacy")
}

func (a *API) functionExists(name string) bool {
	m := a.cfg.Instance.Model()
	return m != nil && m.Function(name) != nil
}

func (k keyOps) list(w http.ResponseWriter, r *http.Request, sec keyring.Section, _ string) error {
	keys, err := k.api.cfg.Keys.List(r.Context(), sec)
	if err != nil {
		return err
	}
	answer := struct {
		Keys  []keyJSON `json:"keys"`
		Links []link    `json:"links"`
	}{Keys: make([]keyJSON, len(keys)), Links: selfLink(r)}
	for i, key := range keys {
		answer.Keys[i] = k.keyJSON(sec, key.Name, key, nil)
	}
	web.WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (k keyOps) get(w http.ResponseWriter, r *http.Request, sec keyring.Section, name string) error {
	key, err := k.api.cfg.Keys.Get(r.Context(), sec, name)
	if err != nil {
		return err
	}
	web.WriteJSON(w, http.StatusOK, k.keyJSON(sec, name, key, selfLink(r)))
	return nil
}

func (k keyOps) renew(w http.ResponseWriter, r *http.Request, sec keyring.Section, name string) error {
	key, created, err := k.api.cfg.Keys.Renew(r.Context(), sec, name)
	if err != nil {
		return err
	}
	k.answerWritten(w, r, k.keyJSON(sec, name, key, selfLink(r)), created)
	return nil
}

func (k keyOps) put(w http.ResponseWriter, r *http.Request, sec keyring.Section, name string) error {
	var body struct {
		Value *string `json:"value"`
	}
	err := web.ReadJSON(r, maxKeyBody, &body)
	if errors.Is(err, io.EOF) || (err == nil && body.Value == nil) {
		return problem.New(problem.Invalid, "Invalid key value")
	}
	if err != nil {
		return err
	}
	key, created, err := k.api.cfg.Keys.Set(r.Context(), sec, name, *body.Value)
	if err != nil {
		return err
	}
	k.answerWritten(w, r, k.keyJSON(sec, name, key, selfLink(r)), created)
	return nil
}

func (k keyOps) answerWritten(w http.ResponseWriter, r *http.Request, key keyJSON, created bool) {
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", selfURL(r))
	}
	web.WriteJSON(w, status, key)
}

func (k keyOps) remove(w http.ResponseWriter, r *http.Request, sec keyring.Section, name string) error {
	if err := k.api.cfg.Keys.Delete(r.Context(), sec, name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func selfLink(r *http.Request) []link { return []link{{Rel: "self", Href: selfURL(r)}} }
