package vaultapi

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const item = `{"id":"https://kv1.vault.localhost:7443/secrets/NAME","attributes":{"enabled":true,"created":1700000000,"updated":1700000001,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}`

func TestPagesAsTheyAreAnswered(t *testing.T) {
	gone := `{"recoveryId":"https://kv1.vault.localhost:7443/deletedsecrets/NAME","deletedDate":1700000000,"scheduledPurgeDate":1707776000,` + item[1:]
	const link = `,"nextLink":"https://kv1.vault.localhost:7443PATH?api-version=2026-04-01&$skiptoken=eyJOZXh0TWFya2VyIjoiYiIsIlRhcmdldExvY2F0aW9uIjowfQ%3D%3D&maxresults=2"}`
	tests := []struct{ name, path, item string }{
		{"secrets", "/secrets", item},
		{"versions", "/secrets/n/versions", strings.Replace(item, "NAME", "NAME/"+version, 1)},
		{"deleted", "/deletedsecrets", gone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			e.secrets.pages = map[string]page{"": {[]string{"a", "b"}, "b"}, "b": {[]string{"c"}, ""}}
			named := func(n string) string { return strings.ReplaceAll(tt.item, "NAME", n) }
			w := e.do("GET", tt.path+"?api-version=2026-04-01&maxresults=2", "")
			want := `{"value":[` + named("a") + "," + named("b") + "]" + strings.Replace(link, "PATH", tt.path, 1)
			if diff := cmp.Diff(want, w.Body.String()); diff != "" {
				t.Fatal(diff)
			}
			w = e.do("GET", nextOf(t, w.Body.Bytes()), "")
			if diff := cmp.Diff(`{"value":[`+named("c")+`],"nextLink":null}`, w.Body.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// nextOf gives the path and query of a page's link.
func nextOf(t *testing.T, body []byte) string {
	t.Helper()
	var p struct{ NextLink string }
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(p.NextLink)
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != host {
		t.Fatalf("the link goes to %q", u.Host)
	}
	return u.RequestURI()
}

func TestPagesThatAreEmptyCanHaveASuccessor(t *testing.T) {
	e := newEnv(t)
	e.secrets.pages = map[string]page{"": {nil, "a"}, "a": {[]string{"b"}, ""}}
	w := e.do("GET", "/secrets?api-version=7.4", "")
	if !strings.HasPrefix(w.Body.String(), `{"value":[],"nextLink":"https://`) {
		t.Fatalf("%s", w.Body)
	}
	if w = e.do("GET", nextOf(t, w.Body.Bytes()), ""); !strings.Contains(w.Body.String(), "/secrets/b") {
		t.Errorf("%s", w.Body)
	}
}

func TestListsCanBeginWithAnEmptyPage(t *testing.T) {
	for _, path := range []string{"/secrets", "/secrets/n/versions", "/deletedsecrets"} {
		e := newEnv(t, func(c *Config) { c.EmptyPages = true })
		e.secrets.pages = map[string]page{"": {[]string{"a"}, ""}}
		w := e.do("GET", path+"?api-version=7.4", "")
		if !strings.HasPrefix(w.Body.String(), `{"value":[],"nextLink":"https://`) {
			t.Fatalf("%s: %s", path, w.Body)
		}
		w = e.do("GET", nextOf(t, w.Body.Bytes()), "")
		if !strings.Contains(w.Body.String(), "/secrets/a") || !strings.HasSuffix(w.Body.String(), `"nextLink":null}`) {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

func TestLinksSpellThePort(t *testing.T) {
	q := query{version: "7.4"}
	for host, want := range map[string]string{
		"kv1.vault.localhost:7443": "https://kv1.vault.localhost:7443/secrets?",
		"kv1.vault.azure.net":      "https://kv1.vault.azure.net:443/secrets?",
		"[::1]":                    "https://[::1]:443/secrets?",
		"[::1]:7443":               "https://[::1]:7443/secrets?",
	} {
		if got := q.nextLink(host, "/secrets", "m"); !strings.HasPrefix(got, want) || strings.Contains(got, "maxresults") {
			t.Errorf("%s: %s", host, got)
		}
	}
}
