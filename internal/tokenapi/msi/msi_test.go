package msi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

const (
	secret = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
	vault  = "https://vault.azure.net"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	own   = identity.Assigned{System: true, ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/app", ObjectID: "aaaaaaaa-0000-0000-0000-000000000001", AppID: "aaaaaaaa-0000-0000-0000-000000000002"}
	one   = identity.Assigned{ResourceID: "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one", ObjectID: "bbbbbbbb-0000-0000-0000-000000000001", AppID: "bbbbbbbb-0000-0000-0000-000000000002"}
	two   = identity.Assigned{ResourceID: "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/two", ObjectID: "cccccccc-0000-0000-0000-000000000001", AppID: "cccccccc-0000-0000-0000-000000000002"}
	gone  = identity.Assigned{ResourceID: "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/gone"}
)

// workload is what stands behind a handler in tests.
type workload struct {
	assigned []identity.Assigned
	lookup   error
	issue    error
	fault    error
	asked    []string // resources
	events   []Event
	windows  bool
}

func (w *workload) config() Config {
	return Config{
		Header: secret, Clock: clock.NewManual(start), Log: slog.New(slog.DiscardHandler), WindowsErrors: w.windows,
		TenantID: "11111111-1111-1111-1111-111111111111", Location: "westeurope",
		Identities: func(context.Context) ([]identity.Assigned, error) { return w.assigned, w.lookup },
		Issue: func(_ context.Context, who identity.Assigned, resource string) (token.Token, error) {
			w.asked = append(w.asked, resource)
			if w.issue != nil {
				return token.Token{}, w.issue
			}
			return token.Token{Raw: "token of " + who.AppID, ID: "uti", Issued: start, Expires: start.Add(86399 * time.Second)}, nil
		},
		OnEvent: func(e Event) { w.events = append(w.events, e) },
		Fault:   func(context.Context) error { return w.fault },
	}
}

// ask sends a request; headers are names and values in turn.
func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func members(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("status %d, body %q: %v", w.Code, w.Body, err)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json; charset=utf-8" {
		t.Errorf("content type %q", kind)
	}
	return got
}

// target gives a token request in a version, with further parameters.
func target(version string, more ...string) string {
	return Path + "?resource=" + url.QueryEscape(vault) + "&api-version=" + version + strings.Join(append([]string{""}, more...), "&")
}

func TestAnswersWithATokenInEachVersion(t *testing.T) {
	answer := func(expires, notBefore string) map[string]any {
		return map[string]any{
			"access_token": "token of " + own.AppID, "resource": vault, "token_type": "Bearer", "client_id": own.AppID,
			"expires_on": expires, "not_before": notBefore,
		}
	}
	epochs := answer("1772452799", "1772366400")
	for _, tt := range []struct {
		version, header string
		want            map[string]any
	}{
		{version2019, "X-IDENTITY-HEADER", epochs},
		{versionHost, "X-IDENTITY-HEADER", epochs},
		{version2017, "secret", answer("03/02/2026 11:59:59 +00:00", "03/01/2026 12:00:00 +00:00")},
	} {
		w := &workload{assigned: []identity.Assigned{one, own}}
		got := ask(New(w.config()), "GET", target(tt.version), tt.header, secret, "Metadata", "true")
		if diff := cmp.Diff(tt.want, members(t, got)); diff != "" || got.Code != 200 {
			t.Errorf("%s: status %d %s", tt.version, got.Code, diff)
		}
		if got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the answer may be cached", tt.version)
		}
		want := []Event{{Time: start, Granted: true, Status: 200, Identity: own, Resource: vault, TokenID: "uti", Source: "192.0.2.1"}}
		if diff := cmp.Diff(want, w.events); diff != "" {
			t.Errorf("%s: events %s", tt.version, diff)
		}
	}
}

func TestPathsInAnyCaseWithTrailingSlashes(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	h := New(w.config())
	for path, status := range map[string]int{
		"/msi/token": 200, "/msi/token/": 200, "/MSI/token/": 200, "/MSI/TOKEN": 200, "/msi/token//": 200,
		"/": 404, "/msi": 404, "/msi/token/x": 404, "/xmsi/token": 404, "//msi/token": 404, "/metadata/identity/oauth2/token": 404,
	} {
		got := ask(h, "GET", strings.Replace(target(version2019), Path, path, 1), "X-IDENTITY-HEADER", secret)
		members(t, got)
		if got.Code != status {
			t.Errorf("%s: status %d, want %d", path, got.Code, status)
		}
	}
}

