package adminapi

import (
	"encoding/xml"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/web"
)

func (a *API) hostRoutes() []adminRoute {
	return []adminRoute{
		{http.MethodGet, "admin/host/status", adminOrInternal, a.status},
		{http.MethodGet, "admin/host/ping", anyone, a.ping},
		{http.MethodPost, "admin/host/ping", anyone, a.ping},
		{http.MethodPost, "admin/host/synctriggers", adminOrInternal, a.syncTriggers},
		{http.MethodPost, "admin/host/restart", admin, a.restart},
		{http.MethodPut, "admin/host/state", admin, a.setState},
		{http.MethodGet, "admin/host/config", adminOrInternal, a.hostConfig},
		{http.MethodPost, "admin/host/drain", adminOrInternal, a.drain},
		{http.MethodGet, "admin/host/drain/status", adminOrInternal, a.drainStatus},
		{http.MethodPost, "admin/host/resume", adminOrInternal, a.resume},
		{http.MethodPost, "admin/host/scale/status", adminOrInternal, a.scaleStatus},
		{http.MethodPost, "admin/host/log", adminOrInternal, a.log},
		{http.MethodGet, "admin/host/processes", adminOrInternal, a.processes},
		{http.MethodPost, "admin/host/debug", admin, a.debug},
		{http.MethodGet, "admin/instance/http-health", anyone, ok},
		{http.MethodGet, "admin/warmup", anyone, a.warmup},
	}
}

func ok(w http.ResponseWriter, _ *http.Request, _ []string) { w.WriteHeader(http.StatusOK) }

// statusJSON is the host's status on the wire (keys §4.2).
type statusJSON struct {
	ID             string      `json:"id" xml:"Id"`
	State          string      `json:"state"`
	Version        string      `json:"version"`
	VersionDetails string      `json:"versionDetails"`
	InstanceID     string      `json:"instanceId,omitempty" xml:"-"`
	ComputerName   string      `json:"computerName" xml:"-"`
	UptimeMS       int64       `json:"processUptime" xml:"-"`
	Editing        string      `json:"functionAppContentEditingState" xml:"-"`
	Bundle         *bundleJSON `json:"extensionBundle,omitempty" xml:"-"`
	Errors         []string    `json:"errors,omitempty"`
}

type bundleJSON struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// HostVersion is the version of the stock host whose behaviour this one shows,
// as programs that compare versions expect it.
const HostVersion = "4.1037.0.0"

func (a *API) status(w http.ResponseWriter, r *http.Request, _ []string) {
	st := a.cfg.Instance.Status()
	answer := statusJSON{
		ID: a.cfg.HostID, State: string(st.State), Version: HostVersion, VersionDetails: "Latchkey " + a.cfg.Version,
		InstanceID: a.cfg.InstanceID, ComputerName: a.cfg.Computer, Editing: a.editing(), Errors: st.Errors,
		UptimeMS: a.cfg.Clock.Now().Sub(a.born).Milliseconds(),
	}
	if m := a.cfg.Instance.Model(); m != nil && m.App.Host.ExtensionBundle != nil {
		answer.Bundle = &bundleJSON{m.App.Host.ExtensionBundle.ID, m.App.Host.ExtensionBundle.Version}
	}
	if strings.Contains(r.Header.Get("Accept"), "text/xml") {
		writeStatusXML(w, answer)
		return
	}
	web.WriteJSON(w, http.StatusOK, answer)
}

// writeStatusXML writes the form old tools ask for, with the element names and
// namespace of the stock host's own types.
func writeStatusXML(w http.ResponseWriter, s statusJSON) {
	type errorsXML struct {
		Items []string `xml:"http://schemas.microsoft.com/2003/10/Serialization/Arrays string"`
	}
	body, err := xml.Marshal(struct {
		XMLName        xml.Name `xml:"http://schemas.datacontract.org/2004/07/Microsoft.Azure.WebJobs.Script.WebHost.Models HostStatus"`
		Errors         *errorsXML
		ID             string `xml:"Id"`
		State          string
		Version        string
		VersionDetails string
	}{ID: s.ID, State: s.State, Version: s.Version, VersionDetails: s.VersionDetails, Errors: &errorsXML{s.Errors}})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}

