package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal"
	"github.com/latchkey/latchkey/internal/portal/console"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// poison is what every text of the management API and of vaults has at its end, when
// they answer the portal of the test: names, notes, reasons, everything that anybody
// could have written, and what nobody could.
const poison = `'"><img src=x onerror=boom()><b id=hostile onclick=boom()>{{.}}</title><script>boom()</script>` + "`\u202e"

// steers are members that say what something is: other values would only lead to pages
// that show less. They are enumerations of the API.
var steers = []string{
	"state", "status", "type", "kind", "runningStatus", "provisioningState", "authLevel", "activeRevisionsMode", "category", "outcome", "direction", "by", "trigger",
}

// poisoner stands between the portal and a node.
type poisoner struct {
	t        *testing.T
	node     *armclient.Client
	resource string                    // that tokens are for
	rewrite  func(text string) string  // of texts
	keep     func(name, s string) bool // texts that stay
}

// ServeHTTP asks the node what the portal asks, without the poison, and answers with it.
func (p *poisoner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, err := p.node.Token(r.Context(), p.resource)
	if err != nil {
		p.t.Error(err)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if len(body) > 0 {
		body = changed(body, func(_, s string) string { return clean(s) })
	}
	u := *r.URL
	u.Scheme, u.Host = "https", r.Host
	u.Path, u.RawPath = clean(u.Path), ""
	q := u.Query()
	for name, values := range q {
		for i := range values {
			values[i] = clean(values[i])
		}
		q[name] = values
	}
	u.RawQuery = q.Encode()
	out, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return
	}
	out.Header = r.Header.Clone()
	out.Header.Set("Authorization", "Bearer "+token.Raw)
	answer, err := p.node.Transport().RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if strings.Contains(answer.Header.Get("Content-Type"), "json") && !strings.HasSuffix(u.Path, "/permissions") {
		text = changed(text, func(name, s string) string {
			if p.keep(name, s) {
				return s
			}
			return p.rewrite(s)
		})
	}
	maps.Copy(w.Header(), answer.Header)
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(text)
}

func clean(s string) string { return strings.ReplaceAll(s, poison, "") }

// changed changes all texts of a document, by the name of the member that each is of.
func changed(document []byte, change func(name, s string) string) []byte {
	var v any
	if json.Unmarshal(document, &v) != nil {
		return document
	}
	var visit func(name string, v any) any
	visit = func(name string, v any) any {
		switch v := v.(type) {
		case string:
			return change(name, v)
		case []any:
			for i := range v {
				v[i] = visit(name, v[i])
			}
		case map[string]any:
			out := make(map[string]any, len(v))
			for member, value := range v {
				to := member
				if slices.Contains([]string{"details", "tags", "userAssignedIdentities", "settings"}, name) {
					to = change("", member)
				}
				out[to] = visit(member, value)
			}
			return out
		}
		return v
	}
	text, err := json.Marshal(visit("", v))
	if err != nil {
		return document
	}
	return text
}

// steering reports whether a text is not for people.
func steering(name, s string) bool {
	if _, err := time.Parse(time.RFC3339, s); err == nil {
		return true
	}
	return s == "" || name == "nextLink" || name == "vaultUri" || name == "tenantId" || slices.ContainsFunc(steers, func(n string) bool { return strings.EqualFold(n, name) })
}

// hostilePortal serves a portal of its own whose API is that of the node, poisoned.
func hostilePortal(t *testing.T, p *platformtest.Platform, rewrite func(string) string, keep func(name, s string) bool) (base, link string) {
	t.Helper()
	node, err := armclient.New(p.Cred)
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(clock.Real{})
	t.Cleanup(func() { _ = store.Close() })
	var pages http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pages.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	token := func(context.Context, session.Principal) (string, error) { return "TOKEN", nil }
	own, err := portal.New(portal.Config{
		API: &poisoner{t, node, p.Cred.Endpoint, rewrite, keep}, Token: token, Vaults: &poisoner{t, node, node.VaultResource(), rewrite, keep}, VaultToken: token,
		Endpoint: p.Cred.Endpoint, SubscriptionID: p.Cred.SubscriptionID, Store: store, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler), Version: poison,
		Console: console.Config{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", p.Node.FunctionsAddr())
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pages = own
	link, _, err = own.Link(t.Context(), session.Principal{ObjectID: "11111111-1111-4111-8111-111111111111", Name: rewrite("robin")})
	if err != nil {
		t.Fatal(err)
	}
	return server.URL, link
}

// harm gives what on a page is not the portal's own.
func harm(text string) (found []string) {
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" && !strings.HasPrefix(attr(n, "src"), "/portal/assets/") || n.Data == "img" && !strings.HasPrefix(attr(n, "src"), "/portal/assets/") {
			found = append(found, "an element "+n.Data)
		}
		for _, a := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "id" && value == "hostile", strings.Trim(a.Key, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" && n.Namespace == "":
				found = append(found, "an attribute "+a.Key+" of "+n.Data)
			case slices.Contains([]string{"href", "src", "action", "formaction", "hx-get", "hx-post", "data-live"}, a.Key) && (strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "data:") || strings.HasPrefix(value, "//")):
				found = append(found, "an address "+value+" of "+n.Data)
			case slices.Contains([]string{"action", "formaction", "hx-get", "hx-post"}, a.Key) && !strings.HasPrefix(value, "/portal/"):
				found = append(found, "something is sent to "+value)
			}
		}
	}
	if strings.Contains(text, "ZgotmplZ") {
		found = append(found, "something that html/template takes for dangerous")
	}
	return found
}

