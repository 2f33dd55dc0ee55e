package hosttest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/testkit"
)

// keyBody is a key as the API shows it, keysBody a list of them.
type keyBody struct {
	Name, Value string
	Links       []linkBody
}

type linkBody struct{ Rel, Href string }

type keysBody struct {
	Keys  []keyBody
	Links []linkBody
}

func (k keysBody) values() map[string]string {
	m := map[string]string{}
	for _, key := range k.Keys {
		m[key.Name] = key.Value
	}
	return m
}

// scopes are the four places keys are managed at, and how to check a generated one.
var scopes = []struct {
	path      string
	generated func(string) bool
}{
	{"/admin/host/keys", func(v string) bool { return azfkey.Check(v, azfkey.Function) }},
	{"/admin/host/functionkeys", func(v string) bool { return azfkey.Check(v, azfkey.Function) }},
	{"/admin/host/systemkeys", func(v string) bool { return azfkey.Check(v, azfkey.System) }},
	{"/admin/functions/closed/keys", func(v string) bool { return azfkey.Check(v, azfkey.Function) }},
}

func TestKeysAreManagedAtEveryScope(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	for _, scope := range scopes {
		t.Run(scope.path, func(t *testing.T) { manageKeys(t, h, scope.path, scope.generated) })
	}
}

func manageKeys(t *testing.T, h *testkit.Host, scope string, generated func(string) bool) {
	master, path := h.Master(t), scope+"/Key1"
	self := []linkBody{{"self", h.Base + path}}
	send := func(method, path, body string, status int) testkit.Answer {
		t.Helper()
		a := h.Send(t, testkit.Request{Method: method, Path: path, Key: master, Body: body}).WantStatus(t, status)
		if loc := a.Header.Get("Location"); (status == 201) != (loc == h.Base+path) {
			t.Errorf("%s %s: Location %q", method, path, loc)
		}
		return a
	}
	read := func(a testkit.Answer) keyBody {
		t.Helper()
		var k keyBody
		a.JSON(t, &k)
		if k.Name != "Key1" || !cmp.Equal(k.Links, self) {
			t.Errorf("answer %q", a.Body)
		}
		return k
	}
	send("GET", path, "", 404).WantEmpty(t)
	first := read(send("POST", path, "ignored", 201))
	if !generated(first.Value) {
		t.Errorf("generated value has the wrong form")
	}
	if second := read(send("POST", path, "", 200)); second.Value == first.Value || !generated(second.Value) {
		t.Errorf("a renewed key is the old one or has the wrong form")
	}
	if k := read(send("PUT", path, `{"name":"ignored","value":"given-value-0123456789-0123456789"}`, 200)); k.Value != "given-value-0123456789-0123456789" {
		t.Errorf("value %q", k.Value)
	}
	var list keysBody
	send("GET", scope, "", 200).JSON(t, &list)
	if list.values()["Key1"] != "given-value-0123456789-0123456789" || !cmp.Equal(list.Links, []linkBody{{"self", h.Base + scope}}) {
		t.Errorf("list %+v", list)
	}
	if _, there := list.values()["_master"]; there || len(list.Keys[0].Links) > 0 {
		t.Errorf("list %+v", list)
	}
	read(send("GET", path, "", 200))
	send("DELETE", path, "", 204).WantEmpty(t)
	send("DELETE", path, "", 404)
	send("GET", path, "", 404)
	read(send("PUT", path, `{"value":"`+strings.Repeat("v", 40)+`"}`, 201))
	send("DELETE", scope+"/kEY1", "", 204)
	send("PUT", scope+"/_key1", `{"value":"`+strings.Repeat("v", 40)+`"}`, 201)
	send("DELETE", scope+"/_key1", "", 204)
}

func TestKeyBodiesThatAreNotAccepted(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	master := h.Master(t)
	bodies := map[string]struct{ body, text string }{
		"none":        {"", "Invalid key value"},
		"null":        {"null", "Invalid key value"},
		"no value":    {`{"name":"k"}`, "Invalid key value"},
		"null value":  {`{"value":null}`, "Invalid key value"},
		"empty value": {`{"value":""}`, ""},
		"number":      {`{"value":1}`, ""},
		"list":        {`[]`, ""},
		"not JSON":    {`value`, ""},
		"too large":   {`{"value":"` + strings.Repeat("x", 70<<10) + `"}`, ""},
	}
	for _, scope := range scopes {
		for name, tt := range bodies {
			t.Run(scope.path+" "+name, func(t *testing.T) {
				a := h.Send(t, testkit.Request{Method: "PUT", Path: scope.path + "/k", Key: master, Body: tt.body})
				if a.Status != 400 && !(name == "too large" && a.Status == 413) {
					t.Errorf("status %d", a.Status)
				}
				if tt.text != "" && a.Body != tt.text {
					t.Errorf("body %q", a.Body)
				}
			})
		}
		h.Get(t, scope.path+"/k", master).WantStatus(t, 404)
	}
}

