package adminapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/route"
	"github.com/latchkey/latchkey/internal/web"
)

// maxFunctionBody bounds the bodies of function operations, in bytes.
const maxFunctionBody = 8 << 20

func (a *API) functionRoutes() []adminRoute {
	return []adminRoute{
		{http.MethodGet, "admin/functions", admin, a.listFunctions},
		{http.MethodGet, "admin/functions/download", admin, a.download},
		{http.MethodGet, "admin/functions/{function}", admin, a.getFunction},
		{http.MethodPut, "admin/functions/{function}", admin, a.putFunction},
		{http.MethodDelete, "admin/functions/{function}", admin, a.deleteFunction},
		{http.MethodPost, "admin/functions/{function}", admin, a.invokeFunction},
		{http.MethodGet, "admin/functions/{function}/status", admin, a.functionStatus},
	}
}

// functionJSON is a function on the wire (keys §4.3).
type functionJSON struct {
	Name         string            `json:"name"`
	RootHref     string            `json:"script_root_path_href,omitempty"`
	ScriptHref   string            `json:"script_href,omitempty"`
	ConfigHref   string            `json:"config_href,omitempty"`
	TestDataHref string            `json:"test_data_href,omitempty"`
	Href         string            `json:"href"`
	InvokeURL    string            `json:"invoke_url_template,omitempty"`
	Language     string            `json:"language,omitempty"`
	Config       json.RawMessage   `json:"config,omitempty"`
	Files        map[string]string `json:"files,omitempty"`
	TestData     string            `json:"test_data"`
	IsDisabled   bool              `json:"isDisabled"`
	IsDirect     bool              `json:"isDirect"`
	IsProxy      bool              `json:"isProxy"`
}

func (a *API) listFunctions(w http.ResponseWriter, r *http.Request, _ []string) {
	list := []functionJSON{}
	if m := a.cfg.Instance.Model(); m != nil {
		for i := range m.Functions {
			if len(m.Functions[i].Faults) == 0 {
				list = append(list, describe(r, m, &m.Functions[i]))
			}
		}
	}
	web.WriteJSON(w, http.StatusOK, list)
}

func (a *API) getFunction(w http.ResponseWriter, r *http.Request, params []string) {
	m, f := a.function(params[0])
	if f == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	web.WriteJSON(w, http.StatusOK, describe(r, m, f))
}

func (a *API) function(name string) (*instance.Model, *funcapp.Function) {
	m := a.cfg.Instance.Model()
	if m == nil {
		return nil, nil
	}
	return m, m.Function(name)
}

func describe(r *http.Request, m *instance.Model, f *funcapp.Function) functionJSON {
	base := baseURL(r)
	files := base + "/admin/vfs/"
	j := functionJSON{
		Name: f.Name, Href: base + "/admin/functions/" + url.PathEscape(f.Name), Language: f.Language,
		Config: f.Config, IsDisabled: f.Disabled,
	}
	if f.Directory != "" {
		j.RootHref = files + url.PathEscape(f.Name) + "/"
		j.ConfigHref = j.RootHref + "function.json"
		j.TestDataHref = files + "data/Functions/sampledata/" + url.PathEscape(f.Name) + ".dat"
	}
	if rel, err := filepath.Rel(m.App.Root, f.ScriptFile); err == nil && f.ScriptFile != "" {
		j.ScriptHref = files + filepath.ToSlash(rel)
	}
	if template := route.URLTemplate(m.App.Host.HTTP.RoutePrefix, f); template != "" {
		j.InvokeURL = strings.ToLower(base + template)
	}
	return j
}

func (a *API) functionStatus(w http.ResponseWriter, _ *http.Request, params []string) {
	_, f := a.function(params[0])
	if f == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var answer struct {
		Errors []string `json:"errors,omitempty"`
	}
	for _, fault := range f.Faults {
		answer.Errors = append(answer.Errors, fault.String())
	}
	if why := a.cfg.Instance.Deaf(f.Name); why != "" {
		answer.Errors = append(answer.Errors, "the function does not listen: "+why)
	}
	web.WriteJSON(w, http.StatusOK, answer)
}

// invokeFunction runs a function of any trigger type without waiting for it.
func (a *API) invokeFunction(w http.ResponseWriter, r *http.Request, params []string) {
	var body *struct {
		Input string `json:"input"`
	}
	if err := web.ReadJSON(r, maxFunctionBody, &body); err != nil || body == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, f := a.function(params[0])
	switch {
	case f == nil || len(f.Faults) > 0:
		w.WriteHeader(http.StatusNotFound)
	case !a.running():
		if a.cfg.Instance.Status().State == instance.Offline {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(a.cfg.Instance.OfflinePage())
			return
		}
		notRunning(w)
	default:
		if err := a.invoke(f.Name, body.Input); err != nil {
			web.WriteProblem(w, err)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

// invoke starts a function in the background. It returns problem.Throttled when
// too many such invocations are in progress.
func (a *API) invoke(function, input string) error {
	select {
	case a.slots <- struct{}{}:
	default:
		return problem.New(problem.Throttled, "too many functions are running for the runtime API")
	}
	a.work.Go(func() {
		defer func() { <-a.slots }()
		_ = a.cfg.Instance.Ask(a.alive, function, input) // the instance tells of it
	})
	return nil
}
