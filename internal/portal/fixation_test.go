package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
)

// TestSigningInMakesASessionOfItsOwn has the browser come with a cookie that somebody
// else chose, who waits for it to become the victim's session.
func TestSigningInMakesASessionOfItsOwn(t *testing.T) {
	f := newFixture(t)
	mallory := session.Principal{ObjectID: "66666666-6666-4666-8666-666666666666", Name: "mallory"}
	theirs, _, err := f.sessions.Begin(t.Context(), mallory, "link")
	if err != nil {
		t.Fatal(err)
	}
	for name, planted := range map[string]string{
		"a session of the attacker's": theirs.Text(), "a ticket of the victim's that was made up": alice.ObjectID + "." + strings.Repeat("A", 43),
		"no ticket": "x", "nothing": "",
	} {
		f.cookies = map[string]string{page.Cookie: planted}
		f.signIn()
		if f.cookies[page.Cookie] == planted {
			t.Errorf("%s: the session has the cookie that was there", name)
		}
		if body := f.do("GET", "/portal/apps/rg/orders", nil).Body.String(); !strings.Contains(body, "alice &lt;b&gt;") {
			t.Errorf("%s: it is not the victim's: %s", name, body)
		}
		f.cookies = map[string]string{page.Cookie: planted}
		if body := f.do("GET", "/portal/apps/rg/orders", nil).Body.String(); strings.Contains(body, "alice") {
			t.Errorf("%s: who planted it is signed in as the victim", name)
		}
	}
}

// TestOnlyCookiesThatNoOtherHostCanSetCount has cookies as hosts beside and below ours
// could set them, for their common domain.
func TestOnlyCookiesThatNoOtherHostCanSetCount(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	good := f.cookies[page.Cookie]
	for _, name := range []string{"latchkey", "__Secure-latchkey", "__host-latchkey", "__HOST-LATCHKEY", "_Host-latchkey", page.Cookie + "-x"} {
		f.cookies = map[string]string{name: good}
		if w := f.do("GET", "/portal/apps/rg/orders", nil); w.Code != http.StatusSeeOther {
			t.Errorf("%s opens pages: %d", name, w.Code)
		}
	}
	if !strings.HasPrefix(page.Cookie, "__Host-") {
		t.Errorf("browsers let others set %s", page.Cookie)
	}
}

// TestNobodyIsSignedInByOthers has another site send the form that signs in, with a link
// of the attacker's: the victim would work in the attacker's name.
func TestNobodyIsSignedInByOthers(t *testing.T) {
	f := newFixture(t)
	for name, head := range map[string][]string{
		"another site":             {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		"another host of the site": {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"},
		"an old browser":           {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
		"another port":             {"Sec-Fetch-Site", "", "Origin", "https://localhost:7071"},
		"without TLS":              {"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:7443"},
		"a sandbox":                {"Sec-Fetch-Site", "", "Origin", "null"},
	} {
		text := f.link()
		if w := f.do("POST", page.SignIn, url.Values{"link": {text}}, head...); w.Code != http.StatusForbidden || len(f.cookies) > 0 {
			t.Errorf("%s: %d, cookies %v", name, w.Code, f.cookies)
		}
		// The link was not used up by it.
		if w := f.do("GET", page.SignIn+"?link="+url.QueryEscape(text), nil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); w.Code != http.StatusOK || len(f.cookies) > 0 {
			t.Errorf("%s, then its page: %d, cookies %v", name, w.Code, f.cookies)
		}
	}
	f.signIn()
	was := f.cookies[page.Cookie]
	if f.do("POST", page.SignOut, url.Values{}, "Sec-Fetch-Site", "cross-site"); f.cookies[page.Cookie] != was {
		t.Error("another site signs out")
	}
}

// TestAFormInTheAddressIsNone has what a form says come with the address, which links
// can have.
func TestAFormInTheAddressIsNone(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	proof := f.proof()
	f.calls = nil
	r := httptest.NewRequest("POST", endpoint+"/portal/apps/rg/orders/stop?csrf="+proof, nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: page.Cookie, Value: f.cookies[page.Cookie]})
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || len(f.calls) > 0 {
		t.Errorf("%d, calls %q", w.Code, f.calls)
	}
	w = f.do("POST", page.SignIn+"?link="+url.QueryEscape(f.link()), url.Values{})
	if w.Code != http.StatusForbidden {
		t.Errorf("a link in the address of the form signs in: %d", w.Code)
	}
}
