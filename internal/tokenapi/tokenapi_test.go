package tokenapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
)

const (
	tenant = "11111111-1111-4111-8111-111111111111"
	app    = "33333333-3333-4333-8333-333333333333"
	nobody = "44444444-4444-4444-8444-444444444444"
	host   = "localhost:7443"
	arm    = "https://management.azure.com"
	v2     = "/" + tenant + "/oauth2/v2.0/token"
	v1     = "/" + tenant + "/oauth2/token"
)

var start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)

// fixture is a token service with one principal.
type fixture struct {
	http.Handler
	clock     *clock.Manual
	store     *memory.Store
	directory *identity.Directory
	authority *token.Authority
	principal identity.Principal
	secret    string
	secretID  string

	mu     sync.Mutex
	events []Event
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	c := clock.NewManual(start)
	f := &fixture{clock: c, store: memory.New(c)}
	f.directory = identity.New(f.store, c)
	log := slog.New(slog.DiscardHandler)
	var err error
	f.authority, err = token.New(token.Config{Store: f.store, Clock: c, Log: log, TenantID: tenant, Active: f.directory.Accepts})
	must(t, err)
	cfg := Config{
		Directory: f.directory, Authority: f.authority, TenantID: tenant, Clock: c, Log: log,
		OnEvent: func(e Event) { f.mu.Lock(); defer f.mu.Unlock(); f.events = append(f.events, e) },
	}
	for _, g := range change {
		g(&cfg)
	}
	f.Handler = New(cfg)
	f.principal, err = f.directory.Create(t.Context(), identity.Principal{AppID: app, Name: "orders", Kind: identity.ServicePrincipal})
	must(t, err)
	var s identity.Secret
	f.secret, s, err = f.directory.AddSecret(t.Context(), f.principal.ObjectID, "first", 30*24*time.Hour)
	f.secretID = s.ID
	must(t, err)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// form gives the parameters of a good request, changed by pairs of name and value;
// the value "-" takes one away.
func (f *fixture) form(pairs ...string) url.Values {
	v := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {f.secret},
		"scope": {arm + "/.default openid offline_access profile"}, "resource": {arm + "/"}, "client_info": {"1"},
	}
	for pair := range slices.Chunk(pairs, 2) {
		if v.Set(pair[0], pair[1]); pair[1] == "-" {
			v.Del(pair[0])
		}
	}
	return v
}

// post sends a token request; edit may change it.
func (f *fixture) post(path string, body url.Values, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "https://"+host+path, strings.NewReader(body.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", "https://"+host+path, nil))
	return w
}

func decode(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v: %v in %s", w.Code, w.Header(), err, w.Body)
	}
	return m
}

// code gives the AADSTS code of an answer; 0 for success.
func code(t testing.TB, w *httptest.ResponseRecorder) int {
	t.Helper()
	m := decode(t, w)
	if w.Code == http.StatusOK {
		return 0
	}
	n := int(m["error_codes"].([]any)[0].(float64))
	if !strings.HasPrefix(m["error_description"].(string), fmt.Sprintf("AADSTS%d: ", n)) {
		t.Errorf("description %q", m["error_description"])
	}
	return n
}

func (f *fixture) lastEvent(t testing.TB) Event {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		t.Fatal("there was no event")
	}
	return f.events[len(f.events)-1]
}

