package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
)

const (
	testSub = "11111111-2222-3333-4444-555555555555"
	version = "?api-version=2024-03-01"
)

// fixture is an API with everything around it made up.
type fixture struct {
	api  *API
	log  bytes.Buffer
	mu   sync.Mutex
	seen []AuditEntry
	fail error           // of the audit
	ask  []authz.Request // what authorisation was asked
}

func (f *fixture) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ask = append(f.ask, r)
	switch r.Principal {
	case "owner":
		return authz.Decision{Allowed: true}, nil
	case "unlucky":
		return authz.Decision{}, io.ErrUnexpectedEOF
	}
	return authz.Decision{Reason: "no role is assigned at this scope or above it"}, nil
}

// authenticate takes the token for the object id.
func authenticate(_ context.Context, r *http.Request) (Caller, error) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !bearer:
		return Caller{}, InvalidToken(`the Authorization header is no "Bearer" token`)
	case token == "revoked":
		return Caller{}, RevokedToken("the access token was revoked")
	case token == "expired":
		return Caller{}, ExpiredToken("the access token has expired")
	}
	return Caller{ObjectID: token, AppID: "app-" + token, Groups: []string{"readers"}}, nil
}

func newFixture(t testing.TB, ops ...Operation) *fixture {
	t.Helper()
	f := &fixture{}
	api, err := New(Config{
		Authenticate: authenticate, Authorize: f, SubscriptionID: testSub,
		Audit: func(_ context.Context, e AuditEntry) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seen = append(f.seen, e)
			return f.fail
		},
		LoginURL: func(host string) string { return "https://" + host + "/tenant" },
		Log:      slog.New(slog.NewTextHandler(&f.log, nil)),
		Clock:    clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)),
	}, ops...)
	if err != nil {
		t.Fatal(err)
	}
	f.api = api
	return f
}

// call makes a call as the owner.
func (f *fixture) call(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://localhost:7443/", strings.NewReader(body))
	u, err := url.ParseRequestURI(target) // as the server does
	if err != nil {
		panic(err)
	}
	r.URL = u
	r.Header.Set("Authorization", "Bearer owner")
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// code gives the error code of an answer.
func code(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d: %s: %v", w.Code, w.Body, err)
	}
	return body.Error.Code
}

// echo answers what the router made of the path.
func echo(c *Call) (Reply, error) {
	return OK(map[string]any{"pattern": c.Pattern, "scope": c.Scope.String(), "params": c.Params}), nil
}

const group = "/subscriptions/{sub}/resourceGroups/{group}"

// operations are like those of the real providers.
func operations() []Operation {
	site := group + "/providers/Microsoft.Web/sites/{site}"
	return []Operation{
		{Method: "GET", Pattern: "/public", Action: Public, Handler: echo},
		{Method: "GET", Pattern: "/open", Action: Open, Handler: echo},
		{Method: "GET", Pattern: group, Handler: echo},
		{Method: "PUT", Pattern: group, Handler: echo},
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/{namespace}", Handler: echo},
		{Method: "POST", Pattern: "/subscriptions/{sub}/providers/{namespace}/register", Handler: echo},
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/Microsoft.Web/sites", Handler: echo},
		{Method: "GET", Pattern: group + "/providers/Microsoft.Web/sites", Handler: echo},
		{Method: "GET", Pattern: site, Handler: echo},
		{Method: "PUT", Pattern: site, Handler: echo},
		{Method: "DELETE", Pattern: site, Handler: echo},
		{Method: "POST", Pattern: site + "/syncfunctiontriggers", Handler: echo},
		{Method: "POST", Pattern: site + "/config/appsettings/list", Handler: echo, Secret: true},
		{Method: "PUT", Pattern: site + "/config/appsettings", Handler: echo},
		{Method: "GET", Pattern: site + "/config/{name}", Handler: echo},
		{Method: "POST", Pattern: site + "/host/default/listkeys", Handler: echo, Secret: true},
		{Method: "PUT", Pattern: site + "/host/default/functionKeys/{key}", Scope: 8, Handler: echo},
		{Method: "GET", Pattern: "{scope}/providers/Microsoft.Authorization/roleAssignments", Handler: echo},
		{Method: "PUT", Pattern: "{scope}/providers/Microsoft.Authorization/roleAssignments/{name}", Handler: echo},
	}
}