func TestTheResourceIsEchoedAsAsked(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	for _, resource := range []string{vault, vault + "/", vault + "/.default", "HTTPS://Vault.azure.net"} {
		got := ask(New(w.config()), "GET", Path+"?api-version=2019-08-01&resource="+url.QueryEscape(resource), "X-IDENTITY-HEADER", secret)
		if echo := members(t, got)["resource"]; echo != resource || w.asked[len(w.asked)-1] != resource {
			t.Errorf("%q is echoed as %q and asked for as %q", resource, echo, w.asked)
		}
	}
}

func TestWithoutTheSecretThereIsNoToken(t *testing.T) {
	for name, tt := range map[string]struct {
		version string
		headers []string
		status  int
	}{
		"none":                     {version2019, nil, 403},
		"wrong":                    {version2019, []string{"X-IDENTITY-HEADER", secret + "0"}, 403},
		"empty":                    {version2019, []string{"X-IDENTITY-HEADER", ""}, 403},
		"other case":               {version2019, []string{"X-IDENTITY-HEADER", strings.ToUpper(secret)}, 403},
		"twice":                    {version2019, []string{"X-IDENTITY-HEADER", secret, "X-IDENTITY-HEADER", secret}, 403},
		"right and wrong":          {version2019, []string{"X-IDENTITY-HEADER", secret, "X-IDENTITY-HEADER", "x"}, 403},
		"header of 2017":           {version2019, []string{"secret", secret}, 403},
		"host, header of 2017":     {versionHost, []string{"secret", secret}, 403},
		"metadata alone":           {version2019, []string{"Metadata", "true"}, 403},
		"unknown version":          {"2031-01-01", nil, 403},
		"no version":               {"", []string{"secret", "x"}, 403},
		"2017":                     {version2017, nil, 401},
		"2017, wrong":              {version2017, []string{"secret", "x"}, 401},
		"2017, header of 2019":     {version2017, []string{"X-IDENTITY-HEADER", secret}, 401},
		"2017, twice":              {version2017, []string{"secret", secret, "secret", secret}, 401},
		"two versions, no secret ": {version2019 + "&api-version=" + version2017, nil, 403},
	} {
		w := &workload{assigned: []identity.Assigned{own}}
		got := ask(New(w.config()), "GET", target(tt.version), tt.headers...)
		if got.Code != tt.status {
			t.Errorf("%s: status %d, want %d", name, got.Code, tt.status)
		}
		id := got.Header().Get("X-CORRELATION-ID")
		if _, err := uuid.Parse(id); err != nil {
			t.Errorf("%s: correlation id %q", name, id)
		}
		if tt.status == 403 && got.Body.Len() > 0 {
			t.Errorf("%s: body %q", name, got.Body)
		}
		if tt.status == 401 && members(t, got)["statusCode"] != 401.0 {
			t.Errorf("%s: body %q", name, got.Body)
		}
		if len(w.events) != 1 || w.events[0].Granted || w.events[0].Status != tt.status || w.events[0].Reason == "" || w.events[0].CorrelationID != id {
			t.Errorf("%s: events %+v", name, w.events)
		}
		if len(w.asked) > 0 {
			t.Errorf("%s: a token was made", name)
		}
	}
}

func TestAHandlerWithoutSecretRefusesEverything(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	cfg := w.config()
	cfg.Header = ""
	for _, headers := range [][]string{nil, {"X-IDENTITY-HEADER", ""}} {
		if got := ask(New(cfg), "GET", target(version2019), headers...); got.Code != 403 {
			t.Errorf("%q: status %d", headers, got.Code)
		}
	}
}

