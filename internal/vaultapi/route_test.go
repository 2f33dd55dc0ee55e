package vaultapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const bundleBody = `{"id":"https://kv1.vault.localhost:7443/secrets/n/0123456789abcdef0123456789abcdef","attributes":{"enabled":true,"created":1700000000,"updated":1700000001,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}`

func TestOperations(t *testing.T) {
	const v = "?api-version=7.4"
	valued := strings.Replace(bundleBody, "{", `{"value":"s",`, 1)
	deleted := strings.Replace(bundleBody, "{", `{"recoveryId":"https://kv1.vault.localhost:7443/deletedsecrets/n","deletedDate":1700000000,"scheduledPurgeDate":1707776000,`, 1)
	tests := []struct {
		name, method, target, body string
		status                     int
		answer, call, checked      string
		operation                  string
		audited                    bool
	}{
		{"set", "PUT", "/secrets/n" + v, `{"value":"s"}`, 200, valued, "set n s", "set n", "set", true},
		{"get", "GET", "/secrets/n" + v, "", 200, valued, "get n ", "get n", "get", false},
		{"get with slash", "GET", "/secrets/n/" + v, "", 200, valued, "get n ", "get n", "get", false},
		{"get with doubled slash", "GET", "//secrets//n" + v, "", 200, valued, "get n ", "get n", "get", false},
		{"get with other case", "GET", "/SECRETS/n" + v, "", 200, valued, "get n ", "get n", "get", false},
		{"get encoded", "GET", "/secrets/%6e" + v, "", 200, valued, "get n ", "get n", "get", false},
		{"get version", "GET", "/secrets/n/" + version + v, "", 200, valued, "get n " + version, "get n", "get", false},
		{"get for a certificate", "GET", "/secrets/n" + v + "&outContentType=application/x-pkcs12", "", 200, valued, "get n ", "get n", "get", false},
		{"get secret named restore", "GET", "/secrets/restore" + v, "", 200, "", "get restore ", "get restore", "get", false},
		{"update version", "PATCH", "/secrets/n/" + version + v, `{}`, 200, bundleBody, "update n " + version, "update n", "update", true},
		{"update latest", "PATCH", "/secrets/n/" + v, `{}`, 200, bundleBody, "update n ", "update n", "update", true},
		{"delete", "DELETE", "/secrets/n" + v, "", 200, deleted, "delete n", "delete n", "delete", true},
		{"list", "GET", "/secrets" + v, "", 200, `{"value":[],"nextLink":null}`, `list "" 25`, "list", "list", false},
		{"list some", "GET", "/secrets/" + v + "&maxresults=3", "", 200, "", `list "" 3`, "list", "list", false},
		{"list versions", "GET", "/secrets/n/versions" + v, "", 200, "", `versions n "" 25`, "list n", "listVersions", false},
		{"list deleted", "GET", "/deletedsecrets" + v, "", 200, "", `deleted "" 25`, "list", "listDeleted", false},
		{"get deleted", "GET", "/deletedsecrets/n" + v, "", 200, deleted, "getDeleted n", "get n", "getDeleted", false},
		{"purge", "DELETE", "/deletedsecrets/n" + v, "", 204, "", "purge n", "purge n", "purge", true},
		{"recover", "POST", "/deletedsecrets/n/recover" + v, "", 200, bundleBody, "recover n", "recover n", "recover", true},
		{"backup", "POST", "/secrets/n/backup" + v, "", 200, `{"value":"YmxvYg"}`, "backup n", "backup n", "backup", true},
		{"restore", "POST", "/secrets/restore" + v, `{"value":"YmxvYg"}`, 200, strings.Replace(bundleBody, "/n/", "/restored/", 1), "restore YmxvYg", "restore", "restore", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			e.secrets.value = "s"
			w := e.do(tt.method, tt.target, tt.body)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.answer != "" || tt.status == 204 {
				if diff := cmp.Diff(tt.answer, w.Body.String()); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff([]string{tt.call}, e.secrets.calls); diff != "" {
				t.Error(diff)
			}
			for _, asked := range e.vaults.asked {
				if asked != tt.checked {
					t.Errorf("checked %q, want %q", asked, tt.checked)
				}
			}
			if len(e.vaults.asked) == 0 {
				t.Error("access was not checked")
			}
			ev := e.last()
			if ev.Operation != tt.operation || ev.Audited != tt.audited || ev.Status != tt.status || ev.Code != "" || ev.VaultID != vaultID {
				t.Errorf("event %+v", ev)
			}
			if len(e.audits) > 0 != tt.audited {
				t.Errorf("%d audit events", len(e.audits))
			}
			if changed := tt.audited && tt.operation != "backup"; ev.Changed != changed {
				t.Errorf("changed is %v", ev.Changed)
			}
		})
	}
}