// reflected has every parameter that a page may look at.
func reflected() string {
	q := url.Values{}
	for _, name := range []string{"q", "done", "key", "name", "id", "next", "from", "to", "zone", "principal", "category", "outcome", "action", "scope", "after", "vault", "secret", "identity", "assignment", "back", "version", "link", "ended", "role", "since", "level", "function"} {
		q.Set(name, poison)
	}
	return "?" + q.Encode()
}

// TestWhatStrangersWriteStaysText has every text of every answer of the API be hostile,
// goes through all pages, gives each all parameters that there are, and sends every
// form: there is no element, attribute or address that is not the portal's.
func TestWhatStrangersWriteStaysText(t *testing.T) {
	p := start(t)
	vault := withVault(t, p)
	const officer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + officer, "principalId": ownerID(t, p)}}, nil)
	furnish(t, p)
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, nil)
	if status, _, err := p.TryCall(t.Context(), "orders", "/api/hello?x="+url.QueryEscape(poison), "wrong"); status != http.StatusUnauthorized {
		t.Fatalf("%d, %v", status, err)
	}
	for name, tt := range map[string]struct {
		rewrite func(string) string
		keep    func(name, s string) bool
		fail    []string
	}{
		"texts": {func(s string) string { return s + poison }, steering, nil},
		"addresses": {func(string) string { return "javascript:boom()//" }, func(_, s string) bool {
			return !strings.HasPrefix(s, "http") || strings.Contains(s, ".vault.") // those are called
		}, []string{"/test"}},
		"addresses elsewhere": {func(string) string { return "//evil.example/portal/" }, func(name, s string) bool {
			return name == "id" || !strings.HasPrefix(s, "http") || strings.Contains(s, ".vault.")
		}, []string{"/test"}},
	} {
		base, link := hostilePortal(t, p, tt.rewrite, tt.keep)
		w := walkAt(t, base, link, tt.fail...)
		for _, at := range []string{"/portal/audit", "/portal/apps/rg/none", "/portal/none", "/portal/why"} {
			w.open(at)
		}
		if len(w.pages) < 40 || len(w.forms) < 20 {
			t.Errorf("%s: only %d pages and %d forms are found", name, len(w.pages), len(w.forms))
		}
		hostile := 0
		for _, at := range slices.Sorted(maps.Keys(w.pages)) {
			if strings.Contains(w.pages[at], "hostile") {
				hostile++
			}
			for _, found := range harm(w.pages[at]) {
				t.Errorf("%s: %s has %s", name, clean(at), found)
			}
			if path, _, query := strings.Cut(at, "?"); name == "texts" && !query {
				w.open(path + reflected())
				for _, found := range harm(w.pages[path+reflected()]) {
					t.Errorf("%s with parameters has %s", clean(path), found)
				}
			}
		}
		if name != "texts" {
			continue
		}
		if hostile < len(w.pages)/2 {
			t.Errorf("only %d of %d pages show anything of it", hostile, len(w.pages))
		}
		for _, form := range slices.Sorted(maps.Keys(w.forms)) {
			fields := w.forms[form]
			for name := range fields {
				if fields.Get(name) == "x" {
					fields.Set(name, poison)
				}
			}
			fields.Set("csrf", w.csrf)
			for _, found := range harm(w.send(form, fields)) {
				t.Errorf("what is answered to %s has %s", form, found)
			}
		}
	}
}

// TestHarmIsFound has pages on which strangers have got through.
func TestHarmIsFound(t *testing.T) {
	for page, want := range map[string]int{
		`<p>'"&gt;&lt;img src=x onerror=boom()&gt;</p>`: 0, `<script src="/portal/assets/a.js"></script><img src="/portal/assets/i.svg">`: 0,
		`<a href="https://shop.localhost">x</a><form action="/portal/x">`: 0, `<p>` + poison + `</p>`: 6, `<p title='` + poison + `'>`: 6,
		`<p title=a` + "`" + `b'">`: 0, `<a href="javascript:boom()">`: 1, `<a href=" JavaScript:boom()">`: 1, `<form action="//evil.example/portal/">`: 2,
		`<form action="https://evil.example/">`: 1, `<p hx-get="/elsewhere">`: 1, `<p style="x">`: 1, `<p a"b>`: 1, `<p onclick=x>`: 1, `<a href="#ZgotmplZ">`: 1,
	} {
		if found := harm(page); (len(found) > 0) != (want > 0) || want > 0 && len(found) > want {
			t.Errorf("%s: %q", page, found)
		}
	}
}