func TestSelectorsFindTheAssignedIdentity(t *testing.T) {
	all := []identity.Assigned{own, one, two, gone}
	for name, tt := range map[string]struct {
		assigned []identity.Assigned
		query    string
		want     identity.Assigned // the zero value for 400
	}{
		"none":                  {all, "", own},
		"empty":                 {all, "client_id=", own},
		"client_id":             {all, "client_id=" + one.AppID, one},
		"client_id, other case": {all, "CLIENT_ID=" + strings.ToUpper(two.AppID), two},
		"clientid":              {all, "clientid=" + two.AppID, two},
		"object_id":             {all, "object_id=" + one.ObjectID, one},
		"principal_id":          {all, "principal_id=" + two.ObjectID, two},
		"mi_res_id":             {all, "mi_res_id=" + one.ResourceID, one},
		"mi_res_id, upper case": {all, "mi_res_id=" + strings.ToUpper(one.ResourceID), one},
		"msi_res_id":            {all, "msi_res_id=" + two.ResourceID, two},
		"own by client_id":      {all, "client_id=" + own.AppID, own},
		"the same twice over":   {all, "object_id=" + one.ObjectID + "&principal_id=" + one.ObjectID, one},
		"client id as object":   {all, "object_id=" + one.AppID, identity.Assigned{}},
		"not assigned":          {all[:2], "client_id=" + two.AppID, identity.Assigned{}},
		"unknown":               {all, "client_id=" + uuid.NewString(), identity.Assigned{}},
		"deleted":               {all, "mi_res_id=" + gone.ResourceID, identity.Assigned{}},
		"no own, one other":     {[]identity.Assigned{one}, "", identity.Assigned{}},
		"nothing assigned":      {nil, "", identity.Assigned{}},
		"two kinds":             {all, "client_id=" + one.AppID + "&object_id=" + one.ObjectID, identity.Assigned{}},
		"two values":            {all, "object_id=" + one.ObjectID + "&principal_id=" + two.ObjectID, identity.Assigned{}},
		"one name twice":        {all, "client_id=" + one.AppID + "&client_id=" + one.AppID, identity.Assigned{}},
	} {
		w := &workload{assigned: tt.assigned}
		got := ask(New(w.config()), "GET", target(version2019, tt.query), "X-IDENTITY-HEADER", secret)
		body := members(t, got)
		if tt.want.AppID != "" && body["client_id"] != tt.want.AppID {
			t.Errorf("%s: status %d %v, want %s", name, got.Code, body, tt.want.AppID)
		}
		if tt.want.AppID == "" && (got.Code != 400 || body["statusCode"] != 400.0 || len(w.asked) > 0) {
			t.Errorf("%s: status %d %v, want 400", name, got.Code, body)
		}
		if len(w.events) != 1 || w.events[0].Status != got.Code {
			t.Errorf("%s: events %+v", name, w.events)
		}
	}
}

func TestADeletedIdentityIsNamedInTheEvent(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own, gone}}
	got := ask(New(w.config()), "GET", target(version2019, "mi_res_id="+gone.ResourceID), "X-IDENTITY-HEADER", secret)
	if m := members(t, got)["message"]; m != "Unable to load the proper Managed Identity." {
		t.Errorf("message %q", m)
	}
	if e := w.events[0]; e.Granted || e.Identity != gone || !strings.Contains(e.Reason, "deleted") || e.Selector != "mi_res_id="+gone.ResourceID {
		t.Errorf("event %+v", e)
	}
}

func TestVersion2017FallsBackToTheAppsOwnIdentity(t *testing.T) {
	for name, tt := range map[string]struct {
		assigned []identity.Assigned
		query    string
		status   int
	}{
		"not assigned":        {[]identity.Assigned{own, one}, "clientid=" + two.AppID, 200},
		"not assigned, alone": {[]identity.Assigned{one}, "clientid=" + two.AppID, 400},
		"deleted":             {[]identity.Assigned{own, gone}, "mi_res_id=" + gone.ResourceID, 400},
	} {
		w := &workload{assigned: tt.assigned}
		got := ask(New(w.config()), "GET", target(version2017, tt.query), "secret", secret)
		if got.Code != tt.status {
			t.Errorf("%s: status %d %s", name, got.Code, got.Body)
		}
		if tt.status == 200 && (members(t, got)["client_id"] != own.AppID || !strings.Contains(w.events[0].Reason, "falls back")) {
			t.Errorf("%s: %s, event %+v", name, got.Body, w.events)
		}
	}
}

