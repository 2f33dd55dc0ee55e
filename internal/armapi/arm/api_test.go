package arm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares an answer with a file: status, the header fields that say
// something, and the body.
func golden(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, w.Code)
	for _, field := range []string{"Allow", "WWW-Authenticate", "Retry-After", "ETag", "Content-Type", "X-Ms-Failure-Cause", "X-Ms-Error-Code", "Connection", "Azure-AsyncOperation"} {
		if v := w.Header().Get(field); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", field, v)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", w.Body)
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}

const fixedID = "abcdef01-2345-6789-abcd-ef0123456789"

func TestErrorsHaveTheirForm(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.7:2379: password hunter2")
	fail := func(err error) Handler { return func(*Call) (Reply, error) { return Reply{}, err } }
	vault := group + "/providers/Microsoft.KeyVault/vaults/v"
	tests := []struct {
		name, token string
		err         error
	}{
		{name: "no token"},
		{name: "wrong scheme", token: "Basic x"},
		{name: "expired token", token: "Bearer expired"},
		{name: "revoked token", token: "Bearer revoked"},
		{name: "denied", token: "Bearer stranger"},
		{name: "undecided", token: "Bearer unlucky"},
		{"fault", "", Fault{Status: 409, Code: "VaultAlreadyExists", Message: "The vault exists.", Target: "name", Details: []Detail{{Code: "A", Message: "B"}}}},
		{"invalid", "", problem.Wrap(problem.Invalid, "appSettings has no name", secret).WithNext("give it one")},
		{"not found", "", problem.Wrap(problem.NotFound, "there is no vault", secret)},
		{"exists", "", problem.New(problem.Exists, "it exists")},
		{"unauthenticated", "", problem.New(problem.Unauthenticated, `the "token" is unknown`)},
		{"denied by a handler", "", problem.New(problem.Denied, "it is not yours")},
		{"conflict", "", problem.Conflict},
		{"read only", "", problem.New(problem.ReadOnly, "the store cannot be written")},
		{"undecryptable", "", problem.Wrap(problem.Undecryptable, "/keys/x is damaged", secret)},
		{"unavailable", "", problem.Wrap(problem.Unavailable, "the state cannot be reached", secret)},
		{"too large", "", problem.New(problem.TooLarge, "the package is too large")},
		{"throttled", "", problem.New(problem.Throttled, "too many calls")},
		{"timeout", "", problem.New(problem.Timeout, "it took too long")},
		{"deadline", "", context.DeadlineExceeded},
		{"unsupported", "", problem.New(problem.Unsupported, "slots are not supported")},
		{"internal", "", secret},
		{"wrapped", "", fmt.Errorf("reading %q: %w", "x", problem.New(problem.NotFound, "there is no x"))},
	}
	for _, tt := range tests {
		f := newFixture(t, Operation{Method: "GET", Pattern: strings.TrimSuffix(vault, "v") + "{vault}", Handler: fail(tt.err)})
		token := tt.token
		if token == "" && tt.err != nil {
			token = "Bearer owner"
		}
		w := f.call("GET", strings.NewReplacer("{sub}", testSub, "{group}", "RG").Replace(vault)+version, "",
			"Authorization", token, "X-Ms-Correlation-Request-Id", fixedID)
		golden(t, tt.name, w)
		if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "10.0.0.7") {
			t.Errorf("%s: the cause is told", tt.name)
		}
		hidden := tt.name == "internal" || tt.name == "undecryptable" || tt.name == "undecided"
		if logged := strings.Contains(f.log.String(), fixedID); logged != hidden {
			t.Errorf("%s: log: %s", tt.name, f.log.String())
		}
	}
}

func TestErrorsOfMicrosoftWebHaveBothForms(t *testing.T) {
	f := newFixture(t, operations()...)
	golden(t, "web", f.call("GET", sentSite+version, "", "Authorization", "Bearer stranger"))
	golden(t, "web method", f.call("PATCH", sentSite+version, ""))
	w := f.call("GET", sentSite+"/providers/Microsoft.Authorization/roleAssignments"+version, "", "Authorization", "Bearer stranger")
	if strings.Contains(w.Body.String(), "ErrorEntity") {
		t.Errorf("an extension of a site is not Microsoft.Web: %s", w.Body)
	}
}