// editing says whether functions can be changed through this API.
func (a *API) editing() string {
	root := a.root()
	if root == "" {
		return "Unknown"
	}
	probe, err := os.CreateTemp(root, ".latchkey-probe-*")
	if err != nil {
		return "NotAllowed"
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return "Allowed"
}

func (a *API) root() string {
	if m := a.cfg.Instance.Model(); m != nil {
		return m.App.Root
	}
	return ""
}

type result struct {
	Status string `json:"status"`
}

// syncTriggers has no platform to tell; what is left of the operation is that
// the keys are read anew. Nobody waits for that: a store that is away keeps no
// deployment from ending.
func (a *API) syncTriggers(w http.ResponseWriter, r *http.Request, _ []string) {
	if !a.running() {
		notRunning(w)
		return
	}
	a.cfg.Keys.Refresh()
	web.WriteJSON(w, http.StatusOK, result{"success"})
}

func (a *API) running() bool { return a.cfg.Instance.Status().State == instance.Running }

func notRunning(w http.ResponseWriter) {
	web.WriteText(w, http.StatusServiceUnavailable, "Function host is not running.")
}

func (a *API) restart(w http.ResponseWriter, _ *http.Request, _ []string) {
	a.cfg.Instance.Restart("asked through the runtime API")
	web.WriteJSON(w, http.StatusOK, map[string]any{
		"isSelfHost": true, "secretsPath": a.cfg.SecretsPath, "scriptPath": a.root(),
		"logPath": "", "testDataPath": a.cfg.DataPath, "hasParentScope": false,
		"isStandbyConfiguration": false, "isFileSystemReadOnly": a.editing() == "NotAllowed", "isScmRunFromPackage": false,
	})
}

func (a *API) setState(w http.ResponseWriter, r *http.Request, _ []string) {
	var want string
	if err := web.ReadJSON(r, 1<<10, &want); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := a.cfg.Instance.Status().State
	offline := strings.EqualFold(want, "offline")
	switch {
	case offline && now == instance.Offline, strings.EqualFold(want, "running") && now == instance.Running:
		w.WriteHeader(http.StatusOK)
	case offline, strings.EqualFold(want, "running") && now == instance.Offline:
		if err := a.cfg.Instance.SetOffline(offline); err != nil {
			web.WriteProblem(w, err)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (a *API) hostConfig(w http.ResponseWriter, _ *http.Request, _ []string) {
	m := a.cfg.Instance.Model()
	if m == nil || m.App.Host.Raw == nil {
		web.WriteJSON(w, http.StatusOK, map[string]string{"version": "2.0"})
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(m.App.Host.Raw)
}

func (a *API) drain(w http.ResponseWriter, _ *http.Request, _ []string) {
	if !a.running() {
		notRunning(w)
		return
	}
	a.cfg.Instance.Drain()
	w.WriteHeader(http.StatusAccepted)
}

func (a *API) drainStatus(w http.ResponseWriter, _ *http.Request, _ []string) {
	if !a.running() {
		notRunning(w)
		return
	}
	state, outstanding, retries := "Disabled", a.cfg.Instance.Outstanding(), a.cfg.Instance.Retries()
	if a.cfg.Instance.Draining() {
		state = "Completed"
		if outstanding+retries > 0 {
			state = "InProgress"
		}
	}
	web.WriteJSON(w, http.StatusOK, struct {
		State       string `json:"state"`
		Outstanding int    `json:"outstandingInvocations"`
		Retries     int    `json:"outstandingRetries"`
	}{State: state, Outstanding: outstanding, Retries: retries})
}

func (a *API) resume(w http.ResponseWriter, _ *http.Request, _ []string) {
	if err := a.cfg.Instance.Resume(); err != nil {
		w.WriteHeader(http.StatusConflict)
		return
	}
	web.WriteJSON(w, http.StatusOK, map[string]string{"state": string(a.cfg.Instance.Status().State)})
}

// scaleStatus votes on scaling for triggers that poll; there are none to vote
// for, which is what the stock host answers without runtime scale monitoring.
func (a *API) scaleStatus(w http.ResponseWriter, _ *http.Request, _ []string) {
	web.WriteText(w, http.StatusBadRequest, "Runtime scale monitoring is not enabled.")
}

// logEntry is a log line sent in by a trusted component.
type logEntry struct {
	Level    any    `json:"level"`
	Message  string `json:"message"`
	Source   string `json:"source"`
	Function string `json:"functionName"`
}

func (a *API) log(w http.ResponseWriter, r *http.Request, _ []string) {
	var entries []logEntry
	if err := web.ReadJSON(r, 1<<20, &entries); err != nil || entries == nil {
		web.WriteText(w, http.StatusBadRequest, "An array of log entry objects is expected.")
		return
	}
	for _, e := range entries {
		a.cfg.Log.Info(e.Message, "source", e.Source, "function", e.Function, "level_sent", e.Level)
	}
	w.WriteHeader(http.StatusOK)
}

type processJSON struct {
	ID     int    `json:"processId"`
	Name   string `json:"processName"`
	Engine string `json:"debugEngine"`
	Open   bool   `json:"isEligibleForOpenInBrowser"`
}

func (a *API) processes(w http.ResponseWriter, _ *http.Request, _ []string) {
	pids := a.cfg.Instance.Workers()
	if len(pids) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	list := make([]processJSON, len(pids))
	for i, pid := range pids {
		list[i] = processJSON{ID: pid, Name: a.processName(), Open: false}
	}
	web.WriteJSON(w, http.StatusOK, map[string]any{"processes": list})
}

func (a *API) processName() string {
	if m := a.cfg.Instance.Model(); m != nil && m.App.Host.CustomHandler != nil {
		return filepath.Base(m.App.Host.CustomHandler.Executable)
	}
	return "worker"
}

func (a *API) debug(w http.ResponseWriter, _ *http.Request, _ []string) {
	w.WriteHeader(http.StatusNotImplemented)
}

// warmup runs the app's warmup function, if it has one, once per process. Before
// the app runs its functions need not be known.
func (a *API) warmup(w http.ResponseWriter, _ *http.Request, _ []string) {
	if a.running() {
		a.warmed.Do(a.runWarmup)
	}
	w.WriteHeader(http.StatusOK)
}

func (a *API) runWarmup() {
	m := a.cfg.Instance.Model()
	if m == nil {
		return
	}
	for i := range m.Functions {
		f := &m.Functions[i]
		if t := f.Trigger(); t != nil && strings.EqualFold(t.Type, "warmupTrigger") && f.Runnable() {
			_ = a.invoke(f.Name, "")
		}
	}
}