func TestErrorsOfRequestsThatAreNotRight(t *testing.T) {
	long := strings.Repeat("x", maxQuery)
	for name, tt := range map[string]struct {
		target string
		text   string
	}{
		"no version":        {Path + "?resource=" + vault, "api-version"},
		"unknown version":   {target("2018-02-01"), "2018-02-01"},
		"odd version":       {target("%00%ff"), "api-version"},
		"no resource":       {Path + "?api-version=2019-08-01", "resource"},
		"empty resource":    {Path + "?api-version=2019-08-01&resource=", "resource"},
		"resource twice":    {target(version2019, "resource=x"), "resource is given more than once"},
		"resource in cases": {target(version2019, "RESOURCE=x"), "resource is given more than once"},
		"version twice":     {target(version2019, "api-version="+version2017), "api-version is given more than once"},
		"query not a query": {target(version2019, "%zz"), "well-formed"},
		"semicolons":        {target(version2019, "a;b"), "well-formed"},
		"long query":        {target(version2019, "x="+long), "longer than"},
		"long selector":     {target(version2019, "client_id="+long[:maxSelector+1]), "longer than"},
		"two selectors":     {target(version2019, "client_id=a", "mi_res_id=b"), "Only one of"},
	} {
		for _, windows := range []bool{false, true} {
			w := &workload{assigned: []identity.Assigned{own}, windows: windows}
			got := ask(New(w.config()), "GET", tt.target, "X-IDENTITY-HEADER", secret)
			body := members(t, got)
			status, message, id := body["statusCode"], body["message"], body["correlationId"]
			if windows {
				status, message, id = body["StatusCode"], body["Message"], body["CorrelationId"]
			}
			text, _ := message.(string)
			if got.Code != 400 || status != 400.0 || !strings.Contains(text, tt.text) || len(body) != 3 || id != w.events[0].CorrelationID {
				t.Errorf("%s: status %d %v", name, got.Code, body)
			}
		}
	}
}

func TestMessagesForAnIdentityThatIsNotAssigned(t *testing.T) {
	for _, tt := range []struct {
		version, header string
		windows         bool
		want            string
	}{
		{version2019, "X-IDENTITY-HEADER", false, "Unable to load the proper Managed Identity."},
		{version2019, "X-IDENTITY-HEADER", true, "No Managed Identity found for specified ClientId/ResourceId/PrincipalId."},
		{version2017, "secret", false, "Unable to load requested managed identity."},
		{version2017, "secret", true, "No MSI found for specified ClientId/ResourceId."},
	} {
		w := &workload{windows: tt.windows}
		got := ask(New(w.config()), "GET", target(tt.version), tt.header, secret)
		name := map[bool]string{false: "message", true: "Message"}[tt.windows]
		if body := members(t, got); got.Code != 400 || body[name] != tt.want {
			t.Errorf("%s: status %d %v, want %q", tt.version, got.Code, body, tt.want)
		}
	}
}

func TestFailuresBehindTheEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		w      workload
		status int
		text   string
	}{
		"lookup fails":       {workload{lookup: problem.New(problem.NotFound, "x")}, 500, textFailed},
		"drill":              {workload{fault: problem.New(problem.Unavailable, "drill")}, 500, textFailed},
		"authority is away":  {workload{issue: problem.New(problem.Unavailable, "away")}, 500, textFailed},
		"authority is slow":  {workload{issue: problem.New(problem.Timeout, "slow")}, 500, textFailed},
		"unknown error":      {workload{issue: errors.New("x")}, 500, textFailed},
		"odd resource":       {workload{issue: problem.New(problem.Invalid, "resource is odd").WithNext("name it")}, 400, "The resource is odd. Next: name it."},
		"identity disabled":  {workload{issue: &identity.Refused{Reason: identity.Disabled}}, 400, "Unable to load the proper Managed Identity."},
		"upstream refuses":   {workload{issue: problem.New(problem.Denied, "no consent")}, 400, textFailed},
		"upstream throttles": {workload{issue: problem.New(problem.Throttled, "slow down")}, 429, textThrottled},
	} {
		tt.w.assigned = []identity.Assigned{own}
		got := ask(New(tt.w.config()), "GET", target(version2019), "X-IDENTITY-HEADER", secret)
		if body := members(t, got); got.Code != tt.status || body["message"] != tt.text || body["statusCode"] != float64(tt.status) {
			t.Errorf("%s: status %d %v", name, got.Code, body)
		}
		if (got.Header().Get("Retry-After") != "") != (tt.status == 429) {
			t.Errorf("%s: Retry-After %q", name, got.Header().Get("Retry-After"))
		}
		if len(tt.w.events) != 1 || tt.w.events[0].Granted || tt.w.events[0].Reason == "" || tt.w.events[0].Status != tt.status {
			t.Errorf("%s: events %+v", name, tt.w.events)
		}
	}
}