func TestAnswersHaveTheHeaders(t *testing.T) {
	f := newFixture(t, operations()...)
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for _, target := range []string{"/public", "/open" + version, "/nothing", "/%00", sentSite} {
		w := f.call("GET", target, "", "X-Ms-Correlation-Request-Id", "my-id", "X-Ms-Client-Request-Id", "client-id", "X-Ms-Return-Client-Request-Id", "True")
		h := w.Header()
		want := http.Header{
			"X-Ms-Correlation-Request-Id": {"my-id"}, "X-Ms-Client-Request-Id": {"client-id"},
			"Cache-Control": {"no-cache, no-store"}, "Pragma": {"no-cache"}, "Expires": {"-1"},
			"X-Content-Type-Options": {"nosniff"}, "X-Go-Azure-Sdk-Skip-Polling-Delay": {"true"},
			"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {fmt.Sprint(w.Body.Len())},
			"X-Ms-Routing-Request-Id": {"LOCAL:20260304T050607Z:" + h.Get("X-Ms-Request-Id")},
			"X-Ms-Request-Id":         h["X-Ms-Request-Id"], "X-Ms-Failure-Cause": h["X-Ms-Failure-Cause"],
		}
		if h["X-Ms-Failure-Cause"] == nil {
			delete(want, "X-Ms-Failure-Cause")
		}
		if diff := cmp.Diff(want, h); diff != "" || !guid.MatchString(h.Get("X-Ms-Request-Id")) {
			t.Errorf("%s: %s", target, diff)
		}
	}
	w := f.call("GET", "/public", "", "X-Ms-Correlation-Request-Id", "forged\x1b[2J", "X-Ms-Client-Request-Id", "client-id")
	if h := w.Header(); h.Get("X-Ms-Correlation-Request-Id") != h.Get("X-Ms-Request-Id") || h.Get("X-Ms-Client-Request-Id") != "" {
		t.Errorf("ids that are none, or not asked for, are given back: %v", h)
	}
}

func TestAnsweringSlowPollersAndStrictTransport(t *testing.T) {
	api, err := New(Config{Authenticate: authenticate, Authorize: &fixture{}, SlowPolling: true, StrictTransport: true}, operations()...)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "/public", nil))
	if h := w.Header(); h.Get("X-Go-Azure-Sdk-Skip-Polling-Delay") != "" || h.Get("Strict-Transport-Security") == "" {
		t.Errorf("%v", h)
	}
}

