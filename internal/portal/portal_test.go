package portal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const endpoint = "https://localhost:7443"

var alice = session.Principal{ObjectID: "11111111-1111-4111-8111-111111111111", AppID: "33333333-3333-4333-8333-333333333333", Name: "alice <b>"}

// fixture is a portal with an API that notes its calls.
type fixture struct {
	*testing.T
	*Portal
	clock   *clock.Manual
	calls   []string
	refused error // of tokens
	cookies map[string]string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureWith(t, func(*Config) {})
}

func newFixtureWith(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: clock.NewManual(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)), cookies: map[string]string{}}
	store := memory.New(f.clock)
	t.Cleanup(func() { _ = store.Close() })
	var err error
	cfg := Config{
		API:      http.HandlerFunc(f.api),
		Token:    func(context.Context, session.Principal) (string, error) { return "TOKEN", f.refused },
		Endpoint: endpoint, SubscriptionID: "sub", Store: store, Clock: f.clock, Log: slog.New(slog.DiscardHandler),
	}
	change(&cfg)
	f.Portal, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) api(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/providers/Microsoft.Authorization/permissions") { // every page asks it
		w.WriteHeader(http.StatusNotFound)
		return
	}
	body, _ := io.ReadAll(r.Body)
	call := r.Method + " " + r.URL.Path + " " + string(body)
	if tag := r.Header.Get("If-Match"); tag != "" {
		call += "if " + tag
	}
	f.calls = append(f.calls, call)
	if r.Header.Get("Authorization") != "Bearer TOKEN" || r.Header.Get("Cookie") != "" {
		f.Errorf("a call with %q, cookies %q", r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	}
	switch {
	case r.Header.Get("If-Match") != "":
		w.WriteHeader(http.StatusPreconditionFailed)
	case strings.Contains(r.URL.Path, "/sites/denied"):
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error":{"code":"AuthorizationFailed","message":"no role <i>allows</i> it"}}`)
	case strings.HasSuffix(r.URL.Path, "keyMetadata"):
		_, _ = io.WriteString(w, `{"value":[{"properties":{"name":"default","kind":"host","state":"active"}}]}`)
	default:
		_, _ = io.WriteString(w, `{"name":"orders","properties":{}}`)
	}
}

// do sends a request as a browser would, with the cookies it has.
func (f *fixture) do(method, path string, form url.Values, head ...string) *httptest.ResponseRecorder {
	f.Helper()
	r := httptest.NewRequest(method, endpoint+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	for name, value := range f.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if f.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(f.cookies, c.Name)
		}
	}
	return w
}

func (f *fixture) link() string {
	f.Helper()
	address, _, err := f.Link(f.Context(), alice)
	if err != nil {
		f.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		f.Fatal(err)
	}
	return u.Query().Get("link")
}

func (f *fixture) signIn() {
	f.Helper()
	if w := f.do("POST", page.SignIn, url.Values{"link": {f.link()}}); w.Code != http.StatusSeeOther || f.cookies[page.Cookie] == "" {
		f.Fatalf("signing in: %d %s", w.Code, w.Body)
	}
}

var proofField = regexp.MustCompile(`name="csrf" value="([0-9a-f]{64})"`)

func (f *fixture) proof() string {
	f.Helper()
	m := proofField.FindStringSubmatch(f.do("GET", "/portal/apps/rg/orders", nil).Body.String())
	if m == nil {
		f.Fatal("the page has no form")
	}
	return m[1]
}

func TestTheCookieIsForThisHostAndNoScript(t *testing.T) {
	f := newFixture(t)
	w := f.do("POST", page.SignIn, url.Values{"link": {f.link()}, "next": {"/portal/apps/rg/orders"}})
	set := w.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-", "Path=/;", "Secure", "HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(set, want) {
			t.Errorf("%q lacks %s", set, want)
		}
	}
	if at := w.Header().Get("Location"); at != "/portal/apps/rg/orders" {
		t.Errorf("then it goes to %s", at)
	}
}

func TestOpeningALinkUsesNothingUp(t *testing.T) {
	f := newFixture(t)
	text := f.link()
	for range 3 {
		w := f.do("GET", page.SignIn+"?link="+url.QueryEscape(text), nil)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "alice &lt;b&gt;") || len(f.cookies) > 0 {
			t.Fatalf("%d, cookies %v: %s", w.Code, f.cookies, w.Body)
		}
	}
	for i, want := range []int{http.StatusSeeOther, http.StatusForbidden} {
		if w := f.do("POST", page.SignIn, url.Values{"link": {text}}); w.Code != want {
			t.Errorf("use %d: %d", i+1, w.Code)
		}
	}
}