func TestKeysOfUnknownFunctionsAreNotFound(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		r := testkit.Request{Method: method, Path: "/admin/functions/nosuch/keys/k", Key: h.Master(t), Body: `{"value":"x"}`}
		h.Send(t, r).WantStatus(t, 404).WantEmpty(t)
	}
	h.Get(t, "/admin/functions/nosuch/keys", h.Master(t)).WantStatus(t, 404)
	h.Get(t, "/ADMIN/functions/CLOSED/Keys", h.Master(t)).WantStatus(t, 200)
}

func TestFunctionKnownWithoutItsOwnFileHasKeys(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: map[string]string{
		"host.json": strings.Replace(testkit.HostJSON(testkit.Default, ""), `"customHandler":{`,
			`"customHandler":{"http":{"routes":[{"route":"a"}]},`, 1)},
		Settings: map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom"}})
	var list keysBody
	h.Get(t, "/admin/functions/http-handler1/keys", h.Master(t)).WantStatus(t, 200).JSON(t, &list)
	if len(list.Keys) != 1 || list.Keys[0].Name != "default" {
		t.Errorf("keys %+v", list)
	}
}

func TestMasterKeyIsReplacedNeverDeleted(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	for _, scope := range []string{"/admin/host/keys", "/admin/host/functionkeys", "/admin/host/systemkeys"} {
		for _, name := range []string{"_master", "_MASter"} {
			t.Run(scope+"/"+name, func(t *testing.T) {
				old := h.Master(t)
				a := h.Send(t, testkit.Request{Method: "POST", Path: scope + "/" + name, Key: old}).WantStatus(t, 201)
				var k keyBody
				a.JSON(t, &k)
				if k.Name != name || !azfkey.Check(k.Value, azfkey.Master) {
					t.Errorf("answer %q", a.Body)
				}
				h.Get(t, "/admin/host/status", old).WantStatus(t, 401)
				put := `{"value":"` + old + `"}`
				h.Send(t, testkit.Request{Method: "PUT", Path: scope + "/" + name, Key: k.Value, Body: put}).WantStatus(t, 200)
				h.Get(t, "/admin/host/status", old).WantStatus(t, 200)
				a = h.Send(t, testkit.Request{Method: "DELETE", Path: scope + "/" + name, Key: old}).WantStatus(t, 400)
				if a.Body != "Cannot delete System Key." {
					t.Errorf("body %q", a.Body)
				}
			})
		}
	}
	master := h.Master(t)
	var k keyBody
	h.Get(t, "/admin/host/systemkeys/_master", master).WantStatus(t, 200).JSON(t, &k)
	if k.Value != master || k.Name != "_master" {
		t.Errorf("master among the system keys: %+v", k)
	}
	for _, path := range []string{"/admin/host/keys/_master", "/admin/host/functionkeys/_master", "/admin/functions/closed/keys/_master"} {
		h.Get(t, path, master).WantStatus(t, 404)
	}
	r := testkit.Request{Method: "DELETE", Path: "/admin/functions/closed/keys/_Master", Key: master}
	if a := h.Send(t, r).WantStatus(t, 400); a.Body != "Cannot delete System Key." {
		t.Errorf("body %q", a.Body)
	}
	r = testkit.Request{Method: "PUT", Path: "/admin/functions/closed/keys/_master", Key: master, Body: `{"value":"` + strings.Repeat("v", 40) + `"}`}
	h.Send(t, r).WantStatus(t, 400)
}

func TestHostKeysAndFunctionKeysAreTheSame(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	master := h.Master(t)
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/keys/extra", Key: master}).WantStatus(t, 201)
	var a, b keysBody
	h.Get(t, "/admin/host/keys", master).JSON(t, &a)
	h.Get(t, "/admin/host/functionkeys", master).JSON(t, &b)
	if diff := cmp.Diff(a.values(), b.values()); diff != "" || len(a.Keys) != 2 {
		t.Errorf("%+v %s", a, diff)
	}
}

func TestChangedKeyCountsAtOnce(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels()})
	master := h.Master(t)
	old := h.FunctionKey(t, "closed")
	h.Get(t, "/api/closed", old).WantStatus(t, 200)
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/functions/closed/keys/default", Key: master}).WantStatus(t, 200)
	h.Get(t, "/api/closed", old).WantStatus(t, 401)
	now := h.FunctionKey(t, "closed")
	h.Get(t, "/api/closed", now).WantStatus(t, 200)
	h.Send(t, testkit.Request{Method: "DELETE", Path: "/admin/functions/closed/keys/default", Key: master}).WantStatus(t, 204)
	h.Get(t, "/api/closed", now).WantStatus(t, 401)
}