func TestRequestsThatAreRefusedBeforeAnythingIsDone(t *testing.T) {
	const v = "?api-version=7.4"
	tests := []struct {
		name, method, target, body string
		status                     int
		code, message              string // message: a part of it
	}{
		{"no api-version", "GET", "/secrets/n", "", 400, "BadParameter", "api-version is missing"},
		{"empty api-version", "GET", "/secrets/n?api-version=", "", 400, "BadParameter", "api-version is missing"},
		{"bad api-version", "GET", "/secrets/n?api-version=latest", "", 400, "BadParameter", "api-version latest"},
		{"other major api-version", "GET", "/secrets/n?api-version=8.0", "", 400, "BadParameter", "api-version 8.0"},
		{"bad escape in the query", "GET", "/secrets/n?api-version=%zz", "", 400, "BadParameter", "not encoded"},
		{"long query", "GET", "/secrets/n" + v + "&x=" + strings.Repeat("y", 5000), "", 400, "BadParameter", "too long"},
		{"name with underscore", "GET", "/secrets/a_b" + v, "", 400, "BadParameter", "The request URI contains an invalid name: a_b"},
		{"name with slash", "GET", "/secrets/a%2Fb" + v, "", 400, "BadParameter", "invalid name: a/b"},
		{"name with dots", "GET", "/secrets/.." + v, "", 400, "BadParameter", "invalid name"},
		{"name too long", "GET", "/secrets/" + strings.Repeat("a", 128) + v, "", 400, "BadParameter", "invalid name"},
		{"bad version", "GET", "/secrets/a/b.c" + v, "", 400, "BadParameter", "invalid name: b.c"},
		{"bad name to list versions of", "GET", "/secrets/a_b/versions" + v, "", 400, "BadParameter", "invalid name"},
		{"bad name to back up", "POST", "/secrets/a_b/backup" + v, "", 400, "BadParameter", "invalid name"},
		{"long path", "GET", "/secrets/" + strings.Repeat("a/", 1000) + v, "", 400, "BadParameter", "URI"},
		{"path too deep", "GET", "/secrets/a/b/c" + v, "", 404, "NotFound", "no such path"},
		{"root", "GET", "/", "", 404, "NotFound", "no such path"},
		{"unknown collection", "GET", "/things" + v, "", 404, "NotFound", "no such path"},
		{"recover what", "POST", "/deletedsecrets/n/other" + v, "", 404, "NotFound", "no such path"},
		{"wrong method", "POST", "/secrets/n" + v, "{}", 405, "MethodNotAllowed", "POST"},
		{"wrong method for a version", "DELETE", "/secrets/n/" + version + v, "", 405, "MethodNotAllowed", "DELETE"},
		{"wrong method for the list", "PUT", "/secrets" + v, "{}", 405, "MethodNotAllowed", "PUT"},
		{"wrong method to recover", "GET", "/deletedsecrets/n/recover" + v, "", 405, "MethodNotAllowed", "GET"},
		{"keys", "POST", "/keys/k/create" + v, "{}", 501, "NotSupported", "secrets only"},
		{"certificates", "GET", "/certificates/c" + v, "", 501, "NotSupported", "secrets only"},
		{"storage", "GET", "/storage" + v, "", 501, "NotSupported", "secrets only"},
		{"contacts", "GET", "/certificates/contacts" + v, "", 404, "ContactsNotFound", "not found"},
		{"contacts cannot be set", "PUT", "/certificates/contacts" + v, "{}", 501, "NotSupported", "secrets only"},
		{"maxresults zero", "GET", "/secrets" + v + "&maxresults=0", "", 400, "BadParameter", "maxresults"},
		{"maxresults too many", "GET", "/secrets" + v + "&maxresults=26", "", 400, "BadParameter", "maxresults"},
		{"maxresults no number", "GET", "/secrets" + v + "&maxresults=x", "", 400, "BadParameter", "maxresults"},
		{"skip token no base64", "GET", "/secrets" + v + "&$skiptoken=%", "", 400, "BadParameter", "not encoded"},
		{"skip token no json", "GET", "/secrets" + v + "&$skiptoken=YWJj", "", 400, "BadParameter", "$skiptoken"},
		{"skip token with other names", "GET", "/secrets" + v + "&$skiptoken=eyJOZXh0TWFya2VyIjoiLi4vYSJ9", "", 400, "BadParameter", "$skiptoken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			w := e.do(tt.method, tt.target, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), `"code":"`+tt.code+`"`) || !strings.Contains(w.Body.String(), tt.message) {
				t.Errorf("got %d %s, want %d %s %q", w.Code, w.Body, tt.status, tt.code, tt.message)
			}
			if len(e.secrets.calls)+len(e.audits) > 0 {
				t.Errorf("something was done: %v", e.secrets.calls)
			}
			if ev := e.last(); ev.Code != tt.code || ev.Status != tt.status {
				t.Errorf("event %+v", ev)
			}
		})
	}
}

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	w := newEnv(t).do("POST", "/secrets/n?api-version=7.4", "")
	if got := w.Header().Get("Allow"); got != "GET, PUT, PATCH, DELETE" {
		t.Errorf("Allow is %q", got)
	}
}

func TestMethodOverrideIsIgnored(t *testing.T) {
	e := newEnv(t)
	r, err := http.NewRequest(http.MethodPost, "https://"+host+"/secrets/n?api-version=7.4", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer ok")
	r.Header.Set("X-HTTP-Method", "DELETE")
	if w := e.raw(r); w.Code != http.StatusMethodNotAllowed || len(e.secrets.calls) > 0 {
		t.Errorf("got %d, calls %v", w.Code, e.secrets.calls)
	}
}

func TestAPIVersions(t *testing.T) {
	for _, good := range []string{"7.0", "7.4", "7.6", "7.6-preview.2", "2025-07-01", "2026-04-01", "2025-06-01-preview"} {
		if w := newEnv(t).do("GET", "/secrets/n?API-Version="+good, ""); w.Code != 200 {
			t.Errorf("%s: %d %s", good, w.Code, w.Body)
		}
	}
	for _, bad := range []string{"7", "7.", "7.x", "7.4-preview", "7.4-preview.", "2025-7-1", "2025-07-01-beta", "20250701", "7.4 "} {
		if err := checkVersion(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