func TestAfterSigningInNobodyIsSentElsewhere(t *testing.T) {
	for _, next := range []string{"https://evil.example/", "//evil.example/portal/", "/portal/../admin", `/portal/\evil`, "/portal/\nSet-Cookie: x", "/other", "javascript:alert(1)",
		"/portal/%2e%2e/metadata", "/portal/.%2E/metadata", "/portal/..", "/portal/x/..;/y", "/portal/\x00", "/portal/\x7f", "/portalx", "portal/", " /portal/"} {
		f := newFixture(t)
		w := f.do("POST", page.SignIn, url.Values{"link": {f.link()}, "next": {next}})
		if at := w.Header().Get("Location"); at != page.Home {
			t.Errorf("next=%q goes to %q", next, at)
		}
	}
}

func TestEveryAnswerKeepsPagesToThemselves(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	for _, path := range []string{"/portal/apps/rg/orders", "/portal/none", "/portal/signin?link=bad", "/portal/apps/rg/denied"} {
		h := f.do("GET", path, nil).Header()
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
	}
}

// TestFormsOfOthersDoNothing sends the form that stops an app from elsewhere, or
// without what only our pages know: the API is not even asked.
func TestFormsOfOthersDoNothing(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	right := f.proof()
	other := newFixture(t)
	other.signIn()
	f.calls = nil
	for name, tt := range map[string]struct {
		proof string
		head  []string
	}{
		"another site":                {right, []string{"Sec-Fetch-Site", "cross-site"}},
		"another port of the machine": {right, []string{"Sec-Fetch-Site", "same-site"}},
		"an old browser, elsewhere":   {right, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
		"no origin at all":            {right, []string{"Sec-Fetch-Site", "", "Origin", "null"}},
		"no proof":                    {"", nil},
		"another session's proof":     {other.proof(), nil},
	} {
		w := f.do("POST", "/portal/apps/rg/orders/stop", url.Values{"csrf": {tt.proof}}, tt.head...)
		if w.Code != http.StatusForbidden || len(f.calls) > 0 {
			t.Errorf("%s: %d, calls %q", name, w.Code, f.calls)
		}
	}
	if w := f.do("POST", "/portal/apps/rg/orders/stop", url.Values{"csrf": {right}}); w.Code != http.StatusSeeOther || len(f.calls) != 1 {
		t.Errorf("our own form: %d, calls %q", w.Code, f.calls)
	}
	if w := f.do("GET", "/portal/apps/rg/orders/stop?csrf="+right, nil); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
		t.Errorf("a link that would stop an app: %d", w.Code)
	}
}

func TestSomebodyWhoIsNoLongerWelcomeIsOutAtOnce(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	f.refused = problem.New(problem.Unauthenticated, "the principal was deleted")
	if w := f.do("GET", "/portal/apps/rg/orders", nil); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), page.SignIn) {
		t.Errorf("a page: %d to %s", w.Code, w.Header().Get("Location"))
	}
	f.refused = nil
	if w := f.do("GET", "/portal/apps/rg/orders", nil); w.Code != http.StatusSeeOther {
		t.Errorf("the session has not ended: %d", w.Code)
	}
}

