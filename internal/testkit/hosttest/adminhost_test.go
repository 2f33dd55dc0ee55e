package hosttest_test

import (
	"encoding/xml"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/testkit"
)

func TestStatusTellsStateInJSONAndXML(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels(), Host: `"extensionBundle":{"id":"Some.Bundle","version":"[4.*, 5.0.0)"}`,
		Settings: map[string]string{"AzureFunctionsWebHost__hostid": "My-Host"}})
	var s struct {
		ID, State, Version, VersionDetails, ComputerName, FunctionAppContentEditingState string
		ProcessUptime                                                                    *int64
		ExtensionBundle                                                                  struct{ ID, Version string }
		InstanceID, Errors                                                               any
	}
	h.Get(t, "/admin/host/status", h.Master(t)).WantStatus(t, 200).JSON(t, &s)
	if s.ID != "my-host" || s.State != "Running" || !strings.HasPrefix(s.Version, "4.") || s.VersionDetails == "" || s.ComputerName == "" ||
		s.ProcessUptime == nil || s.FunctionAppContentEditingState != "Allowed" || s.ExtensionBundle.ID != "Some.Bundle" {
		t.Errorf("status %+v", s)
	}
	if s.InstanceID != nil || s.Errors != nil {
		t.Errorf("members without a value are shown: %+v", s)
	}
	a := h.Send(t, testkit.Request{Path: "/admin/host/status", Key: h.Master(t), Header: map[string]string{"Accept": "text/xml"}})
	var x struct {
		XMLName xml.Name `xml:"http://schemas.datacontract.org/2004/07/Microsoft.Azure.WebJobs.Script.WebHost.Models HostStatus"`
		ID      string   `xml:"Id"`
		State   string   `xml:"State"`
		Version string   `xml:"Version"`
	}
	if err := xml.Unmarshal([]byte(a.Body), &x); err != nil || x.ID != "my-host" || x.State != "Running" || x.Version != s.Version {
		t.Errorf("%+v, %v in %s", x, err, a.Body)
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/xml") {
		t.Errorf("Content-Type %q", a.Header.Get("Content-Type"))
	}
}

func TestStatusTellsWhyAnAppIsInError(t *testing.T) {
	h := testkit.Start(t, testkit.App{MayFail: true, Files: map[string]string{"host.json": `{"versions":"2.0"}`}})
	var s struct {
		State  string
		Errors []string
	}
	h.Get(t, "/admin/host/status", h.Master(t)).WantStatus(t, 200).JSON(t, &s)
	if s.State != "Error" || len(s.Errors) != 1 || !strings.Contains(s.Errors[0], "version") {
		t.Errorf("status %+v", s)
	}
	h.Get(t, "/api/closed", h.HostKey(t)).WantStatus(t, 503)
	for path, status := range map[string]int{"GET /admin/host/drain/status": 503, "POST /admin/host/drain": 503, "POST /admin/host/resume": 409,
		"GET /admin/host/processes": 503, "POST /admin/host/synctriggers": 503} {
		method, path, _ := strings.Cut(path, " ")
		h.Send(t, testkit.Request{Method: method, Path: path, Key: h.Master(t)}).WantStatus(t, status)
	}
}

func TestPingAnswersEverybody(t *testing.T) {
	h := testkit.Start(t, testkit.App{})
	for _, method := range []string{"GET", "POST"} {
		a := h.Send(t, testkit.Request{Method: method, Path: "/admin/host/ping"}).WantStatus(t, 200).WantEmpty(t)
		if got := a.Header.Get("Cache-Control"); got != "no-store, no-cache" {
			t.Errorf("Cache-Control %q", got)
		}
	}
	h.Get(t, "/admin/instance/http-health", "").WantStatus(t, 200)
	h.Get(t, "/admin/warmup", "").WantStatus(t, 200)
}

func TestPingTellsLoadToThoseWhoAsk(t *testing.T) {
	const scale = "HttpScaleManager/1.0.0"
	tests := []struct {
		name, path, agent string
		full              int // answer under full load
	}{
		{"plain", "/admin/host/ping", "curl/8", 200},
		{"HTTP scale manager", "/admin/host/ping", scale, 429},
		{"elastic scale controller", "/admin/host/ping", "ElasticScaleController", 429},
		{"asked for", "/admin/host/ping?checkHealth=1", "curl/8", 429},
		{"declined", "/admin/host/ping?checkHealth=0", scale, 200},
		{"neither", "/admin/host/ping?checkHealth=2", scale, 200},
	}
	for setting, off := range map[string]bool{"": false, "0": true, "1": false} {
		t.Run("setting="+setting, func(t *testing.T) {
			gate := testkit.NewGate(t)
			h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: gate,
				Host:     `"extensions":{"http":{"maxOutstandingRequests":1}}`,
				Files:    map[string]string{"open/function.json": testkit.HTTPFunction("anonymous", "")},
				Settings: map[string]string{"WEBSITE_FUNCTIONS_HEALTH_PING_ENABLED": setting}})
			ping := func(load string, pick func(full int) int) {
				for _, tt := range tests {
					a := h.Send(t, testkit.Request{Path: tt.path, Header: map[string]string{"User-Agent": tt.agent}})
					if want := pick(tt.full); a.Status != want {
						t.Errorf("%s with %s: %d, want %d", tt.name, load, a.Status, want)
					}
				}
			}
			ping("no load", func(int) int { return 200 })
			done := make(chan int, 1)
			go func() { a, _ := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); done <- a.Status }()
			gate.Await(t)
			ping("full load", func(full int) int {
				if off {
					return 200
				}
				return full
			})
			gate.Open()
			if status := receive(t, done); status != 200 {
				t.Errorf("the request that made the load: status %d", status)
			}
		})
	}
}