func TestCallsAreRefusedInOrder(t *testing.T) {
	other := strings.Replace(sentSite, testSub, "99999999-2222-3333-4444-555555555555", 1)
	tests := []struct {
		name, method, target, token string
		status                      int
		code                        string
	}{
		{"method before token", "PATCH", sentSite, "", 405, "MethodNotAllowed"},
		{"path before token", "GET", "/x", "", 404, "NotFound"},
		{"token before version", "GET", sentSite, "", 401, "AuthenticationFailed"},
		{"bad token", "GET", sentSite, "Token x", 401, "InvalidAuthenticationToken"},
		{"expired token", "GET", sentSite, "Bearer expired", 401, "ExpiredAuthenticationToken"},
		{"version before role", "GET", sentSite, "Bearer stranger", 400, "MissingApiVersionParameter"},
		{"no date", "GET", sentSite + "?api-version=latest", "Bearer stranger", 400, "InvalidApiVersionParameter"},
		{"no such month", "GET", sentSite + "?api-version=2024-13-01", "Bearer stranger", 400, "InvalidApiVersionParameter"},
		{"subscription before role", "GET", other + version, "Bearer stranger", 404, "SubscriptionNotFound"},
		{"subscription that is no GUID", "GET", "/subscriptions/mine/providers/Microsoft.Web/sites" + version, "Bearer owner", 400, "InvalidSubscriptionId"},
		{"role", "GET", sentSite + version, "Bearer stranger", 403, "AuthorizationFailed"},
		{"open needs no role", "GET", "/open" + version, "Bearer stranger", 200, ""},
		{"open needs a token", "GET", "/open" + version, "", 401, "AuthenticationFailed"},
		{"open needs a version", "GET", "/open", "Bearer stranger", 400, "MissingApiVersionParameter"},
		{"public needs nothing", "GET", "/public", "", 200, ""},
		{"public with a bad token", "GET", "/public", "Bearer expired", 200, ""},
		{"preview version", "GET", sentSite + "?API-Version=2021-01-31-preview", "Bearer owner", 200, ""},
		{"query that cannot be read", "GET", sentSite + "?a=%zz", "Bearer owner", 400, "InvalidRequestUri"},
	}
	for _, tt := range tests {
		f := newFixture(t, operations()...)
		w := f.call(tt.method, tt.target, "", "Authorization", tt.token)
		if w.Code != tt.status || tt.code != "" && code(t, w) != tt.code {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if asked := len(f.ask) > 0; asked != (tt.status == 403 || tt.status == 200 && strings.HasPrefix(tt.target, sentSite)) {
			t.Errorf("%s: authorisation was asked: %v", tt.name, f.ask)
		}
	}
}

func TestHeadTellsThatThingsExist(t *testing.T) {
	f := newFixture(t, append(operations(), Operation{Method: "GET", Pattern: "/gone", Action: Open,
		Handler: func(*Call) (Reply, error) { return Reply{}, GroupNotFound("g") }})...)
	for target, want := range map[string]int{sentGroup + version: 204, "/gone" + version: 404, "/public": 200, "/nothing": 404} {
		w := f.call("HEAD", target, "")
		if w.Code != want || w.Body.Len() > 0 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		if has := w.Header().Get("X-Ms-Error-Code") != ""; has != (want == 404) {
			t.Errorf("%s: %v", target, w.Header())
		}
	}
}

func TestPanicsAreFailures(t *testing.T) {
	handlers := map[string]Handler{
		"/handler": func(*Call) (Reply, error) { panic("secret hunter2") },
		"/nil":     func(c *Call) (Reply, error) { return OK(c.Params["x"][3]), nil },
		"/encode":  func(*Call) (Reply, error) { return OK(panicky{}), nil },
		"/chan":    func(*Call) (Reply, error) { return OK(make(chan int)), nil },
		"/moved":   func(*Call) (Reply, error) { return Status(302), nil },
	}
	var ops []Operation
	for pattern, h := range handlers {
		ops = append(ops, Operation{Method: "GET", Pattern: pattern, Action: Public, Handler: h})
	}
	f := newFixture(t, ops...)
	s := httptest.NewServer(f.api)
	defer s.Close()
	for pattern := range handlers {
		res, err := s.Client().Get(s.URL + pattern)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 500 || strings.Contains(string(body), "hunter2") || !strings.Contains(string(body), res.Header.Get("X-Ms-Correlation-Request-Id")) {
			t.Errorf("%s: %d %s %v", pattern, res.StatusCode, body, err)
		}
		if !strings.Contains(f.log.String(), res.Header.Get("X-Ms-Correlation-Request-Id")) {
			t.Errorf("%s is not logged", pattern)
		}
	}
	if !strings.Contains(f.log.String(), "api_test.go") {
		t.Error("no stack is logged")
	}
}

type panicky struct{}

func (panicky) MarshalJSON() ([]byte, error) { panic("not today") }

func TestCallsAreRecorded(t *testing.T) {
	tests := []struct {
		name, method, target, token string
		want                        AuditEntry
	}{
		{"read", "GET", sentSite, "owner", AuditEntry{Action: "Microsoft.Web/sites/read", Scope: sentSite, Status: 200}},
		{"change", "PUT", sentSite, "owner", AuditEntry{Action: "Microsoft.Web/sites/write", Scope: sentSite, Status: 200, Changed: true}},
		{"deletion", "DELETE", sentSite, "owner", AuditEntry{Action: "Microsoft.Web/sites/delete", Scope: sentSite, Status: 200, Changed: true}},
		{"action", "POST", sentSite + "/syncfunctiontriggers", "owner",
			AuditEntry{Action: "Microsoft.Web/sites/syncfunctiontriggers/action", Scope: sentSite, Status: 200, Changed: true}},
		{"secrets read", "POST", sentSite + "/host/default/listkeys", "owner",
			AuditEntry{Action: "Microsoft.Web/sites/host/listkeys/action", Scope: sentSite, Status: 200, Secret: true}},
		{"secrets denied", "POST", sentSite + "/host/default/listkeys", "stranger",
			AuditEntry{Action: "Microsoft.Web/sites/host/listkeys/action", Scope: sentSite, Status: 403, Code: "AuthorizationFailed", Denied: "does not have authorization"}},
		{"no token", "GET", sentSite, "", AuditEntry{Action: "Microsoft.Web/sites/read", Scope: sentSite, Status: 401, Code: "AuthenticationFailed", Denied: "header is missing"}},
		{"failure on the way", "PUT", "/broken", "owner",
			AuditEntry{Action: "Microsoft.Resources/broken/write", Scope: "/", Status: 500, Code: "InternalServerError", Changed: true}},
		{"refused change", "PUT", "/refused", "owner", AuditEntry{Action: "Microsoft.Resources/refused/write", Scope: "/", Status: 400, Code: "BadRequest"}},
		{"open", "GET", "/open", "stranger", AuditEntry{Scope: "/", Status: 200}},
	}
	fail := func(err error) Handler { return func(*Call) (Reply, error) { return Reply{}, err } }
	for _, tt := range tests {
		f := newFixture(t, append(operations(),
			Operation{Method: "PUT", Pattern: "/broken", Handler: fail(io.ErrUnexpectedEOF)},
			Operation{Method: "PUT", Pattern: "/refused", Handler: fail(problem.Invalid)})...)
		token := ""
		if tt.token != "" {
			token = "Bearer " + tt.token
			tt.want.Caller = Caller{ObjectID: tt.token, AppID: "app-" + tt.token, Groups: []string{"readers"}}
		}
		f.call(tt.method, tt.target+version, "", "Authorization", token, "X-Ms-Correlation-Request-Id", "corr")
		if len(f.seen) != 1 {
			t.Fatalf("%s: %d entries", tt.name, len(f.seen))
		}
		got := f.seen[0]
		if !strings.Contains(got.Denied, tt.want.Denied) || (got.Denied == "") != (tt.want.Denied == "") {
			t.Errorf("%s: denied is %q", tt.name, got.Denied)
		}
		tt.want.Time, tt.want.Method, tt.want.Path = f.api.cfg.Clock.Now(), tt.method, tt.target
		tt.want.Remote, tt.want.CorrelationID, tt.want.Denied = got.Remote, "corr", got.Denied
		if diff := cmp.Diff(tt.want, got); diff != "" || got.Remote == "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	f := newFixture(t, operations()...)
	f.call("GET", "/public", "")
	f.call("GET", "/nothing", "")
	if len(f.seen) != 0 {
		t.Errorf("what needs no token is recorded: %v", f.seen)
	}
}

func TestAnswersAreWithheldWhenTheyCannotBeRecorded(t *testing.T) {
	tests := []struct {
		name, method, target, token string
		status                      int
	}{
		{"secrets", "POST", sentSite + "/host/default/listkeys", "Bearer owner", 503},
		{"change", "PUT", sentSite, "Bearer owner", 503},
		{"read", "GET", sentSite, "Bearer owner", 200},
		{"denial", "PUT", sentSite, "Bearer stranger", 403},
	}
	for _, tt := range tests {
		f := newFixture(t, operations()...)
		f.fail = errors.New("disk full")
		w := f.call(tt.method, tt.target+version, "", "Authorization", tt.token)
		if w.Code != tt.status || tt.status == 503 && strings.Contains(w.Body.String(), "params") {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if !strings.Contains(f.log.String(), "disk full") {
			t.Errorf("%s: not logged", tt.name)
		}
	}
}

func TestAdmitRefusesAfterTheRole(t *testing.T) {
	api, err := New(Config{Authenticate: authenticate, Authorize: &fixture{}, Admit: func(c *Call) error {
		return GroupNotFound(c.Scope.Group())
	}}, operations()...)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{api: api}
	if w := f.call("PUT", sentSite+version, ""); w.Code != 404 || code(t, w) != "ResourceGroupNotFound" || w.Header().Get("X-Ms-Failure-Cause") != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.call("PUT", sentSite+version, "", "Authorization", "Bearer stranger"); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