func TestSigningOutEndsTheSessionItself(t *testing.T) {
	for _, path := range []string{page.SignOut, page.SignOutAll} {
		f := newFixture(t)
		f.signIn()
		stolen, unused := f.cookies[page.Cookie], f.link()
		if w := f.do("POST", path, url.Values{"csrf": {f.proof()}}); w.Code != http.StatusSeeOther {
			t.Fatalf("%s: %d", path, w.Code)
		}
		f.cookies[page.Cookie] = stolen
		if w := f.do("GET", "/portal/apps/rg/orders", nil); w.Code != http.StatusSeeOther {
			t.Errorf("%s: a copy of the cookie still opens pages: %d", path, w.Code)
		}
		delete(f.cookies, page.Cookie)
		if w := f.do("POST", page.SignIn, url.Values{"link": {unused}}); (w.Code == http.StatusSeeOther) != (path == page.SignOut) {
			t.Errorf("%s: then a link that was not used gives %d", path, w.Code)
		}
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	f := newFixture(t)
	codes := map[int]int{}
	for range 40 {
		codes[f.do("POST", page.SignIn, url.Values{"link": {"wrong"}}).Code]++
	}
	if codes[http.StatusTooManyRequests] != 10 || codes[http.StatusForbidden] != 30 {
		t.Errorf("%v", codes)
	}
	f.signIn() // a good link is good, however many others there were
}

// TestNobodyIsLockedOutByOthers has strangers at many addresses try links that are not
// good.
func TestNobodyIsLockedOutByOthers(t *testing.T) {
	f := newFixture(t)
	good := f.link()
	stranger, err := ticket.New(alice.ObjectID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		r := httptest.NewRequest("POST", endpoint+page.SignIn, strings.NewReader(url.Values{"link": {stranger.Text()}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", i/250, i%250)
		f.ServeHTTP(httptest.NewRecorder(), r)
	}
	if w := f.do("GET", page.SignIn+"?link="+url.QueryEscape(good), nil); w.Code != http.StatusOK {
		t.Errorf("looking at a good link: %d", w.Code)
	}
	if w := f.do("POST", page.SignIn, url.Values{"link": {good}}); w.Code != http.StatusSeeOther || f.cookies[page.Cookie] == "" {
		t.Errorf("using it: %d", w.Code)
	}
}

func TestRefusalsAreSaidInWords(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	w := f.do("GET", "/portal/apps/rg/denied", nil)
	if body := w.Body.String(); w.Code != http.StatusForbidden || !strings.Contains(body, "Your roles do not allow this") || !strings.Contains(body, "&lt;i&gt;allows") {
		t.Errorf("%d: %s", w.Code, body)
	}
	w = f.do("GET", "/portal/apps/rg/denied", nil, "Accept-Language", "zh-TW")
	if !strings.Contains(w.Body.String(), `lang="zh-TW"`) || !strings.Contains(w.Body.String(), "不允許") {
		t.Errorf("in Chinese: %s", w.Body)
	}
}

// TestPagesLeadBackToThemselves has names that would make other addresses of the page's
// own, in which it is read again and from which the language is changed.
func TestPagesLeadBackToThemselves(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	for _, at := range []string{"/portal/apps/rg/a%2F..%2F..%2F..%2Fmetadata", "/portal/apps/rg/a%3Fb=c", "/portal/apps/rg/a%23b", "/portal/apps/rg/%22%3E", "/portal/apps/rg/a%25b"} {
		body := f.do("GET", at, nil).Body.String()
		for _, want := range []string{`hx-get="` + at + `"`, `name="next" value="` + at + `"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s has no %s", at, want)
			}
		}
	}
}

// TestNamesLeadNowhereElse asks for apps whose names would be other paths of the API.
func TestNamesLeadNowhereElse(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	for _, name := range []string{"..%2F..%2Fsecret", "a%3Fapi-version=x", "a%23b", "a%2Fhost%2Fdefault%2Flistkeys"} {
		f.calls = nil
		f.do("GET", "/portal/apps/rg/"+name, nil)
		raw, err := url.PathUnescape(name)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("GET /subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/%s ", raw)
		other := slices.DeleteFunc(f.calls, func(call string) bool {
			return call == want || call == strings.TrimSuffix(want, " ")+"/providers/Microsoft.Authorization/permissions " || call == strings.TrimSuffix(want, " ")+"/providers/Microsoft.Insights/metrics " || call == "GET /providers/Latchkey.Audit/events "
		})
		if len(other) > 0 {
			t.Errorf("%s: %q", name, other)
		}
	}
}

// TestAFormOfAKeyThatWasChangedDoesNothing: what is done is done by the management API
// on the condition that the key is as it was seen.
func TestAFormOfAKeyThatWasChangedDoesNothing(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	proof := f.proof()
	for _, path := range []string{"/do/renew", "/do/rotate", "/do/disable", "/do/delete", "/edit"} {
		f.calls = nil
		w := f.do("POST", "/portal/apps/rg/orders/keys/host/default"+path, url.Values{"csrf": {proof}, "mark": {"4711"}, "overlap": {"1h"}})
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Somebody was faster") {
			t.Errorf("%s: %d: %s", path, w.Code, w.Body)
		}
		if !slices.ContainsFunc(f.calls, func(call string) bool { return strings.HasSuffix(call, `if "4711"`) }) {
			t.Errorf("%s: nothing was asked for on a condition: %q", path, f.calls)
		}
	}
}