func TestAnIdentityWhoseTokensExpireMeanwhileIsLookedUpAgain(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	cfg := w.config()
	issue, lookups := cfg.Issue, 0
	cfg.Identities = func(context.Context) ([]identity.Assigned, error) {
		lookups++
		now := own
		now.Epoch = int64(lookups)
		return []identity.Assigned{now}, nil
	}
	cfg.Issue = func(ctx context.Context, who identity.Assigned, resource string) (token.Token, error) {
		if who.Epoch < 2 {
			return token.Token{}, &identity.Refused{Reason: identity.TokensExpired}
		}
		return issue(ctx, who, resource)
	}
	got := ask(New(cfg), "GET", target(version2019), "X-IDENTITY-HEADER", secret)
	if got.Code != 200 || lookups != 2 || w.events[0].Identity.Epoch != 2 {
		t.Errorf("status %d after %d lookups, event %+v", got.Code, lookups, w.events)
	}
}

func TestOnlyGET(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"} {
		got := ask(New(w.config()), method, target(version2019), "X-IDENTITY-HEADER", secret)
		if body := members(t, got); got.Code != 405 || got.Header().Get("Allow") != "GET" || body["statusCode"] != 405.0 {
			t.Errorf("%s: status %d %v", method, got.Code, body)
		}
		got = ask(NewIMDS(w.config()), method, imdsToken, "Metadata", "true")
		if body := members(t, got); got.Code != 405 || got.Header().Get("Allow") != "GET" || body["error"] != "method_not_allowed" {
			t.Errorf("IMDS %s: status %d %v", method, got.Code, body)
		}
	}
}

func TestEventsAndErrorsHoldNoSecret(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{own}}
	for _, h := range [][]string{{"X-IDENTITY-HEADER", secret}, {"X-IDENTITY-HEADER", "guess-of-a-secret"}} {
		for _, version := range []string{version2019, version2017, "x"} {
			got := ask(New(w.config()), "GET", target(version), h...)
			if got.Code != 200 && (strings.Contains(got.Body.String(), secret) || strings.Contains(got.Body.String(), "guess")) {
				t.Errorf("body %s", got.Body)
			}
		}
	}
	text, err := json.Marshal(w.events)
	if err != nil || strings.Contains(string(text), secret) || strings.Contains(string(text), "guess") || strings.Contains(string(text), "token of") {
		t.Errorf("events %s %v", text, err)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("resource=https%3A%2F%2Fvault.azure.net&api-version=2019-08-01&client_id=" + one.AppID)
	f.Add("api-version=2017-09-01&clientid=x&secret=%00")
	f.Add("mi_res_id=" + url.QueryEscape(one.ResourceID) + "&MSI_RES_ID=x;y&%zz")
	f.Add("api-version=2018-02-01&resource=x&principal_id=y&object_id=Y")
	f.Fuzz(func(t *testing.T, raw string) {
		w := &workload{assigned: []identity.Assigned{own, one, gone}}
		for _, h := range []http.Handler{New(w.config()), NewIMDS(w.config())} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Identity-Header", secret)
			r.Header.Set("Secret", secret)
			r.Header.Set("Metadata", "true")
			r.URL.Path, r.URL.RawQuery = Path, raw
			if _, ok := h.(imds); ok {
				r.URL.Path = imdsToken
			}
			got := httptest.NewRecorder()
			h.ServeHTTP(got, r)
			if got.Code != 200 && got.Code != 400 {
				t.Errorf("status %d", got.Code)
			}
			if !json.Valid(got.Body.Bytes()) {
				t.Errorf("body %q", got.Body)
			}
		}
		if len(w.events) != 2 {
			t.Errorf("%d events", len(w.events))
		}
		for _, e := range w.events {
			if e.Granted != (e.Status == 200) || strings.ContainsAny(e.Selector+e.Resource+e.Reason, "\r\n\x00") {
				t.Errorf("event %+v", e)
			}
		}
	})
}