func TestStrictModeRefusesKeysThatAreNotIdentifiable(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels(),
		Settings: map[string]string{"AzureWebJobsFeatureFlags": "StrictHISModeEnabled"}})
	for _, scope := range scopes {
		r := testkit.Request{Method: "PUT", Path: scope.path + "/k", Key: h.Master(t), Body: `{"value":"` + strings.Repeat("v", 56) + `"}`}
		h.Send(t, r).WantStatus(t, 400)
		h.Get(t, scope.path+"/k", h.Master(t)).WantStatus(t, 404)
	}
}

func TestKeyReadsTunnelledThroughARMAreRefused(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	tunnel := map[string]string{"x-ms-arm-request-tracking-id": "1", "X-MS-VIA-EXTENSIONS-ROUTE": "1"}
	legacy := map[string]string{"x-ms-arm-request-tracking-id": "1", "X-MS-VIA-EXTENSIONS-ROUTE": "1", "X-MS-CLIENT-AUTHORIZATION-SOURCE": "Legacy"}
	half := map[string]string{"x-ms-arm-request-tracking-id": "1"}
	for _, scope := range scopes {
		h.Send(t, testkit.Request{Method: "DELETE", Path: scope.path + "/k", Key: h.Master(t), Header: tunnel})
		h.Send(t, testkit.Request{Method: "POST", Path: scope.path + "/k", Key: h.Master(t), Header: tunnel}).WantStatus(t, 201)
		for _, path := range []string{scope.path, scope.path + "/k"} {
			a := h.Send(t, testkit.Request{Path: path, Key: h.Master(t), Header: tunnel}).WantStatus(t, 401)
			const text = "GET requests for this resource via the hostruntime extensions API are not authorized. Please use an alternate first class ARM API."
			if a.Body != text {
				t.Errorf("%s: body %q", path, a.Body)
			}
			h.Send(t, testkit.Request{Path: path, Key: h.Master(t), Header: legacy}).WantStatus(t, 200)
			h.Send(t, testkit.Request{Path: path, Key: h.Master(t), Header: half}).WantStatus(t, 200)
		}
	}
	for path, status := range map[string]int{"/admin/host/ping": 200, "/admin/host/status": 200, "/admin/functions": 200, "/admin/host/config": 200} {
		h.Send(t, testkit.Request{Path: path, Key: h.Master(t), Header: tunnel}).WantStatus(t, status)
	}
	h.Send(t, testkit.Request{Path: "/admin/host/keys", Header: tunnel}).WantStatus(t, http.StatusUnauthorized).WantEmpty(t)
}

func TestAnswersWithKeysAreNotCached(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	for _, scope := range scopes {
		if got := h.Get(t, scope.path, h.Master(t)).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", scope.path, got)
		}
	}
}

func TestLinksDoNotShowTheKeyInTheQuery(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	a := h.Get(t, "/admin/host/functionkeys?code="+h.Master(t), "").WantStatus(t, 200)
	if strings.Contains(a.Body, h.Master(t)) {
		t.Errorf("the master key is in %s", a.Body)
	}
}

func TestMasterKeyIsAskedForByEveryAdminOperation(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	paths := []string{"/admin", "/admin/", "/admin/nosuch", "/admin/host/nosuch", "/admin/vfs/host.json",
		"GET /admin/host/status", "POST /admin/host/restart", "PUT /admin/host/state", "GET /admin/host/config",
		"POST /admin/host/drain", "GET /admin/host/drain/status", "POST /admin/host/resume", "POST /admin/host/log",
		"GET /admin/host/processes", "POST /admin/host/debug", "POST /admin/host/scale/status", "POST /admin/host/synctriggers",
		"GET /admin/functions", "GET /admin/functions/closed", "PUT /admin/functions/x", "DELETE /admin/functions/closed",
		"POST /admin/functions/closed", "GET /admin/functions/closed/status", "GET /admin/functions/download",
		"GET /admin/host/keys", "GET /admin/host/systemkeys/_master", "DELETE /admin/host/keys/default", "GET /admin/functions/closed/keys"}
	keys := map[string]string{"host": h.HostKey(t), "system": h.SystemKey(t, "x"), "unknown": strings.Repeat("x", 56), "none": ""}
	for _, path := range paths {
		method, path, found := strings.Cut(path, " ")
		if !found {
			method, path = "GET", method
		}
		for name, key := range keys {
			status := http.StatusForbidden
			if name == "unknown" || name == "none" {
				status = http.StatusUnauthorized
			}
			a := h.Send(t, testkit.Request{Method: method, Path: path, Key: key})
			if a.Status != status || a.Body != "" {
				t.Errorf("%s %s with %s key: %d %q, want %d", method, path, name, a.Status, a.Body, status)
			}
			if status == 401 && a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: WWW-Authenticate %q", method, path, a.Header.Get("WWW-Authenticate"))
			}
		}
	}
}
