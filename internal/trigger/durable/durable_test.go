package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/engine"
	"github.com/latchkey/latchkey/internal/trigger/durable/filestore"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
	"github.com/latchkey/latchkey/internal/trigger/durable/statestore"
	"github.com/latchkey/latchkey/internal/worker"
)

// invoke is an app with orchestrators that end at once, fail, or wait for an event.
type invoke struct{}

func (invoke) Invoke(_ context.Context, function string, c trigger.Call) (*worker.Result, error) {
	out := ""
	switch function {
	case "Done":
		var in struct{ Input json.RawMessage }
		if err := json.Unmarshal(c.Input.(json.RawMessage), &in); err != nil {
			return nil, err
		}
		out = `{"isDone":true,"actions":[[]],"output":` + string(in.Input) + `}`
	case "Waits":
		out = `{"isDone":false,"actions":[[{"actionType":6,"externalEventName":"go"}]]}`
		if strings.Contains(string(c.Input.(json.RawMessage)), `"EventType":15`) {
			out = `{"isDone":true,"actions":[[{"actionType":6,"externalEventName":"go"}]],"output":"went"}`
		}
	default:
		return nil, errors.New("broken")
	}
	return &worker.Result{Return: json.RawMessage(out)}, nil
}

type api struct {
	t    *testing.T
	base string
	hub  *Hub
}

func newAPI(t *testing.T) *api {
	t.Helper()
	return newAPIOver(t, filestore.New(t.TempDir()))
}