func TestTokensOfBothEndpoints(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		path, aud string
		body      url.Values
		want      map[string]any
	}{
		{v2, arm, f.form(), map[string]any{"token_type": "Bearer", "expires_in": 3600.0, "ext_expires_in": 3600.0}},
		{v2, arm + "/", f.form("scope", arm+"//.default"), map[string]any{"token_type": "Bearer", "expires_in": 3600.0, "ext_expires_in": 3600.0}},
		{v1, arm + "/", f.form(), map[string]any{
			"token_type": "Bearer", "expires_in": "3600", "ext_expires_in": "3600",
			"expires_on": fmt.Sprint(start.Unix() + 3600), "not_before": fmt.Sprint(start.Unix() - 300), "resource": arm + "/",
		}},
	} {
		w := f.post(tt.path, tt.body)
		m := decode(t, w)
		raw, _ := m["access_token"].(string)
		delete(m, "access_token")
		if diff := cmp.Diff(tt.want, m); diff != "" || w.Code != 200 {
			t.Errorf("%s: %d, %s", tt.path, w.Code, diff)
		}
		v, err := f.authority.Verify(t.Context(), raw, token.Expect{Audiences: []string{arm}})
		if err != nil || v.Audience != tt.aud || v.ObjectID != f.principal.ObjectID || v.Proof != token.ProofSecret {
			t.Errorf("%s: %+v, %v", tt.path, v, err)
		}
		e := f.lastEvent(t)
		want := Event{
			Time: start, Granted: true, AppID: app, ObjectID: f.principal.ObjectID, Name: "orders", Method: "secret", CredentialID: f.secretID,
			Audience: tt.aud, TokenID: v.ID, Source: "192.0.2.1", TraceID: w.Header().Get("x-ms-request-id"), CorrelationID: e.CorrelationID,
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Error(diff)
		}
	}
}

func TestErrorsHaveTheCloudsForm(t *testing.T) {
	f := newFixture(t)
	const correlation = "55555555-5555-4555-8555-555555555555"
	w := f.post(v2, f.form("client_secret", "wrong"), func(r *http.Request) {
		r.Header.Set("client-request-id", correlation)
		r.Header.Set("return-client-request-id", "true")
	})
	m, trace := decode(t, w), w.Header().Get("x-ms-request-id")
	want := map[string]any{
		"error": "invalid_client",
		"error_description": "AADSTS7000215: Invalid client secret provided. Ensure that the secret's value is sent, not its ID, for a secret of app '" + app +
			"'. Trace ID: " + trace + " Correlation ID: " + correlation + " Timestamp: 2030-01-01 10:00:00Z",
		"error_codes": []any{7000215.0}, "timestamp": "2030-01-01 10:00:00Z", "trace_id": trace, "correlation_id": correlation,
		"error_uri": "https://login.microsoftonline.com/error?code=7000215",
	}
	if diff := cmp.Diff(want, m); diff != "" || w.Code != 401 || w.Header().Get("client-request-id") != correlation || len(trace) != 36 {
		t.Errorf("%d %v: %s", w.Code, w.Header(), diff)
	}
	if e := f.lastEvent(t); e.Granted || e.Code != 7000215 || e.Reason != "wrong secret" || e.AppID != app || e.ObjectID != "" || e.CorrelationID != correlation {
		t.Errorf("event %+v", e)
	}
}

