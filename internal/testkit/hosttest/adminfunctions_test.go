package hosttest_test

import (
	"archive/zip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/testkit"
)

const queueFunction = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"msg","queueName":"items"}]}`

type functionBody struct {
	Name, Href, Language string
	RootHref             string `json:"script_root_path_href"`
	ConfigHref           string `json:"config_href"`
	InvokeURL            string `json:"invoke_url_template"`
	Config               json.RawMessage
	IsDisabled           bool
}

func TestFunctionsAreListedAndDescribed(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: map[string]string{
		"Hello/function.json":      testkit.HTTPFunction("function", `"route":"Greet/{Name}"`),
		"background/function.json": queueFunction,
		"broken/function.json":     `{"bindings":[{"type":"httpTrigger","direction":"sideways","name":"req"}]}`,
		"off/function.json":        testkit.HTTPFunction("function", ""),
	}, Settings: map[string]string{"AzureWebJobs.off.Disabled": "true", "AzureWebJobsStorage": "UseDevelopmentStorage=true"}})
	var list []functionBody
	h.Get(t, "/admin/functions", h.Master(t)).WantStatus(t, 200).JSON(t, &list)
	names := []string{}
	for _, f := range list {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"background", "Hello", "off"}, names); diff != "" {
		t.Error(diff)
	}
	var one functionBody
	h.Get(t, "/admin/functions/hELLO", h.Master(t)).WantStatus(t, 200).JSON(t, &one)
	if one.Name != "Hello" || one.Href != h.Base+"/admin/functions/Hello" || one.InvokeURL != strings.ToLower(h.Base+"/api/greet/{name}") ||
		one.Language != "custom" || one.ConfigHref != h.Base+"/admin/vfs/Hello/function.json" || len(one.Config) == 0 || one.IsDisabled {
		t.Errorf("%+v", one)
	}
	h.Get(t, "/admin/functions/off", h.Master(t)).JSON(t, &one)
	if !one.IsDisabled {
		t.Errorf("%+v", one)
	}
	h.Get(t, "/admin/functions/nosuch", h.Master(t)).WantStatus(t, 404).WantEmpty(t)
	var status struct{ Errors []string }
	h.Get(t, "/admin/functions/broken/status", h.Master(t)).WantStatus(t, 200).JSON(t, &status)
	if len(status.Errors) != 1 || !strings.Contains(status.Errors[0], "sideways") {
		t.Errorf("errors %q", status.Errors)
	}
	if a := h.Get(t, "/admin/functions/Hello/status", h.Master(t)).WantStatus(t, 200); a.Body != "{}" {
		t.Errorf("status %s", a.Body)
	}
	h.Get(t, "/admin/functions/nosuch/status", h.Master(t)).WantStatus(t, 404)
}

func TestFunctionsOfAnyTriggerAreInvokedThroughTheAPI(t *testing.T) {
	bodies := make(chan string, 4)
	h := testkit.Start(t, testkit.App{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + string(b)
		_, _ = w.Write([]byte("{}"))
	}), Files: map[string]string{"background/function.json": queueFunction, "off/function.json": queueFunction,
		"broken/function.json": `{"bindings":[]}`},
		Settings: map[string]string{"AzureWebJobs.off.Disabled": "true", "AzureWebJobsStorage": "UseDevelopmentStorage=true"}})
	post := func(name, body string) testkit.Answer {
		return h.Send(t, testkit.Request{Method: "POST", Path: "/admin/functions/" + name, Key: h.Master(t), Body: body})
	}
	for _, name := range []string{"background", "off"} { // the operation has no check for disabled functions of its own
		post(name, `{"input":"hello"}`).WantStatus(t, 202).WantEmpty(t)
		if got := receive(t, bodies); !strings.HasPrefix(got, "/"+name+" ") || !strings.Contains(got, `"msg":"\"hello\""`) {
			t.Errorf("the function got %s", got)
		}
	}
	for body, status := range map[string]int{"": 400, "null": 400, "x": 400, "[]": 400} {
		post("background", body).WantStatus(t, status)
	}
	post("nosuch", `{"input":""}`).WantStatus(t, 404)
	post("broken", `{"input":""}`).WantStatus(t, 404)
}

func TestInvocationThroughTheAPIIsNotWaitedFor(t *testing.T) {
	gate := testkit.NewGate(t)
	h := testkit.Start(t, testkit.App{Handler: gate, Files: map[string]string{"background/function.json": queueFunction},
		Settings: map[string]string{"AzureWebJobsStorage": "UseDevelopmentStorage=true"}})
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/functions/background", Key: h.Master(t), Body: `{"input":""}`}).WantStatus(t, 202)
	gate.Await(t)
}

func TestFunctionIsWrittenAndDeletedThroughTheAPI(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Configure: watch, Files: threeLevels()})
	master := h.Master(t)
	body := `{"name":"new","config":` + testkit.HTTPFunction("anonymous", "") + `,"files":{"notes.txt":"hi"}}`
	put := func(name, body string) testkit.Answer {
		return h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/functions/" + name, Key: master, Body: body})
	}
	a := put("new", body).WantStatus(t, 201)
	if got := a.Header.Get("Location"); got != h.Base+"/admin/functions/new" {
		t.Errorf("Location %q", got)
	}
	eventually(t, func() bool { return h.Get(t, "/api/new", "").Status == 200 })
	if text, err := os.ReadFile(filepath.Join(h.Dir, "new", "notes.txt")); err != nil || string(text) != "hi" {
		t.Errorf("%q %v", text, err)
	}
	pid := h.Node.Instance().Workers()[0]
	put("new", body).WantStatus(t, 201)
	for name, body := range map[string]string{
		"9bad": body, "host": body, "..%2fup": body, "ok": `{}`, "ok2": `{"config":"x"}`, "ok3": "",
		"ok4": `{"config":{},"files":{"../up":"x"}}`,
	} {
		if a := put(name, body); a.Status != 400 {
			t.Errorf("%s %s: status %d", name, body, a.Status)
		}
	}
	if now := h.Node.Instance().Workers(); len(now) != 1 || now[0] != pid {
		t.Errorf("the app restarted although no text changed: %v, was %d", now, pid)
	}
	h.FunctionKey(t, "new")
	del := testkit.Request{Method: "DELETE", Path: "/admin/functions/new", Key: master}
	h.Send(t, del).WantStatus(t, 204)
	eventually(t, func() bool { return h.Get(t, "/api/new", "").Status == 404 })
	h.Send(t, del).WantStatus(t, 404)
	if _, err := os.Stat(filepath.Join(h.Dir, ".latchkey", "secrets", "new.json")); err != nil {
		t.Errorf("the keys of a deleted function are gone: %v", err)
	}
}

func TestAppIsDownloadedWithoutSecrets(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: map[string]string{
		"closed/function.json": testkit.HTTPFunction("function", ""), "sub/deep/a.txt": "text",
		"local.settings.json": `{"Values":{"SECRET":"x"}}`, ".hidden": "x"}})
	h.HostKey(t)
	a := h.Get(t, "/admin/functions/download", h.Master(t)).WantStatus(t, 200)
	z, err := zip.NewReader(strings.NewReader(a.Body), int64(len(a.Body)))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"closed/function.json", "host.json", "sub/deep/a.txt"}, names); diff != "" {
		t.Error(diff)
	}
}