func TestStateIsChangedByPut(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels()})
	steps := []struct {
		body   string
		status int
		await  instance.State
	}{
		{`"blah"`, 400, instance.Running},
		{`"Stopped"`, 400, instance.Running},
		{``, 400, instance.Running},
		{`{"state":"offline"}`, 400, instance.Running},
		{`"RUNNING"`, 200, instance.Running},
		{`"offline"`, 202, instance.Offline},
		{`"OffLine"`, 200, instance.Offline},
		{`"running"`, 202, instance.Running},
		{`"running"`, 200, instance.Running},
	}
	for _, s := range steps {
		h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/host/state", Key: h.Master(t), Body: s.body}).WantStatus(t, s.status)
		h.Await(t, s.await)
	}
	h.Get(t, "/api/closed", h.HostKey(t)).WantStatus(t, 200)
}

func TestStateOfAnAppInError(t *testing.T) {
	h := testkit.Start(t, testkit.App{MayFail: true, Files: map[string]string{"host.json": `{}`}})
	put := func(body string) testkit.Answer {
		return h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/host/state", Key: h.Master(t), Body: body})
	}
	put(`"running"`).WantStatus(t, 400)
	put(`"offline"`).WantStatus(t, 202)
	h.Await(t, instance.Offline)
}

func TestOfflineAppAnswersItsPage(t *testing.T) {
	h := testkit.Start(t, testkit.App{MayFail: true, Mode: testkit.Forwarding, Files: threeLevels(),
		Configure: watch})
	h.WriteFile(t, "app_offline.htm", "<p>gone fishing</p>")
	h.Await(t, instance.Offline)
	for _, r := range []testkit.Request{
		{Path: "/api/closed", Key: h.HostKey(t)}, {Path: "/api/nosuch"}, {Path: "/"},
		{Method: "POST", Path: "/admin/functions/closed", Key: h.Master(t), Body: `{"input":"x"}`},
	} {
		a := h.Send(t, r).WantStatus(t, 503)
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || a.Body != "<p>gone fishing</p>" {
			t.Errorf("%s: %q %q", r.Path, a.Header.Get("Content-Type"), a.Body)
		}
	}
	h.Get(t, "/admin/functions/closed/status", h.Master(t)).WantStatus(t, 200)
	h.Get(t, "/admin/host/status", h.Master(t)).WantStatus(t, 200)
	h.Get(t, "/admin/host/systemkeys", h.Master(t)).WantStatus(t, 200)
	if err := os.Remove(filepath.Join(h.Dir, "app_offline.htm")); err != nil {
		t.Fatal(err)
	}
	h.Await(t, instance.Running)
	h.Get(t, "/api/closed", h.HostKey(t)).WantStatus(t, 200)
}

func TestDrainAndResume(t *testing.T) {
	gate := testkit.NewGate(t)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: gate, Files: threeLevels()})
	state := func() (s struct {
		State       string
		Outstanding int `json:"outstandingInvocations"`
		Retries     int `json:"outstandingRetries"`
	}) {
		h.Get(t, "/admin/host/drain/status", h.Master(t)).WantStatus(t, 200).JSON(t, &s)
		return s
	}
	if s := state(); s.State != "Disabled" || s.Outstanding != 0 {
		t.Errorf("before: %+v", s)
	}
	before := h.Node.Instance().Workers()
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/resume", Key: h.Master(t)}).WantStatus(t, 200)
	done := make(chan int, 1)
	go func() { a, _ := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); done <- a.Status }()
	gate.Await(t)
	if after := h.Node.Instance().Workers(); before[0] != after[0] {
		t.Error("resume without drain restarted the app")
	}
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/drain", Key: h.Master(t)}).WantStatus(t, 202)
	if s := state(); s.State != "InProgress" || s.Outstanding != 1 {
		t.Errorf("with a request: %+v", s)
	}
	gate.Open()
	if status := receive(t, done); status != 200 {
		t.Errorf("the request during the drain: status %d", status)
	}
	eventually(t, func() bool { return state().State == "Completed" })
	h.Get(t, "/api/open", "").WantStatus(t, 200) // HTTP goes on
	a := h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/resume", Key: h.Master(t)}).WantStatus(t, 200)
	if a.Body != `{"state":"Running"}` {
		t.Errorf("resume: %s", a.Body)
	}
	eventually(t, func() bool {
		now := h.Node.Instance().Workers()
		return len(now) == 1 && now[0] != before[0]
	})
	h.Await(t, instance.Running)
	if s := state(); s.State != "Disabled" {
		t.Errorf("after: %+v", s)
	}
}

