package scmapi_test

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
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/scmapi"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// world is one app "Orders" and everything its endpoints need.
type world struct {
	api      *scmapi.API
	clock    *clock.Manual
	releases *release.Releases

	mu      sync.Mutex
	site    scmapi.Site
	allow   map[string]string // principal → action it may do
	audit   []scmapi.AuditEntry
	logs    *applog.Logs
	waiting chan struct{} // activation waits for it, if set
}

func (w *world) Site(_ context.Context, name string) (scmapi.Site, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.EqualFold(name, w.site.Name) {
		return scmapi.Site{}, problem.New(problem.NotFound, "there is no app of that name")
	}
	return w.site, nil
}

func (w *world) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return authz.Decision{Allowed: w.allow[r.Principal] == r.Action && r.Scope.Equal(w.site.ID)}, nil
}

func (w *world) activate(_ context.Context, _, id, _ string) error {
	if w.waiting != nil {
		<-w.waiting
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.site.Release = id
	return nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))
	w := &world{clock: c, logs: applog.New(c), allow: map[string]string{"deployer": scmapi.PublishAction, "reader": "Microsoft.Web/sites/read"}}
	w.site = scmapi.Site{
		ID: resource.Group("s", "g").Child("Microsoft.Web", "sites", "Orders"), Name: "Orders", Password: "right", BasicAuth: true,
		Settings: map[string]string{"functions_worker_runtime": "node", "DB": "secret", "WEBSITE_RUN_FROM_PACKAGE": "https://x/y?sig=secret"},
	}
	w.releases = release.New(release.Config{Store: memory.New(c), CacheDir: t.TempDir(), Clock: c})
	deployer := release.NewDeployer(release.DeployerConfig{Releases: w.releases, Activate: w.activate})
	t.Cleanup(deployer.Close)
	w.api = scmapi.New(scmapi.Config{
		Domain: "localhost", Sites: w, Deployer: deployer, Releases: w.releases, Authorize: w, Clock: c,
		Wrong: keyring.Budget{Burst: 3, PerSecond: 1}, Logs: func(s scmapi.Site) *applog.Log { return w.logs.Open(s.Name, s.UID) },
		Authenticate: func(_ context.Context, r *http.Request) (string, []string, error) {
			who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if who == "bad" {
				return "", nil, problem.New(problem.Unauthenticated, "the signature is wrong")
			}
			return who, nil, nil
		},
		Audit: func(_ context.Context, e scmapi.AuditEntry) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.audit = append(w.audit, e)
		},
	})
	return w
}

const host = "orders.scm.localhost:7443"

// call makes a request; user:password or a bearer token in auth.
func (w *world) call(method, path, auth string, body []byte, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://"+host+path, bytes.NewReader(body))
	if user, password, ok := strings.Cut(auth, ":"); ok {
		r.SetBasicAuth(user, password)
	} else if auth != "" {
		r.Header.Set("Authorization", "Bearer "+auth)
	}
	for _, do := range edit {
		do(r)
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	return rec
}

func decode[T any](t *testing.T, rec *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return v
}

func appZip(t *testing.T, salt string) []byte {
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
	return b.Bytes()
}

type deployment struct {
	ID       string `json:"id"`
	Status   int    `json:"status"`
	Text     string `json:"status_text"`
	Complete bool   `json:"complete"`
	Active   bool   `json:"active"`
	Message  string `json:"message"`
	Author   string `json:"author"`
	Deployer string `json:"deployer"`
	LogURL   string `json:"log_url"`
	End      string `json:"end_time"`
}

// await polls as clients do until a deployment is over.
func (w *world) await(t *testing.T, path, auth string) deployment {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		rec := w.call("GET", path, auth, nil)
		d := decode[deployment](t, rec)
		if want := map[bool]int{true: 200, false: 202}[d.Complete]; rec.Code != want {
			t.Fatalf("status %d, complete %v", rec.Code, d.Complete)
		}
		if d.Complete {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("not over: %+v", d)
		}
	}
}

