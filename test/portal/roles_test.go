package portal_test

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// walker is somebody who follows every link of the portal and notes what could be sent.
type walker struct {
	t    *testing.T
	base string
	http *http.Client

	csrf  string
	forms map[string]url.Values // fields by address; what looks around is left out
	pages map[string]string     // by path
	fail  []string              // ends of addresses of pages that may fail
}

// walk signs in with a link and goes through all pages.
func walk(t *testing.T, p *platformtest.Platform, link string) *walker {
	t.Helper()
	return walkAt(t, p.Cred.Endpoint, link)
}

// walkAt is walk for a portal at an address; pages whose address ends with some text may
// fail.
func walkAt(t *testing.T, base, link string, fail ...string) *walker {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is the test's own node
	t.Cleanup(transport.CloseIdleConnections)
	w := &walker{t: t, base: base, fail: fail, forms: map[string]url.Values{}, pages: map[string]string{}, http: &http.Client{
		Jar: jar, Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	if status := w.post("/portal/signin", url.Values{"link": {u.Query().Get("link")}}); status != http.StatusSeeOther {
		t.Fatalf("signing in: %d", status)
	}
	for next := []string{"/portal/"}; len(next) > 0 && len(w.pages) < 400; {
		at := next[0]
		next = next[1:]
		if _, been := w.pages[at]; !been {
			next = append(next, w.open(at)...)
		}
	}
	return w
}

// post sends a form and gives the status of the answer.
func (w *walker) post(at string, form url.Values) int {
	w.t.Helper()
	answer := w.do(at, form)
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// send sends a form and gives the answer.
func (w *walker) send(at string, form url.Values) string {
	w.t.Helper()
	answer := w.do(at, form)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= http.StatusInternalServerError {
		w.t.Errorf("%s: %d, %v", at, answer.StatusCode, err)
	}
	return string(text)
}

func (w *walker) do(at string, form url.Values) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.base+at, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// open reads a page, notes its forms, and gives the pages that it leads to.
func (w *walker) open(at string) (links []string) {
	w.t.Helper()
	answer, err := w.http.Get(w.base + at)
	if err != nil {
		w.t.Fatalf("%s: %v", at, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", at, err)
	}
	w.pages[at] = string(text)
	if answer.StatusCode >= http.StatusInternalServerError && !slices.ContainsFunc(w.fail, func(end string) bool { return strings.HasSuffix(at, end) }) {
		w.t.Errorf("%s: %d", at, answer.StatusCode)
	}
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
		return nil
	}
	doc, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		w.t.Fatal(err)
	}
	for n := range doc.Descendants() {
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "a" && strings.HasPrefix(attr(n, "href"), "/portal/") && attr(n, "download") == "":
			to, _, _ := strings.Cut(attr(n, "href"), "#")
			if u, err := url.Parse(to); err == nil && !strings.HasPrefix(u.Path, "/portal/audit") && !strings.HasPrefix(u.Path, "/portal/why") && u.Path != "/portal/audit/export" {
				links = append(links, to)
			}
		case n.Data == "form" && attr(n, "method") == "post":
			w.note(n)
		}
	}
	return links
}

// note keeps a form.
func (w *walker) note(form *html.Node) {
	to, fields, sends := attr(form, "action"), url.Values{}, false
	for n := range form.Descendants() {
		sends = sends || n.Type == html.ElementNode && n.Data == "button" && attr(n, "type") != "button"
		switch {
		case n.Type != html.ElementNode || attr(n, "name") == "":
		case n.Data == "input" && slices.Contains([]string{"", "text", "password"}, attr(n, "type")) && attr(n, "value") == "":
			fields.Add(attr(n, "name"), "x")
		case n.Data == "input" && attr(n, "type") != "radio" && attr(n, "type") != "checkbox":
			fields.Add(attr(n, "name"), attr(n, "value"))
		case n.Data == "select":
			for o := range n.Descendants() {
				if o.Data != "option" {
					continue
				}
				value := attr(o, "value")
				if value == "" && o.FirstChild != nil {
					value = o.FirstChild.Data
				}
				fields.Set(attr(n, "name"), value)
				break
			}
		}
	}
	w.csrf = fields.Get("csrf")
	to, _, _ = strings.Cut(to, "#")
	for _, own := range []string{"/portal/signout", "/portal/signout-everywhere", "/portal/language"} {
		if to == own {
			return
		}
	}
	if sends {
		w.forms[to] = fields
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// TestWhatIsShownIsWhatRolesAllow has people of several roles go through all pages:
// each is shown what the owner is, as far as their roles allow it; and what is not
// shown is refused when it is sent all the same.
func TestWhatIsShownIsWhatRolesAllow(t *testing.T) {
	p := start(t)
	vault := withVault(t, p)
	group := strings.TrimSuffix(p.Site("orders"), "/providers/Microsoft.Web/sites/orders")
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shared?api-version=2023-01-31", map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, nil)
	refer(t, p)
	const officer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + officer, "principalId": ownerID(t, p)}}, nil)
	const keyUser = "00000000-0000-4000-8000-00000000beef"
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.Authorization/roleDefinitions/"+keyUser+"?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleName": "Manages apps but reads no keys", "assignableScopes": []string{group}, "permissions": []any{map[string]any{
			"actions": []string{"Microsoft.Web/sites/*"}, "notActions": []string{"Microsoft.Web/sites/*/listkeys/action"},
		}}}}, nil)

	owner := walk(t, p, link(t, p))
	for _, form := range []string{"/portal/apps/rg/orders/stop", "/portal/apps/rg/orders/keys/host/default/show", "/portal/vaults/rg/lab/secrets/db/show", "/portal/audit/verify"} {
		if form == "/portal/audit/verify" {
			owner.open("/portal/audit")
		}
		if owner.forms[form] == nil {
			t.Errorf("the owner is not shown %s", form)
		}
	}
	for name, tt := range map[string]struct {
		role  string
		shown func(form string) bool
	}{
		"reader":      {reader, func(string) bool { return false }},
		"contributor": {contributor, func(form string) bool { return !ofAccess(form) && !ofSecrets(form) && !ofAll(form) }},
		"key-user": {keyUser, func(form string) bool {
			return strings.HasPrefix(form, "/portal/apps/") && !ofValues(form) && !strings.HasSuffix(form, "/identity/assign")
		}},
	} {
		w := walk(t, p, admit(t, p, name, tt.role, group))
		w.open("/portal/audit")
		for page := range owner.pages { // also what nothing leads to
			if _, been := w.pages[page]; !been {
				w.open(page)
			}
		}
		for _, form := range slices.Sorted(maps.Keys(owner.forms)) {
			fields := maps.Clone(owner.forms[form])
			fields.Set("csrf", w.csrf)
			// A function is called by whoever knows a key, and has an address without one.
			if strings.HasSuffix(form, "/test") {
				continue
			}
			if strings.HasSuffix(form, "/address") {
				if status := w.post(form, fields); (status == http.StatusOK) != tt.shown("/portal/apps/rg/orders/keys/host/default/show") {
					t.Errorf("%s: %s with a key is answered %d", name, form, status)
				}
				continue
			}
			if shown := w.forms[form] != nil; shown != tt.shown(form) {
				t.Errorf("%s: %s is shown: %v", name, form, shown)
			}
			if w.forms[form] != nil {
				continue
			}
			if status := w.post(form, fields); status != http.StatusForbidden && status != http.StatusNotFound {
				t.Errorf("%s: %s, sent all the same, is answered %d", name, form, status)
			}
		}
	}
}

// ofAll reports whether a form is about the whole installation.
func ofAll(form string) bool { return form == "/portal/audit/verify" || form == "/portal/whose" }

// ofAccess reports whether a form gives or takes roles.
func ofAccess(form string) bool { return strings.HasPrefix(form, "/portal/access/") }

// ofSecrets reports whether a form is about what is in a vault.
func ofSecrets(form string) bool {
	return strings.HasPrefix(form, "/portal/vaults/rg/lab/") && form != "/portal/vaults/rg/lab/delete"
}

// ofValues reports whether a form is about the values of keys: it shows them, or whose
// one is.
func ofValues(form string) bool {
	return strings.HasSuffix(form, "/show") && strings.Contains(form, "/keys/") || strings.HasSuffix(form, "/whose")
}