func newAPIOver(t *testing.T, store instances.Store) *api {
	t.Helper()
	e := engine.New(engine.Config{Store: store, Invoke: invoke{}, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	hub := New(Config{
		Engine: e, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler), Name: func() string { return "Hub" },
		Orchestrators: func() []string { return []string{"Done", "Waits", "Fails"} },
		Key:           func(context.Context) (string, error) { return "k+y==", nil },
	})
	s := httptest.NewServer(hub)
	t.Cleanup(func() { s.Close(); cancel(); <-done })
	return &api{t, s.URL + Base, hub}
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (a *api) send(method, path, contentType, body string, header ...string) reply {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for n := 0; n+1 < len(header); n += 2 {
		req.Header.Set(header[n], header[n+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, strings.TrimSpace(string(text))}
}

func (a *api) await(id, status string) reply {
	a.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		r := a.send("GET", "/instances/"+id, "", "")
		if strings.Contains(r.body, `"runtimeStatus":"`+status+`"`) {
			return r
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: %+v", id, r)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const jsonType = "application/json"

func TestCallsAreAnsweredAsDocumented(t *testing.T) {
	a := newAPI(t)
	a.send("POST", "/orchestrators/Done/done", jsonType, `{"a":1}`)
	a.send("POST", "/orchestrators/Waits/waits", jsonType, "")
	a.send("POST", "/orchestrators/Fails/fails", jsonType, "")
	a.await("done", "Completed")
	a.await("waits", "Running")
	a.await("fails", "Failed")
	tests := []struct {
		method, path, contentType, body string
		status                          int
		want                            string // in the body
	}{
		{"POST", "/orchestrators/done?timeout=60&pollingInterval=1", jsonType, `[1]`, 200, "[1]"},
		{"POST", "/orchestrators/Fails?timeout=60&pollingInterval=1", jsonType, ``, 200, `"runtimeStatus":"Failed"`},
		{"POST", "/orchestrators/Fails?timeout=60&pollingInterval=1&returnInternalServerErrorOnFailure=true", jsonType, ``, 500, `failed: broken`},
		{"POST", "/orchestrators/Waits?timeout=0.2&pollingInterval=0.1", jsonType, ``, 202, "statusQueryGetUri"},
		{"POST", "/orchestrators/Done?timeout=1&pollingInterval=2", jsonType, ``, 400, "should be bigger"},
		{"POST", "/orchestrators/Done", jsonType, `{`, 400, "Invalid JSON content"},
		{"POST", "/orchestrators/Done", jsonType, `"` + strings.Repeat("x", maxInput) + `"`, 413, "larger than"},
		{"POST", "/orchestrators/Nobody", jsonType, ``, 400, "The following are the known orchestrator functions: 'Done', 'Fails', 'Waits'."},
		{"POST", "/orchestrators/Waits/waits", jsonType, ``, 409, "already exists"},
		{"POST", "/orchestrators/Waits/a%2Fb", jsonType, ``, 400, "an instance id"},
		{"GET", "/orchestrators/Done", jsonType, ``, 404, ""},
		{"GET", "/instances/waits", "", "", 202, `"output":null`},
		{"GET", "/instances/done", "", "", 200, `"input":{"a":1}`},
		{"GET", "/instances/done?showInput=false", "", "", 200, `"input":null`},
		{"GET", "/instances/done?showHistory=true&showHistoryOutput=true", "", "", 200, `"historyEvents":[{"EventType":"ExecutionStarted"`},
		{"GET", "/instances/fails", "", "", 200, "Failed"},
		{"GET", "/instances/fails?returnInternalServerErrorOnFailure=true", "", "", 500, "Failed"},
		{"GET", "/instances/nobody", "", "", 404, ""},
		{"GET", "/instances/%00", "", "", 404, ""},
		{"GET", "/instances?runtimeStatus=Failed&instanceIdPrefix=fa", "", "", 200, `"instanceId":"fails"`},
		{"GET", "/instances?runtimeStatus=Terminated,Suspended", "", "", 200, "[]"},
		{"GET", "/instances/?createdTimeFrom=2100-01-01T00:00:00Z", "", "", 200, "[]"},
		{"POST", "/instances", "", "", 404, ""},
		{"POST", "/instances/nobody/terminate", "", "", 404, ""},
		{"POST", "/instances/done/terminate?reason=x", "", "", 410, ""},
		{"POST", "/instances/done/suspend", "", "", 410, ""},
		{"POST", "/instances/done/resume", "", "", 410, ""},
		{"POST", "/instances/waits/dance", "", "", 404, ""},
		{"GET", "/instances/waits/terminate", "", "", 404, ""},
		{"POST", "/instances/nobody/raiseEvent/go", jsonType, "1", 404, ""},
		{"POST", "/instances/done/raiseEvent/go", jsonType, "1", 410, ""},
		{"POST", "/instances/waits/raiseEvent/go", "text/plain", "1", 400, "Only application/json"},
		{"POST", "/instances/waits/raiseEvent/go", jsonType, "{", 400, "Invalid JSON content"},
		{"POST", "/instances/nobody/rewind", "", "", 404, ""},
		{"POST", "/instances/waits/rewind", "", "", 412, "can be rewound"},
		{"POST", "/instances/nobody/restart", "", "", 400, "does not match"},
		{"POST", "/instances/waits/restart?restartWithNewInstanceId=false", "", "", 409, "already exists"},
		{"POST", "/instances/done/restart?timeout=60&pollingInterval=1", "", "", 200, `{"a":1}`},
		{"DELETE", "/instances/waits", "", "", 412, "terminal state"},
		{"DELETE", "/instances/nobody", "", "", 404, ""},
		{"DELETE", "/instances", "", "", 400, "createdTimeFrom"},
		{"DELETE", "/instances?createdTimeFrom=2100-01-01", "", "", 404, ""},
		{"GET", "/entities/Counter/1", "", "", 404, ""},
		{"GET", "/entities", "", "", 200, "[]"},
		{"GET", "/entities/Counter", "", "", 200, "[]"},
		{"POST", "/entities/Counter/1?op=add", jsonType, "1", 501, "no entities"},
		{"POST", "/makeprimary", "", "", 200, ""},
		{"GET", "", "", "", 404, ""},
		{"GET", "/other", "", "", 404, ""},
		{"POST", "/instances/waits/suspend?reason=x", "", "", 202, ""},
		{"POST", "/instances/waits/resume", "", "", 202, ""},
		{"POST", "/instances/waits/raiseEvent/go", jsonType, `{"ok":true}`, 202, ""},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			if r := a.send(test.method, test.path, test.contentType, test.body); r.status != test.status || !strings.Contains(r.body, test.want) {
				t.Errorf("%d %s, want %d %s", r.status, r.body, test.status, test.want)
			}
		})
	}
	a.await("waits", "Completed")
	if r := a.send("DELETE", "/instances/waits", "", ""); r.status != 200 || r.body != `{"instancesDeleted":1}` {
		t.Errorf("purge: %+v", r)
	}
	if r := a.send("DELETE", "/instances?createdTimeFrom=2000-01-01T00:00:00Z&runtimeStatus=Failed", "", ""); r.status != 200 || r.body != `{"instancesDeleted":3}` {
		t.Errorf("purge of all that failed: %+v", r)
	}
}

func TestAStartedInstanceIsReachedByItsLinks(t *testing.T) {
	a := newAPI(t)
	r := a.send("POST", "/orchestrators/Waits?code=mine", jsonType, "")
	var l map[string]string
	if err := json.Unmarshal([]byte(r.body), &l); err != nil || r.status != 202 || r.header.Get("Retry-After") != "10" || r.header.Get("Location") != l["statusQueryGetUri"] {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, url := range l {
		if name != "id" && (!strings.HasPrefix(url, a.base+"/instances/"+l["id"]) || !strings.HasSuffix(url, "taskHub=Hub&connection=Storage&code=mine")) {
			t.Errorf("%s is %s", name, url)
		}
	}
	path := strings.TrimPrefix(l["statusQueryGetUri"], a.base)
	if r := a.send("GET", path, "", ""); r.status != 202 || r.header.Get("Retry-After") != "5" || r.header.Get("Location") != a.base+path {
		t.Errorf("status: %+v", r)
	}
	if r := a.send("POST", strings.Replace(strings.TrimPrefix(l["sendEventPostUri"], a.base), "{eventName}", "go", 1), jsonType, "1"); r.status != 202 {
		t.Errorf("event: %+v", r)
	}
	a.await(l["id"], "Completed")
}

func TestListsContinue(t *testing.T) {
	a := newAPI(t)
	for n := range 5 {
		a.send("POST", fmt.Sprintf("/orchestrators/Done/i%d?timeout=60&pollingInterval=1", n), jsonType, "1")
	}
	var ids []string
	token := ""
	for {
		r := a.send("GET", "/instances?top=2", "", "", continuation, token)
		var list []shown
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list) > 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		for _, i := range list {
			ids = append(ids, i.InstanceID)
		}
		if token = r.header.Get(continuation); token == "" {
			break
		}
	}
	if strings.Join(ids, " ") != "i0 i1 i2 i3 i4" {
		t.Errorf("listed %v", ids)
	}
	if r := a.send("GET", "/instances", "", "", continuation, "!"); r.status != 400 {
		t.Errorf("a token of nobody's: %+v", r)
	}
}

func TestTheClientBindingHasAllAddresses(t *testing.T) {
	a := newAPI(t)
	v, err := a.hub.Client(t.Context(), "http://localhost:7071", "")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		TaskHubName, BaseURL, RequiredQueryStringParameters string
		CreationURLs, ManagementURLs                        map[string]string
	}
	if err := json.Unmarshal(v, &got); err != nil {
		t.Fatal(err)
	}
	if got.TaskHubName != "Hub" || got.BaseURL != "http://localhost:7071/runtime/webhooks/durabletask" || got.RequiredQueryStringParameters != "code=k%2By%3D%3D" {
		t.Errorf("%s", v)
	}
	if u := got.CreationURLs["createNewInstancePostUri"]; u != got.BaseURL+"/orchestrators/{functionName}[/{instanceId}]?code=k%2By%3D%3D" {
		t.Errorf("to start: %s", u)
	}
	if m := got.ManagementURLs; len(m) != 9 || m["id"] != "INSTANCEID" || m["rewindPostUri"] != got.BaseURL+"/instances/INSTANCEID/rewind?reason={text}&taskHub=Hub&connection=Storage&code=k%2By%3D%3D" {
		t.Errorf("to manage: %v", m)
	}
}

func TestHubNames(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: DefaultHub, `{"extensions":{"durableTask":{"hubName":"Mine"}}}`: "Mine", `{"Extensions":{"DURABLETASK":{"HubName":"M"}}}`: "M",
		`{"extensions":7}`: DefaultHub, `{"extensions":{"durableTask":{"hubName":7}}}`: DefaultHub,
	} {
		var host map[string]any
		if err := json.Unmarshal([]byte(text), &host); err != nil {
			t.Fatal(err)
		}
		if got := HubName(host); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestUses(t *testing.T) {
	for kind, want := range map[string]bool{"orchestrationTrigger": true, "ACTIVITYTRIGGER": true, "durableClient": true, "httpTrigger": false} {
		if got := Uses(&funcapp.Function{Bindings: []funcapp.Binding{{Type: kind}}}); got != want {
			t.Errorf("%s: %t", kind, got)
		}
	}
}

func FuzzPathsOfStrangers(f *testing.F) {
	for _, p := range []string{"", "/", "/instances/a/raiseEvent/b", "/instances//x", "/%2e%2e/..", "/entities"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = Base + path
		parts, ok := segments(r.URL)
		for _, p := range parts {
			if ok && p == "" {
				t.Errorf("%q has an empty segment", path)
			}
		}
	})
}

func TestStartsAboveTheBudgetAreToldToPurge(t *testing.T) {
	a := newAPIOver(t, statestore.New(statestore.Config{
		Docs: memory.New(clock.Real{}), Prefix: "/a/", Clock: clock.Real{}, Budget: instances.Budget{Instances: 2, Bytes: 1 << 20},
	}))
	for _, id := range []string{"a", "b"} {
		if r := a.send("POST", "/orchestrators/Waits/"+id, "application/json", ""); r.status != http.StatusAccepted {
			t.Fatalf("%+v", r)
		}
	}
	r := a.send("POST", "/orchestrators/Waits/c", "application/json", "")
	if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "limit of 2 instances; purge") {
		t.Errorf("%+v", r)
	}
	if r := a.send("POST", "/instances/a/raiseEvent/go", "application/json", "1"); r.status != http.StatusAccepted {
		t.Errorf("an event of one in progress: %+v", r)
	}
	a.await("a", "Completed")
	if r := a.send("DELETE", "/instances/a", "", ""); r.status != http.StatusOK {
		t.Errorf("%+v", r)
	}
	if r := a.send("POST", "/orchestrators/Waits/c", "application/json", ""); r.status != http.StatusAccepted {
		t.Errorf("after a purge: %+v", r)
	}
}
