package functions_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	keys "github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	subscription = "00000000-0000-0000-0000-000000000001"
	site         = "/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.Web/sites/Orders"
)

// world is one app "Orders", which nothing runs, and its part of the API.
type world struct {
	api      http.Handler
	app      functions.App
	ring     *keyring.Ring
	rings    atomic.Int32 // how often the ring was asked for
	releases *release.Releases
	allow    map[string][]string
	writing  sync.Mutex // of audit
	audit    []arm.AuditEntry
}

func (w *world) App(_ context.Context, id resource.ID) (functions.App, error) {
	if !id.Equal(w.app.ID) {
		return functions.App{}, problem.New(problem.NotFound, "there is no such app")
	}
	return w.app, nil
}

func (w *world) SetSetting(_ context.Context, _ resource.ID, _, name string, value *string) error {
	delete(w.app.Settings, name)
	if value != nil {
		w.app.Settings[name] = *value
	}
	return nil
}

func (w *world) Ring(_ context.Context, app string) (*keyring.Ring, error) {
	if app != "Orders" {
		return nil, problem.New(problem.NotFound, "no ring")
	}
	w.rings.Add(1)
	return w.ring, nil
}

func (w *world) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	for _, pattern := range w.allow[r.Principal] {
		if pattern == "*" || strings.EqualFold(pattern, r.Action) ||
			pattern == "*/read" && strings.HasSuffix(strings.ToLower(r.Action), "/read") {
			return authz.Decision{Allowed: true}, nil
		}
	}
	return authz.Decision{}, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))
	id, err := resource.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		app:   functions.App{ID: id, Name: "Orders", Location: "local", URL: "http://orders.localhost:7071", Settings: map[string]string{}},
		allow: map[string][]string{"owner": {"*"}, "reader": {"*/read"}, "keymaker": {"Microsoft.Web/sites/host/functionkeys/write"}},
	}
	if w.ring, err = keyring.New(keyring.Config{Store: keys.New(), Clock: c, TagKey: []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.ring.Close)
	w.releases = release.New(release.Config{Store: memory.New(c), CacheDir: t.TempDir(), Clock: c, Inspect: inspect})
	activate := func(_ context.Context, _, id, _ string) error { w.app.Release = id; return nil }
	deployer := release.NewDeployer(release.DeployerConfig{Releases: w.releases, Activate: activate})
	t.Cleanup(deployer.Close)
	provider := functions.New(functions.Config{Apps: w, Rings: w, Releases: w.releases, Deployer: deployer,
		AdminToken: func(context.Context, functions.App) (string, error) { return "token.of.app", nil }})
	w.api, err = arm.New(arm.Config{
		Authorize: w, SubscriptionID: subscription, Clock: c,
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}, nil
		},
		Audit: func(_ context.Context, e arm.AuditEntry) error {
			w.writing.Lock()
			defer w.writing.Unlock()
			w.audit = append(w.audit, e)
			return nil
		},
	}, provider.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func inspect(context.Context, string) ([]release.Function, []string, error) {
	return []release.Function{
		{Name: "Hello", Language: "node", Trigger: "httpTrigger", Route: "api/hello/{name?}", AuthLevel: "function",
			Config: json.RawMessage(`{"bindings":[{"type":"httpTrigger","authLevel":"function","name":"req"}]}`)},
		{Name: "tick", Trigger: "timerTrigger", Disabled: true},
	}, nil, nil
}

// call makes a request as a principal.
func (w *world) call(who, method, path, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://localhost:7443"+path+"?api-version=2023-12-01", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+who)
	r.Header.Set("Content-Type", "application/json")
	for _, do := range edit {
		do(r)
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	return rec
}

// want makes a request as the owner and checks status and body; "" is no body,
// "*" any.
func (w *world) want(t *testing.T, method, path, body string, status int, want string) *httptest.ResponseRecorder {
	t.Helper()
	rec := w.call("owner", method, path, body)
	if rec.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, rec.Code, rec.Body, status)
	}
	switch want {
	case "*":
	case "":
		if rec.Body.Len() > 0 {
			t.Errorf("%s %s: body %s", method, path, rec.Body)
		}
	default:
		if diff := cmp.Diff(tree(t, want), tree(t, rec.Body.String())); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", method, path, diff)
		}
	}
	return rec
}