func TestRefusedRequests(t *testing.T) {
	f := newFixture(t)
	basic := func(pair string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		}
	}
	other := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	same := func(*http.Request) {}
	twice := f.form()
	twice["scope"] = append(twice["scope"], "x")
	for name, tt := range map[string]struct {
		path   string
		body   url.Values
		edit   func(*http.Request)
		status int
		error  string
		code   int
	}{
		"wrong secret":             {v2, f.form("client_secret", "x"), same, 401, "invalid_client", 7000215},
		"no proof":                 {v2, f.form("client_secret", "-"), same, 401, "invalid_client", 7000218},
		"unknown app":              {v2, f.form("client_id", nobody), same, 400, "unauthorized_client", 700016},
		"app id that is none":      {v2, f.form("client_id", "x\ny"), same, 400, "unauthorized_client", 700016},
		"no app id":                {v2, f.form("client_id", "-"), same, 400, "invalid_request", 900144},
		"no grant type":            {v2, f.form("grant_type", "-"), same, 400, "invalid_request", 900144},
		"another grant type":       {v2, f.form("grant_type", "password"), same, 400, "unsupported_grant_type", 70003},
		"no scope":                 {v2, f.form("scope", "-"), same, 400, "invalid_request", 900144},
		"no resource":              {v1, f.form("resource", "-"), same, 400, "invalid_request", 900144},
		"scope without default":    {v2, f.form("scope", arm+"/user_impersonation"), same, 400, "invalid_scope", 1002012},
		"default of nothing":       {v2, f.form("scope", "/.default"), same, 400, "invalid_scope", 1002012},
		"scopes of users":          {v2, f.form("scope", "openid"), same, 400, "invalid_scope", 70011},
		"two resources":            {v2, f.form("scope", arm+"/.default https://x.test/.default"), same, 400, "invalid_scope", 70011},
		"resource without scheme":  {v2, f.form("scope", "x/.default"), same, 400, "invalid_resource", 500011},
		"resource with http":       {v1, f.form("resource", "http://x.test"), same, 400, "invalid_resource", 500011},
		"resource with a query":    {v1, f.form("resource", "https://x.test?a"), same, 400, "invalid_resource", 500011},
		"resource with a user":     {v1, f.form("resource", "https://u@x.test"), same, 400, "invalid_resource", 500011},
		"app nobody has":           {v1, f.form("resource", nobody), same, 400, "invalid_resource", 500011},
		"another tenant":           {"/" + nobody + "/oauth2/v2.0/token", f.form(), same, 400, "invalid_request", 90002},
		"domain of another tenant": {"/contoso.test/oauth2/v2.0/token", f.form(), same, 400, "invalid_request", 90002},
		"no tenant":                {"/contoso/oauth2/v2.0/token", f.form(), same, 400, "invalid_request", 900023},
		"parameter twice":          {v2, twice, same, 400, "invalid_request", 90100},
		"JSON":                     {v2, f.form(), other("Content-Type", "application/json"), 400, "invalid_request", 90100},
		"no content type":          {v2, f.form(), other("Content-Type", ""), 400, "invalid_request", 90100},
		"not a form":               {v2, nil, func(r *http.Request) { r.Body = text("a=%zz") }, 400, "invalid_request", 90100},
		"too long":                 {v2, nil, func(r *http.Request) { r.Body = text("a=" + strings.Repeat("x", maxBody)) }, 413, "invalid_request", 90100},
		"secret in the URL":        {v2 + "?client_secret=" + f.secret, f.form("client_secret", "-"), same, 401, "invalid_client", 7000218},
		"GET":                      {v2, nil, func(r *http.Request) { r.Method = "GET" }, 405, "invalid_request", 900561},
		"two proofs":               {v2, f.form("client_assertion", "x"), same, 400, "invalid_request", 90100},
		"assertion without type":   {v2, f.form("client_secret", "-", "client_assertion", "x"), same, 400, "invalid_request", 90100},
		"assertion that is none":   {v2, f.form("client_secret", "-", "client_assertion", "x", "client_assertion_type", assertionType), same, 400, "invalid_request", 50027},
		"basic and body":           {v2, f.form(), basic(app + ":x"), 400, "invalid_request", 90100},
		"basic of another":         {v2, f.form("client_secret", "-"), basic(nobody + ":x"), 400, "invalid_request", 90100},
		"basic, malformed":         {v2, f.form("client_secret", "-"), basic("x"), 400, "invalid_request", 90100},
		"basic, wrong secret":      {v2, f.form("client_secret", "-"), basic(app + ":x"), 401, "invalid_client", 7000215},
		"another host":             {v2, f.form(), func(r *http.Request) { r.Host = "a b" }, 400, "invalid_instance", 50049},
		"no such endpoint":         {"/" + tenant + "/oauth2/v2.0/devicecode", f.form(), same, 404, "invalid_request", 90100},
	} {
		w := f.post(tt.path, tt.body, tt.edit)
		if got := code(t, w); got != tt.code || w.Code != tt.status || decode(t, w)["error"] != tt.error {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), f.secret) || strings.Contains(w.Body.String(), "\n") {
			t.Errorf("%s: answer %q", name, w.Body)
		}
		f.clock.Advance(time.Minute) // so that nothing is throttled
	}
}

