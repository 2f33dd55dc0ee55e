package vaultapi

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

func TestErrorsAsClientsReadThem(t *testing.T) {
	coded := func(k problem.Kind, c vault.Code, message string) error { return problem.Wrap(k, message, c) }
	tests := []struct {
		name         string
		err          error
		status       int
		body, reason string
	}{
		{"policy", coded(problem.Denied, vault.ForbiddenByPolicy, "The user, group or application 'a'"), 403,
			`{"error":{"code":"Forbidden","message":"The user, group or application 'a'","innererror":{"code":"ForbiddenByPolicy"}}}`, "ForbiddenByPolicy"},
		{"role", coded(problem.Denied, vault.ForbiddenByRbac, "Caller is not authorized.\r\nVault: kv"), 403,
			`{"error":{"code":"Forbidden","message":"Caller is not authorized.\r\nVault: kv","innererror":{"code":"ForbiddenByRbac"}}}`, "ForbiddenByRbac"},
		{"disabled", coded(problem.Denied, vault.SecretDisabled, "Operation get is not allowed on a disabled secret."), 403,
			`{"error":{"code":"Forbidden","message":"Operation get is not allowed on a disabled secret.","innererror":{"code":"SecretDisabled"}}}`, "SecretDisabled"},
		{"not found", coded(problem.NotFound, vault.SecretNotFound, "A secret with (name/id) n was not found"), 404,
			`{"error":{"code":"SecretNotFound","message":"A secret with (name/id) n was not found"}}`, "SecretNotFound"},
		{"deleted", coded(problem.Conflict, vault.SecretDeleted, "Secret n is currently in a deleted but recoverable state"), 409,
			`{"error":{"code":"Conflict","message":"Secret n is currently in a deleted but recoverable state","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}`, "ObjectIsDeletedButRecoverable"},
		{"being deleted", coded(problem.Conflict, vault.SecretBeingDeleted, "Secret n is currently being deleted."), 409,
			`{"error":{"code":"Conflict","message":"Secret n is currently being deleted.","innererror":{"code":"ObjectIsBeingDeleted"}}}`, "ObjectIsBeingDeleted"},
		{"bad backup", coded(problem.Invalid, vault.BadParameter, "The backup is damaged."), 400,
			`{"error":{"code":"BadParameter","message":"The backup is damaged."}}`, "BadParameter"},
		{"invalid", problem.New(problem.Invalid, "a tag is too long").WithNext("shorten it"), 400,
			`{"error":{"code":"BadParameter","message":"A tag is too long. Shorten it."}}`, "BadParameter"},
		{"too large", problem.New(problem.TooLarge, "the value has more than 25600 bytes"), 400,
			`{"error":{"code":"BadParameter","message":"The value has more than 25600 bytes."}}`, "BadParameter"},
		{"conflict", problem.New(problem.Conflict, "too many changes at once"), 409,
			`{"error":{"code":"Conflict","message":"Too many changes at once."}}`, "Conflict"},
		{"unavailable", problem.Wrap(problem.Unavailable, "the state cannot be reached", errUnexpected), 503,
			`{"error":{"code":"ServiceUnavailable","message":"The state cannot be reached."}}`, "ServiceUnavailable"},
		{"throttled", problem.New(problem.Throttled, "slow down"), 429, `{"error":{"code":"Throttled","message":"Slow down."}}`, "Throttled"},
		{"too late", context.DeadlineExceeded, 504, "", "GatewayTimeout"},
		{"client gone", context.Canceled, 499, "", "ClientClosedRequest"},
		{"unexpected", errUnexpected, 500, "", "InternalServerError"},
		{"unreadable", problem.Wrap(problem.Undecryptable, "document /x cannot be opened", errUnexpected), 409, "", "StoredDataUnreadable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			e.secrets.err = tt.err
			w := e.do("GET", "/secrets/n?api-version=7.4", "")
			if w.Code != tt.status || e.last().Reason != tt.reason {
				t.Errorf("%d %s, reason %q", w.Code, w.Body, e.last().Reason)
			}
			if diff := cmp.Diff(tt.body, w.Body.String()); tt.body != "" && diff != "" {
				t.Error(diff)
			}
			if strings.Contains(w.Body.String(), "business") {
				t.Error("an inner error is told")
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (tt.status == 429 || tt.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

func TestRefusalsComeFromTheCheckAndReachNothing(t *testing.T) {
	e := newEnv(t)
	e.vaults.err = problem.Wrap(problem.Denied, "Client address is not authorized.", vault.ForbiddenByFirewall)
	w := e.do("PUT", "/secrets/n?api-version=7.4", `{"value":"s"}`)
	if w.Code != 403 || len(e.secrets.calls)+len(e.audits) > 0 {
		t.Errorf("%d %s %v", w.Code, w.Body, e.secrets.calls)
	}
	if ev := e.last(); ev.Reason != "ForbiddenByFirewall" || ev.Code != "Forbidden" || ev.Changed || ev.Caller.ObjectID != "oid" {
		t.Errorf("event %+v", ev)
	}
}

func TestPanicIsAnErrorAndIsNotToldNorLogged(t *testing.T) {
	e := newEnv(t)
	e.secrets.panic = true
	w := e.do("PUT", "/secrets/n?api-version=7.4", `{"value":"s"}`)
	if w.Code != 500 || strings.Contains(w.Body.String(), "with a value") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(e.audits) != 1 || !e.audits[0].Changed {
		t.Error("what may have happened is not recorded")
	}
}

func TestChangesThatCannotBeRecordedAreNotAnswered(t *testing.T) {
	tests := []struct {
		method, target, body string
		status               int
	}{
		{"PUT", "/secrets/n?api-version=7.4", `{"value":"s"}`, 503},
		{"POST", "/secrets/n/backup?api-version=7.4", "", 503},
		{"DELETE", "/deletedsecrets/n?api-version=7.4", "", 503},
		{"GET", "/secrets/n?api-version=7.4", "", 200},
	}
	for _, tt := range tests {
		e := newEnv(t, func(c *Config) {
			c.Audit = func(context.Context, Event) error { return problem.New(problem.Unavailable, "full") }
		})
		e.secrets.value = "the-value"
		w := e.do(tt.method, tt.target, tt.body)
		if w.Code != tt.status || tt.status == 503 && (strings.Contains(w.Body.String(), "the-value") || strings.Contains(w.Body.String(), "YmxvYg")) {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, w.Code, w.Body)
		}
		if ev := e.last(); ev.Audited || ev.Status != tt.status {
			t.Errorf("event %+v", ev)
		}
	}
}

func TestWritesThatFailAreRecordedOnlyIfTheyMayHaveHappened(t *testing.T) {
	for kind, recorded := range map[problem.Kind]bool{problem.Unavailable: true, problem.Internal: true, problem.Conflict: false, problem.Invalid: false} {
		e := newEnv(t)
		e.secrets.err = problem.New(kind, "no")
		e.do("DELETE", "/secrets/n?api-version=7.4", "")
		if got := len(e.audits) == 1; got != recorded {
			t.Errorf("%v: recorded is %v", kind, got)
		}
	}
}

func TestThrottle(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.RatePer10s = 2 })
	get := func() int { return e.do("GET", "/secrets/n?api-version=7.4", "").Code }
	if a, b := get(), get(); a != 200 || b != 200 {
		t.Fatalf("%d %d", a, b)
	}
	e.clock.Advance(window / 2)
	w := e.do("GET", "/secrets/n?api-version=7.4", "")
	if w.Code != 429 || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), `"code":"Throttled"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if e.last().Code != "Throttled" {
		t.Errorf("event %+v", e.last())
	}
	if code := e.send("GET", "/secrets/n", "", "").Code; code != 401 {
		t.Errorf("strangers get %d", code)
	}
	e.clock.Advance(window / 2)
	if code := get(); code != 200 {
		t.Errorf("after the window: %d", code)
	}
}

func TestThrottleForgetsVaults(t *testing.T) {
	th := newThrottle(1)
	e := newEnv(t)
	for i := range maxWindows {
		th.wait(strings.Repeat("x", i+1), e.clock.Now())
	}
	e.clock.Advance(window)
	th.wait("another", e.clock.Now())
	if len(th.vaults) != 1 {
		t.Errorf("%d vaults are remembered", len(th.vaults))
	}
}
