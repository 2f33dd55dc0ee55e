package funcapp

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHandlerRoutesBecomeFunctions(t *testing.T) {
	host := `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "h"}, "http": {
		"defaultAuthorizationLevel": "anonymous",
		"routes": [{"route": "/a/{id}"}, {"route": "b", "authorizationLevel": "Admin"}]}}}`
	app := load(t, appDir(t, map[string]string{"host.json": host}), Env{"FUNCTIONS_WORKER_RUNTIME": "custom"})
	if s := allFaults(app); s != "" || len(app.Functions) != 2 {
		t.Fatalf("faults %q, functions %v", s, app.Functions)
	}
	var got []string
	for _, f := range app.Functions {
		h := f.HTTP()
		got = append(got, fmt.Sprint(f.Name, " ", h.Route, " ", h.AuthLevel, " ", len(h.Methods), " ", f.Directory))
	}
	if diff := cmp.Diff([]string{"http-handler1 a/{id} 0 7 ", "http-handler2 b 4 7 "}, got); diff != "" {
		t.Error(diff)
	}
	oneFault(t, load(t, appDir(t, map[string]string{"host.json": host, "f/function.json": plainHTTP}), nil), "exclude each other")
	oneFault(t, load(t, appDir(t, map[string]string{"host.json": host}), Env{"FUNCTIONS_WORKER_RUNTIME": "node"}), "needs FUNCTIONS_WORKER_RUNTIME=custom")
	for _, route := range []string{"", "a b", "a//b", "{}", "{a", "x}"} {
		bad := fmt.Sprintf(`{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "h"}, "http": {"routes": [{"route": %q}]}}}`, route)
		oneFault(t, load(t, appDir(t, map[string]string{"host.json": bad}), nil), "customHandler.http.routes: route")
	}
}

func TestLegacyWorkerSection(t *testing.T) {
	host := `{"version": "2.0", "httpWorker": {"description": {"defaultExecutablePath": "h", "workerArguments": ["x"]}}}`
	h := load(t, appDir(t, map[string]string{"host.json": host}), nil).Host.CustomHandler
	if h == nil || !h.Legacy || h.Executable != "h" || len(h.WorkerArguments) != 1 {
		t.Errorf("%+v", h)
	}
}