func tree(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func appZip(t *testing.T, salt string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range map[string]string{"host.json": "{}", "salt": salt} {
		out, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(out, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func binary(r *http.Request) { r.Header.Set("Content-Type", "application/zip") }

// deploy sends a zip by the management API.
func (w *world) deploy(t *testing.T, salt string) {
	t.Helper()
	rec := w.call("owner", "PUT", site+"/extensions/onedeploy", appZip(t, salt), binary)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"provisioningState":"Succeeded"`) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
}

func TestFunctionsAreThoseOfTheActiveRelease(t *testing.T) {
	w := newWorld(t)
	w.want(t, "GET", site+"/functions", "", 200, `{"value":[],"nextLink":null}`)
	w.want(t, "GET", site+"/functions/hello", "", 404, "*")
	w.deploy(t, "1")
	hello := `{"id":"` + site + `/functions/Hello","name":"Orders/Hello","type":"Microsoft.Web/sites/functions","location":"local","properties":{
		"name":"Hello","function_app_id":null,"script_root_path_href":"http://orders.localhost:7071/admin/vfs/site/wwwroot/Hello/",
		"script_href":null,"config_href":"http://orders.localhost:7071/admin/vfs/site/wwwroot/Hello/function.json","test_data_href":null,
		"secrets_file_href":null,"href":"http://orders.localhost:7071/admin/functions/Hello",
		"config":{"bindings":[{"type":"httpTrigger","authLevel":"function","name":"req"}]},"files":null,"test_data":"",
		"invoke_url_template":"http://orders.localhost:7071/api/hello/{name?}","language":"node","isDisabled":false}}`
	w.want(t, "GET", site+"/functions/HELLO", "", 200, hello)
	list := w.want(t, "GET", strings.ToLower(site)+"/functions/", "", 200, "*").Body.String()
	if !strings.Contains(list, `"Orders/tick"`) || !strings.Contains(list, `"invoke_url_template":null`) {
		t.Errorf("list: %s", list)
	}
	w.want(t, "GET", site+"/functions/none", "", 404, "*")
	w.want(t, "PUT", site+"/functions/new", `{"properties":{}}`, 400, "*")
	w.want(t, "DELETE", site+"/functions/hello", "", 400, "*")
	w.want(t, "DELETE", site+"/functions/none", "", 404, "*")
	w.want(t, "GET", strings.Replace(site, "Orders", "other", 1)+"/functions", "", 404, "*")
}

func TestAFunctionIsSwitchedOffBySetting(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	path := site + "/functions/hello/properties/state"
	state := func(s string) string {
		return `{"id":"` + site + `/functions/Hello/properties/state","name":"state","type":"Microsoft.Web/sites/functions/properties","location":"local","properties":"` + s + `"}`
	}
	w.want(t, "GET", path, "", 200, state("enabled"))
	w.want(t, "PUT", path, `{"properties":"disabled"}`, 200, state("disabled"))
	w.want(t, "GET", path, "", 200, state("disabled"))
	if w.app.Settings["AzureWebJobs.Hello.Disabled"] != "true" {
		t.Errorf("settings: %v", w.app.Settings)
	}
	w.want(t, "PUT", path, `{"properties":"enabled"}`, 200, state("enabled"))
	w.want(t, "PUT", path, `{"properties":"off"}`, 400, "*")
	w.want(t, "PUT", site+"/functions/tick/properties/state", `{"properties":"enabled"}`, 409, "*")
}

func TestHostKeys(t *testing.T) {
	w := newWorld(t)
	listed := w.want(t, "POST", site+"/host/default/listKeys", "", 200, "*").Body.String()
	var all struct {
		MasterKey                string
		FunctionKeys, SystemKeys map[string]string
	}
	if err := json.Unmarshal([]byte(listed), &all); err != nil || len(all.MasterKey) != 56 || len(all.FunctionKeys["default"]) != 56 || all.SystemKeys == nil {
		t.Errorf("listed: %s, %v", listed, err)
	}
	key := func(typ, value string) string {
		return `{"id":"` + site + `/host/default/` + typ + `/k","name":"k","type":"Microsoft.Web/sites/host/` + typ + `","location":"local",
			"properties":{"name":"k","value":"` + value + `"},"value":"` + value + `"}`
	}
	path := site + "/host/default/functionKeys/k"
	w.want(t, "PUT", path, `{"properties":{"name":"k","value":"v1"}}`, 201, key("functionKeys", "v1"))
	w.want(t, "PUT", site+"/HOST/default/functionkey/k/", `{"name":"k","value":"v2"}`, 200, key("functionKeys", "v2"))
	w.want(t, "PUT", site+"/host/default/SYSTEMKEYS/k", `{"properties":{"name":"other","value":"v3"}}`, 201, key("systemKeys", "v3"))
	w.want(t, "PUT", site+"/host/default/systemKey/k", `{"value":"v4"}`, 200, key("systemKeys", "v4"))
	for _, body := range []string{"", "{}", `{"properties":{"name":"k","value":null}}`, `{"properties":null}`} {
		rec := w.want(t, "PUT", path, body, 200, "*")
		var got struct{ Value string }
		if json.Unmarshal(rec.Body.Bytes(), &got) != nil || len(got.Value) != 56 {
			t.Errorf("body %s: %s", body, rec.Body)
		}
	}
	w.want(t, "PUT", path, `{"properties":{"value":""}}`, 400, "*")
	w.want(t, "PUT", path, `{"properties":{"value":5}}`, 400, "*")
	w.want(t, "DELETE", path, "", 204, "")
	w.want(t, "DELETE", path, "", 404, "*")
	w.want(t, "DELETE", site+"/host/default/systemkeys/k", "", 204, "")
	w.want(t, "PUT", site+"/host/default/otherKeys/k", `{"value":"x"}`, 404, "*")
}

func TestTheMasterKeyIsSetByItsOwnTypeOnly(t *testing.T) {
	w := newWorld(t)
	for _, typ := range []string{"masterKey", "MASTERKEYS"} {
		w.want(t, "PUT", site+"/host/default/"+typ+"/_master", `{"properties":{"value":"m"}}`, 200,
			`{"id":"`+site+`/host/default/masterKey/_master","name":"_master","type":"Microsoft.Web/sites/host/masterKey","location":"local",
			"properties":{"name":"_master","value":"m"},"value":"m"}`)
	}
	w.want(t, "PUT", site+"/host/default/masterKey/_master", "", 200, "*") // generated
	w.want(t, "PUT", site+"/host/default/masterKey/other", "", 400, "*")
	w.want(t, "DELETE", site+"/host/default/masterKey/_master", "", 400, "*")
	for _, typ := range []string{"functionKeys", "systemKeys"} {
		w.want(t, "PUT", site+"/host/default/"+typ+"/_MASTER", `{"value":"mine"}`, 400, "*")
	}
	if rec := w.call("keymaker", "PUT", site+"/host/default/masterKey/_master", `{"value":"mine"}`); rec.Code != 403 {
		t.Errorf("who may write function keys sets the master key: %d", rec.Code)
	}
	if rec := w.call("keymaker", "PUT", site+"/host/default/functionKeys/k", `{"value":"mine"}`); rec.Code != 201 {
		t.Errorf("who may write function keys: %d %s", rec.Code, rec.Body)
	}
}

func TestFunctionKeys(t *testing.T) {
	w := newWorld(t)
	w.want(t, "POST", site+"/functions/hello/listkeys", "", 404, "*") // nothing deployed
	w.deploy(t, "1")
	path := site + "/functions/hello/keys/"
	w.want(t, "PUT", path+"a", `{"properties":{"name":"a","value":"v"}}`, 201,
		`{"id":"`+site+`/functions/Hello/keys/a","name":"a","type":"Microsoft.Web/sites/functions/keys","location":"local","properties":{"name":"a","value":"v"},"value":"v"}`)
	w.want(t, "PUT", path+"a", `{"name":"a","value":"w"}`, 200, "*")
	listed := w.want(t, "POST", site+"/functions/Hello/listKeys", "", 200, "*").Body.String()
	if !strings.HasPrefix(listed, `{"default":"`) || !strings.HasSuffix(listed, `,"a":"w"}`) {
		t.Errorf("listed, default first: %s", listed)
	}
	if legacy := w.want(t, "GET", site+"/functions/hello/keys", "", 200, "*").Body.String(); !strings.Contains(legacy, `{"name":"a","value":"w"}`) {
		t.Errorf("legacy list: %s", legacy)
	}
	secrets := w.want(t, "POST", site+"/functions/hello/listsecrets", "", 200, "*").Body.String()
	if !strings.Contains(secrets, `"trigger_url":"http://orders.localhost:7071/api/hello/{name?}?code=`) {
		t.Errorf("secrets: %s", secrets)
	}
	w.want(t, "PUT", path+"_master", `{"value":"x"}`, 400, "*")
	w.want(t, "DELETE", path+"a", "", 204, "")
	w.want(t, "DELETE", path+"a", "", 404, "*")
	w.want(t, "PUT", site+"/functions/none/keys/a", `{"value":"x"}`, 404, "*")
	w.want(t, "DELETE", site+"/functions/none/keys/a", "", 404, "*")
}

func TestARotatedKeyCountsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	opens := func(value string) bool {
		list, err := w.ring.Merged(t.Context(), "hello")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			if k.Value == value {
				return true
			}
		}
		return false
	}
	path := site + "/functions/hello/keys/client"
	var old, renewed struct{ Value string }
	if err := json.Unmarshal(w.want(t, "PUT", path, "", 201, "*").Body.Bytes(), &old); err != nil || !opens(old.Value) {
		t.Fatalf("the new key does not open: %v", err)
	}
	if err := json.Unmarshal(w.want(t, "PUT", path, "", 200, "*").Body.Bytes(), &renewed); err != nil || !opens(renewed.Value) || opens(old.Value) {
		t.Errorf("rotation is not seen: %v", err)
	}
	w.want(t, "DELETE", path, "", 204, "")
	if opens(renewed.Value) {
		t.Error("the deleted key opens")
	}
}

func TestReadersSeeNoSecrets(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	w.rings.Store(0)
	for _, op := range [][2]string{
		{"POST", "/host/default/listkeys"}, {"POST", "/functions/hello/listkeys"}, {"GET", "/functions/hello/keys"},
		{"POST", "/functions/hello/listsecrets"}, {"GET", "/functions/admin/token"},
		{"PUT", "/host/default/functionKeys/k"}, {"DELETE", "/host/default/functionKeys/k"}, {"PUT", "/functions/hello/keys/k"},
		{"PUT", "/extensions/onedeploy"}, {"PUT", "/functions/hello/properties/state"},
	} {
		if rec := w.call("reader", op[0], site+op[1], ""); rec.Code != 403 {
			t.Errorf("%v: %d %s", op, rec.Code, rec.Body)
		}
	}
	for _, path := range []string{"/functions", "/functions/hello", "/deployments", "/releases", "/host/default/properties/status"} {
		if rec := w.call("reader", "GET", site+path, ""); rec.Code != 200 {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if w.rings.Load() != 0 {
		t.Errorf("keys were read %d times", w.rings.Load())
	}
	w.audit = nil
	w.want(t, "POST", site+"/host/default/listkeys", "", 200, "*")
	w.want(t, "GET", site+"/functions/admin/token", "", 200, `"token.of.app"`)
	for _, e := range w.audit {
		if !e.Secret {
			t.Errorf("not recorded as a read of secrets: %+v", e)
		}
	}
}

func TestDeploymentsAndGoingBack(t *testing.T) {
	w := newWorld(t)
	w.want(t, "GET", site+"/deployments", "", 200, `{"value":[],"nextLink":null}`)
	w.want(t, "GET", site+"/deployments/latest", "", 404, "*")
	w.deploy(t, "1")
	first := w.app.Release
	w.deploy(t, "2")
	second := w.app.Release
	latest := w.want(t, "GET", site+"/deployments/latest", "", 200, "*").Body.String()
	for _, part := range []string{`"id":"` + site + `/deployments/` + second + `"`, `"status":4`, `"active":true`, `"deployer":"onedeploy"`} {
		if !strings.Contains(latest, part) {
			t.Errorf("latest has no %s: %s", part, latest)
		}
	}
	if s := w.want(t, "GET", site+"/deploymentStatus/"+second, "", 200, "*").Body.String(); !strings.Contains(s, `"status":"RuntimeSuccessful"`) {
		t.Errorf("status: %s", s)
	}
	back := w.want(t, "POST", site+"/releases/"+first+"/activate", "", 200, "*").Body.String()
	if w.app.Release != first || !strings.Contains(back, `"active":true`) {
		t.Errorf("after going back: %s, %s", w.app.Release, back)
	}
	w.want(t, "POST", site+"/releases/20200101-000000.000-00000000/activate", "", 404, "*")
	bad := w.call("owner", "PUT", site+"/extensions/zipdeploy", "no zip", binary)
	if bad.Code != 400 {
		t.Errorf("%d %s", bad.Code, bad.Body)
	}
	failed := w.want(t, "GET", site+"/releases", "", 200, "*").Body.String()
	if !strings.Contains(failed, `"status":"Failed"`) {
		t.Errorf("releases: %s", failed)
	}
	if s := w.want(t, "GET", site+"/deploymentStatus/latest", "", 200, "*").Body.String(); !strings.Contains(s, `"status":"BuildFailed"`) {
		t.Errorf("status: %s", s)
	}
	w.want(t, "POST", site+"/releases/latest/activate", "", 409, "*")
}

func TestPackagesAreNotFetched(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]string{
		`{"properties":{"packageUri":"https://x/y.zip"}}`:        "not fetched",
		`{"properties":{"packageUri":"http://169.254.169.254"}}`: "https://",
		`{"packageUri":"file:///etc/passwd"}`:                    "https://",
		`{}`:                                                     "no packageUri",
	} {
		rec := w.want(t, "PUT", site+"/extensions/MSDeploy", body, 400, "*")
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %s", body, rec.Body)
		}
	}
}