// azurerm: warm up with the password, deploy, poll the latest until status 4.
func TestTerraformDeploysAZip(t *testing.T) {
	w := newWorld(t)
	const auth = "$Orders:right"
	if rec := w.call("GET", "/deployments?warmup=true", auth, nil); rec.Code != 200 || rec.Body.String() != "[]" {
		t.Errorf("warm-up: %d %s", rec.Code, rec.Body)
	}
	w.waiting = make(chan struct{})
	rec := w.call("POST", "/api/zipdeploy?isAsync=true", auth, appZip(t, "1"))
	if rec.Code != 202 || rec.Header().Get("Location") != "https://"+host+"/api/deployments/latest" {
		t.Fatalf("deploy: %d %s %v", rec.Code, rec.Body, rec.Header())
	}
	if d := decode[deployment](t, w.call("GET", "/api/deployments/latest", auth, nil)); d.Status == 4 || d.Complete {
		t.Errorf("before the app was told: %+v", d)
	}
	if rec := w.call("POST", "/api/zipdeploy?isAsync=true", auth, appZip(t, "2")); rec.Code != 409 {
		t.Errorf("a second one meanwhile: %d %s", rec.Code, rec.Body)
	}
	if busy := decode[struct{ Value bool }](t, w.call("GET", "/api/isdeploying", auth, nil)); !busy.Value {
		t.Error("isdeploying says no")
	}
	close(w.waiting)
	w.await(t, "/api/deployments/latest", auth)
	// The answer that says it is over may have read the app before it was told.
	d := decode[deployment](t, w.call("GET", "/api/deployments/latest", auth, nil))
	if d.Status != 4 || !d.Active || d.Deployer != "ZipDeploy" || d.Author != "N/A" || d.End == "" {
		t.Errorf("latest: %+v", d)
	}
	if busy := decode[struct{ Value bool }](t, w.call("GET", "/api/isdeploying", auth, nil)); busy.Value {
		t.Error("isdeploying says yes")
	}
}

// func: settings, publish with a token, the newest of the list, its state, its log.
func TestCoreToolsPublish(t *testing.T) {
	w := newWorld(t)
	const auth = "deployer"
	settings := decode[map[string]string](t, w.call("GET", "/api/settings", auth, nil))
	if len(settings) != 1 || settings["FUNCTIONS_WORKER_RUNTIME"] != "node" {
		t.Errorf("settings: %v", settings)
	}
	rec := w.call("POST", "/api/publish?isAsync=true&author=laptop&Deployer=core_tools&", auth, appZip(t, "1"), func(r *http.Request) { r.Header.Set("If-Match", "*") })
	if rec.Code != 202 {
		t.Fatalf("publish: %d %s", rec.Code, rec.Body)
	}
	id := decode[string](t, rec)
	for _, prefix := range []string{"", "/api"} { // clients use both
		list := decode[[]deployment](t, w.call("GET", prefix+"/deployments", auth, nil))
		if len(list) != 1 || list[0].ID != id {
			t.Fatalf("list: %+v", list)
		}
		d := w.await(t, prefix+"/deployments/"+id, auth)
		if d.Status != 4 || d.Author != "laptop" || d.Deployer != "core_tools" {
			t.Errorf("deployment: %+v", d)
		}
		lines := decode[[]struct {
			Time    time.Time `json:"log_time"`
			Message string    `json:"message"`
		}](t, w.call("GET", prefix+"/deployments/"+id+"/log", auth, nil))
		if len(lines) < 3 || lines[len(lines)-1].Message != "Deployment successful." || lines[0].Time.IsZero() {
			t.Errorf("log: %+v", lines)
		}
	}
	if rec := w.call("POST", "/api/publish?RemoteBuild=True", auth, appZip(t, "1")); rec.Code != 400 || !strings.Contains(rec.Body.String(), "--build local") {
		t.Errorf("remote build: %d %s", rec.Code, rec.Body)
	}
}

func TestWithoutAsyncTheAnswerComesWhenTheAppWasTold(t *testing.T) {
	w := newWorld(t)
	first := decode[string](t, w.call("POST", "/api/zipdeploy?message=first", "deployer", appZip(t, "1")))
	if w.site.Release != first {
		t.Errorf("active: %q", w.site.Release)
	}
	second := decode[string](t, w.call("PUT", "/api/ZipDeploy/", "deployer", appZip(t, "2")))
	list := decode[[]deployment](t, w.call("GET", "/api/deployments", "deployer", nil))
	if len(list) != 2 || list[0].ID != second || !list[0].Active || list[1].Active || list[1].Message != "first" {
		t.Errorf("list: %+v", list)
	}
	if rec := w.call("PUT", "/api/deployments/"+first, "deployer", nil); rec.Code != 200 || w.site.Release != first {
		t.Errorf("going back: %d %s", rec.Code, rec.Body)
	}
}

func TestABadPackageIsTheCallersFault(t *testing.T) {
	w := newWorld(t)
	rec := w.call("POST", "/api/zipdeploy", "deployer", []byte("no zip"))
	if rec.Code != 400 || !strings.Contains(rec.Body.String(), "zip") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("POST", "/api/zipdeploy?isAsync=true", "deployer", []byte("no zip")); rec.Code != 202 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if d := w.await(t, "/api/deployments/latest", "deployer"); d.Status != 3 || d.Active || !strings.Contains(d.Text, "zip") {
		t.Errorf("latest: %+v", d)
	}
	if rec := w.call("POST", "/api/zipdeploy?packageUri=https://x/y.zip", "deployer", nil); rec.Code != 400 {
		t.Errorf("package by address: %d", rec.Code)
	}
}