func TestResumeNeedsARunningApp(t *testing.T) {
	h := testkit.Start(t, testkit.App{MayFail: true, Files: map[string]string{"app_offline.htm": "x"}})
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/resume", Key: h.Master(t)}).WantStatus(t, 409)
}

func TestLogTakesEntriesOfTrustedComponents(t *testing.T) {
	h := testkit.Start(t, testkit.App{})
	post := func(body string) testkit.Answer {
		return h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/log", Key: h.Master(t), Body: body})
	}
	post(`[{"level":4,"message":"from afar","source":"ScaleController","functionName":"f"},{"level":"Warning","message":"too"}]`).WantStatus(t, 200)
	post(`[]`).WantStatus(t, 200)
	if !strings.Contains(h.Log.String(), "from afar") {
		t.Error("the entry is not in the log")
	}
	for _, body := range []string{``, `null`, `{}`, `"x"`, `[1]`, `x`} {
		if a := post(body).WantStatus(t, 400); a.Body != "An array of log entry objects is expected." {
			t.Errorf("%s: %q", body, a.Body)
		}
	}
}

func TestProcessesConfigRestartAndTheRest(t *testing.T) {
	h := testkit.Start(t, testkit.App{Host: `"functionTimeout":"00:07:00"`})
	get := func(method, path string, status int, v any) testkit.Answer {
		t.Helper()
		a := h.Send(t, testkit.Request{Method: method, Path: path, Key: h.Master(t)}).WantStatus(t, status)
		if v != nil {
			a.JSON(t, v)
		}
		return a
	}
	var p struct {
		Processes []struct {
			ProcessID   int `json:"processId"`
			ProcessName string
		}
	}
	get("GET", "/admin/host/processes", 200, &p)
	if pid := h.Node.Instance().Workers()[0]; len(p.Processes) != 1 || p.Processes[0].ProcessID != pid || p.Processes[0].ProcessName == "" {
		t.Errorf("processes %+v, want %d", p, pid)
	}
	var c struct{ Version, FunctionTimeout string }
	get("GET", "/admin/host/config", 200, &c)
	if c.Version != "2.0" || c.FunctionTimeout != "00:07:00" {
		t.Errorf("config %+v", c)
	}
	if a := get("POST", "/admin/host/scale/status", 400, nil); a.Body != "Runtime scale monitoring is not enabled." {
		t.Errorf("scale status %q", a.Body)
	}
	if a := get("POST", "/admin/host/synctriggers", 200, nil); a.Body != `{"status":"success"}` {
		t.Errorf("synctriggers %q", a.Body)
	}
	get("POST", "/admin/host/debug", 501, nil)
	get("GET", "/admin/host/restart", 405, nil)
	get("GET", "/admin/host/nosuch", 404, nil)
	get("GET", "/admin/host/extensionBundle/v1/templates", 404, nil)
	var r struct {
		IsSelfHost              *bool
		SecretsPath, ScriptPath string
	}
	before := h.Node.Instance().Workers()[0]
	get("POST", "/admin/host/restart", 200, &r)
	if r.IsSelfHost == nil || r.ScriptPath != h.Dir || !strings.HasPrefix(r.SecretsPath, h.Dir) {
		t.Errorf("restart %+v", r)
	}
	eventually(t, func() bool {
		now := h.Node.Instance().Workers()
		return len(now) == 1 && now[0] != before
	})
}

func TestFrontPage(t *testing.T) {
	h := testkit.Start(t, testkit.App{})
	if a := h.Get(t, "/", "").WantStatus(t, 200); !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || a.Body == "" {
		t.Errorf("front page %+v", a)
	}
	h.Send(t, testkit.Request{Method: http.MethodHead, Path: "/"}).WantStatus(t, 200).WantEmpty(t)
	h.Send(t, testkit.Request{Method: "POST", Path: "/"}).WantStatus(t, 404)
	h = testkit.Start(t, testkit.App{Settings: map[string]string{"AzureWebJobsDisableHomepage": "true"}})
	h.Get(t, "/", "").WantStatus(t, 204)
}