func text(s string) readCloser { return readCloser{strings.NewReader(s)} }

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestRequestsThatAreGranted(t *testing.T) {
	f := newFixture(t)
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(app) + ":" + url.QueryEscape(f.secret)))
	claims := `{"access_token":{"xms_cc":{"values":["CP1"]}}}`
	for name, tt := range map[string]struct {
		path, aud, ver string
		body           url.Values
		basic          bool
	}{
		"alias common":        {"/common/oauth2/v2.0/token", arm, "1.0", f.form(), false},
		"alias organizations": {"/Organizations/oauth2/token", arm + "/", "1.0", f.form(), false},
		"any case, slashes":   {"//" + strings.ToUpper(tenant) + "//OAuth2/V2.0/Token/", arm, "1.0", f.form(), false},
		"basic":               {v2, arm, "1.0", f.form("client_secret", "-", "client_id", "-"), true},
		"claims":              {v2, arm, "1.0", f.form("claims", claims), false},
		"graph":               {v2, "https://graph.microsoft.com", "1.0", f.form("scope", "https://graph.microsoft.com/.default"), false},
		"graph by app id":     {v1, "00000003-0000-0000-c000-000000000000", "1.0", f.form("resource", "00000003-0000-0000-c000-000000000000"), false},
		"vault with port":     {v2, "https://vault.localhost:7443", "1.0", f.form("scope", "https://vault.localhost:7443/.default"), false},
		"api":                 {v2, "api://" + app, "1.0", f.form("scope", "api://"+app+"/.default"), false},
		"own app id":          {v2, app, "2.0", f.form("scope", app+"/.default"), false},
		"v1 with default":     {v1, arm, "1.0", f.form("resource", arm+"/.default"), false},
	} {
		w := f.post(tt.path, tt.body, func(r *http.Request) {
			if tt.basic {
				r.Header.Set("Authorization", "Basic "+basic)
			}
		})
		if code(t, w) != 0 {
			t.Errorf("%s: %s", name, w.Body)
			continue
		}
		var claims map[string]any
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(decode(t, w)["access_token"].(string), ".")[1])
		must(t, err)
		must(t, json.Unmarshal(payload, &claims))
		if claims["aud"] != tt.aud || claims["ver"] != tt.ver {
			t.Errorf("%s: aud %q, ver %q", name, claims["aud"], claims["ver"])
		}
	}
}

func TestPrincipalsThatGetNoTokens(t *testing.T) {
	f := newFixture(t)
	good := code(t, f.post(v2, f.form()))
	_, err := f.directory.SetDisabled(t.Context(), f.principal.ObjectID, true)
	must(t, err)
	disabled := code(t, f.post(v2, f.form()))
	_, err = f.directory.SetDisabled(t.Context(), f.principal.ObjectID, false)
	must(t, err)
	f.clock.Advance(31 * 24 * time.Hour)
	expired := code(t, f.post(v2, f.form()))
	must(t, f.directory.Delete(t.Context(), f.principal.ObjectID))
	gone := code(t, f.post(v2, f.form()))
	if diff := cmp.Diff([]int{0, 7000112, 7000222, 700016}, []int{good, disabled, expired, gone}); diff != "" {
		t.Error(diff)
	}
}

func TestStoreThatIsAwayIsNotTheClientsFault(t *testing.T) {
	f := newFixture(t)
	f.store.SetUnavailable(true)
	w := f.post(v2, f.form())
	if code(t, w) != 90033 || w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.get("/common/discovery/keys"); w.Code != 503 {
		t.Errorf("keys: %d %s", w.Code, w.Body)
	}
	f.store.SetUnavailable(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.post(v2, f.form(), func(r *http.Request) { *r = *r.WithContext(ctx) })
}

func TestOwnsItsPaths(t *testing.T) {
	for path, want := range map[string]bool{
		v1: true, v2: true, "/common/discovery/instance": true, "/x/.well-known/openid-configuration": true,
		"/X/V2.0/.Well-Known/OpenID-Configuration": true, "/x/discovery/keys": true, "/x/discovery/v2.0/keys": true,
		"/": false, "": false, "/subscriptions/x/providers": false, "/metadata/endpoints": false, "/oauth2/token": false,
		"/x/oauth2/v2.0/token/y": false,
	} {
		if Owns(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}