func TestWhoMayDeploy(t *testing.T) {
	tests := []struct {
		name   string
		auth   string
		change func(*scmapi.Site)
		want   int
	}{
		{"nothing", "", nil, 401},
		{"password", "$Orders:right", nil, 200},
		{"user in another case", "$orders:right", nil, 200},
		{"user of a publish profile", `Orders\$Orders:right`, nil, 200},
		{"wrong password", "$Orders:wrong", nil, 401},
		{"empty password", "$Orders:", nil, 401},
		{"no password set", "$Orders:", func(s *scmapi.Site) { s.Password = "" }, 401},
		{"user of another app", "$other:right", nil, 401},
		{"no user", ":right", nil, 401},
		{"passwords switched off", "$Orders:right", func(s *scmapi.Site) { s.BasicAuth = false }, 401},
		{"token", "deployer", nil, 200},
		{"token with passwords switched off", "deployer", func(s *scmapi.Site) { s.BasicAuth = false }, 200},
		{"token that may only read", "reader", nil, 403},
		{"token that is not valid", "bad", nil, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.change != nil {
				tt.change(&w.site)
			}
			rec := w.call("GET", "/api/deployments", tt.auth, nil)
			if rec.Code != tt.want {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			if refused := rec.Code != 200; refused != (len(w.audit) == 1) {
				t.Errorf("audit: %+v", w.audit)
			}
			if rec.Code == 401 && !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Basic") {
				t.Error("no challenge")
			}
			if strings.Contains(rec.Body.String(), "right") {
				t.Error("the password is in the answer")
			}
		})
	}
}

func TestWrongPasswordsAreSlowedDown(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if rec := w.call("GET", "/api/deployments", "$Orders:wrong", nil); rec.Code != 401 {
			t.Fatalf("%d", rec.Code)
		}
	}
	rec := w.call("GET", "/api/deployments", "$Orders:right", nil)
	if rec.Code != 429 || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("after too many: %d, retry %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	if rec := w.call("GET", "/api/deployments", "deployer", nil); rec.Code != 200 {
		t.Errorf("a token meanwhile: %d", rec.Code)
	}
	if rec := w.call("GET", "/api/deployments", "$Orders:right", nil, func(r *http.Request) { r.RemoteAddr = "198.51.100.7:1" }); rec.Code != 200 {
		t.Errorf("from elsewhere: %d", rec.Code)
	}
	w.clock.Advance(5 * time.Second)
	if rec := w.call("GET", "/api/deployments", "$Orders:right", nil); rec.Code != 200 {
		t.Errorf("later: %d", rec.Code)
	}
}

func TestPagesOfOtherSitesCannotDeploy(t *testing.T) {
	w := newWorld(t)
	rec := w.call("POST", "/api/zipdeploy", "$Orders:right", appZip(t, "1"), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if rec.Code != 403 || w.site.Release != "" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestWhatDoesNotExist(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/api/deployments/latest", 404},
		{"GET", "/api/deployments/../x", 404},
		{"GET", "/api/deployments/x/log", 404},
		{"GET", "/api/vfs/", 404},
		{"DELETE", "/api/zipdeploy", 405},
		{"GET", "/api/zipdeploy", 405},
		{"GET", "/api/scm/info", 200},
		{"GET", "/api/environment", 200},
		{"GET", "/", 200},
	}
	for _, tt := range tests {
		if rec := w.call(tt.method, tt.path, "deployer", nil); rec.Code != tt.want {
			t.Errorf("%s %s: %d", tt.method, tt.path, rec.Code)
		}
	}
	other := func(r *http.Request) { r.Host = "other.scm.localhost" }
	if rec := w.call("GET", "/", "deployer", nil, other); rec.Code != 404 {
		t.Errorf("another app: %d", rec.Code)
	}
}

func TestAppOf(t *testing.T) {
	for host, want := range map[string]string{
		"orders.scm.localhost:7443": "orders", "ORDERS.SCM.LOCALHOST": "orders", "orders.scm.localhost.": "orders",
		"orders.localhost:7443": "", "scm.localhost": "", ".scm.localhost": "", "a.b.scm.localhost": "", "localhost:7443": "", "": "",
	} {
		app, ok := scmapi.AppOf(host, "localhost")
		if ok != (want != "") || ok && app != want {
			t.Errorf("%q: %q, %v", host, app, ok)
		}
	}
}
