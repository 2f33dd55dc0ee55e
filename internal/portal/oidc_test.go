package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/portal/issuer"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/signin"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localissuer"
)

// withIssuer gives a portal that knows one person of a provider, "robin".
func withIssuer(t *testing.T) (*fixture, *localissuer.Issuer) {
	t.Helper()
	var i *localissuer.Issuer
	f := newFixtureWith(t, func(cfg *Config) {
		i = localissuer.Start(t, cfg.Clock.Now)
		cfg.Provider = signin.Provider{
			Issuer: issuer.New(issuer.Config{
				Issuer: i.URL, ClientID: localissuer.Client, ClientSecret: localissuer.Secret, Name: "Example Inc.", GroupsClaim: "groups",
				Redirect: endpoint + signin.Callback, Clock: cfg.Clock, Client: i.Client(),
			}),
			Find: func(_ context.Context, p issuer.Person, _ string) (session.Principal, error) {
				if p.Issuer == i.URL && p.Subject == "robin" && p.ClientID == localissuer.Client {
					return alice, nil
				}
				return session.Principal{}, problem.New(problem.NotFound, "nobody")
			},
		}
	})
	return f, i
}

// begin follows the button to the provider and gives where the provider sends the
// browser then.
func (f *fixture) begin(i *localissuer.Issuer, next string) string {
	f.Helper()
	w := f.do("GET", signin.Begin+"?next="+url.QueryEscape(next), nil)
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, i.URL+"/authorize?") {
		f.Fatalf("%d to %q: %s", w.Code, to, w.Body)
	}
	client := *i.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Get(to)
	if err != nil {
		f.Fatal(err)
	}
	_ = answer.Body.Close()
	back := answer.Header.Get("Location")
	if !strings.HasPrefix(back, endpoint+signin.Callback+"?") {
		f.Fatalf("the provider answers %s with %q", answer.Status, back)
	}
	return strings.TrimPrefix(back, endpoint)
}

func TestTheIssuerSignsPeopleIn(t *testing.T) {
	f, i := withIssuer(t)
	if w := f.do("GET", page.SignIn, nil); !strings.Contains(w.Body.String(), "Example Inc.") || !strings.Contains(w.Body.String(), signin.Begin) {
		t.Errorf("there is no button: %s", w.Body)
	}
	w := f.do("GET", f.begin(i, "/portal/apps/rg/orders?x=%20y"), nil)
	if w.Code != http.StatusOK || f.cookies[page.Cookie] == "" || !strings.Contains(w.Body.String(), "/portal/apps/rg/orders?x=%20y") {
		t.Fatalf("%d, %v: %s", w.Code, f.cookies, w.Body)
	}
	if len(f.cookies) != 1 {
		t.Errorf("what the attempt needed stays: %v", f.cookies)
	}
	for _, c := range w.Result().Cookies() {
		if c.Name == page.Cookie && (c.SameSite != http.SameSiteStrictMode || !c.HttpOnly || !c.Secure) {
			t.Errorf("the session's cookie: %s", c.Raw)
		}
	}
	if w := f.do("GET", "/portal/apps/rg/orders", nil); w.Code != http.StatusOK {
		t.Errorf("then: %d", w.Code)
	}
}

func TestTheAttemptsCookieIsShortAndForNoScript(t *testing.T) {
	f, _ := withIssuer(t)
	for _, c := range f.do("GET", signin.Begin, nil).Result().Cookies() {
		if !strings.HasPrefix(c.Name, page.Cookie) || c.SameSite != http.SameSiteLaxMode || !c.HttpOnly || !c.Secure || c.Path != "/" || c.MaxAge > 600 || c.MaxAge <= 0 {
			t.Errorf("%s", c.Raw)
		}
	}
}

// TestAnswersThatProveNothingSignNobodyIn changes one thing about a sign-in that
// works otherwise.
func TestAnswersThatProveNothingSignNobodyIn(t *testing.T) {
	set := func(name string, value any) func(*localissuer.Issuer) {
		return func(i *localissuer.Issuer) { i.Alter = func(claims map[string]any) { claims[name] = value } }
	}
	carry := func(name, value string) func(*localissuer.Issuer) {
		return func(i *localissuer.Issuer) { i.Query = func(answer url.Values) { answer.Set(name, value) } }
	}
	for name, change := range map[string]func(*localissuer.Issuer){
		"another sign-in's nonce":     set("nonce", "another"),
		"no nonce":                    set("nonce", nil),
		"another issuer":              set("iss", "https://evil.example"),
		"another audience":            set("aud", "another"),
		"several audiences, no party": set("aud", []string{localissuer.Client, "another"}),
		"another party":               set("azp", "another"),
		"expired":                     set("exp", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"not valid yet":               set("nbf", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"no end":                      set("exp", nil),
		"nobody":                      set("sub", ""),
		"no signature":                func(i *localissuer.Issuer) { i.Sign = i.Unsigned },
		"signed with what both know":  func(i *localissuer.Issuer) { i.Sign = i.HMAC },
		"signed by somebody else":     func(i *localissuer.Issuer) { i.Sign = i.Foreign },
		"no token":                    func(i *localissuer.Issuer) { i.Sign = func([]byte) string { return "" } },
		"another browser's state":     carry("state", "another"),
		"no state":                    carry("state", ""),
		"an answer of another issuer": carry("iss", "https://evil.example"),
		"a code that nobody gave":     carry("code", "guessed"),
		"no code":                     carry("code", ""),
	} {
		t.Run(name, func(t *testing.T) {
			f, i := withIssuer(t)
			change(i)
			w := f.do("GET", f.begin(i, page.Home), nil)
			if w.Code != http.StatusForbidden || f.cookies[page.Cookie] != "" || !strings.Contains(w.Body.String(), "could not be used") {
				t.Errorf("%d, %v: %s", w.Code, f.cookies, w.Body)
			}
		})
	}
}

func TestAnAnswerCountsOnceAndInTheBrowserThatAsked(t *testing.T) {
	f, i := withIssuer(t)
	back := f.begin(i, page.Home)
	attempt := map[string]string{}
	for name, value := range f.cookies {
		attempt[name] = value
	}
	f.cookies = map[string]string{}
	if w := f.do("GET", back, nil); w.Code != http.StatusForbidden || f.cookies[page.Cookie] != "" {
		t.Errorf("in a browser that has not asked: %d", w.Code)
	}
	f.cookies = attempt
	if w := f.do("GET", back, nil); w.Code != http.StatusOK || f.cookies[page.Cookie] == "" {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	f.cookies = map[string]string{}
	for name, value := range attempt {
		f.cookies[name] = value
	}
	delete(f.cookies, page.Cookie)
	if w := f.do("GET", back, nil); w.Code != http.StatusForbidden || f.cookies[page.Cookie] != "" {
		t.Errorf("the second time: %d", w.Code)
	}
}

func TestSomebodyUnknownIsToldWhatToGiveToAnOperator(t *testing.T) {
	f, i := withIssuer(t)
	i.Claims = map[string]any{"sub": `x'; rm -rf / <b>`, "name": "Mallory"}
	w := f.do("GET", f.begin(i, page.Home), nil)
	body := w.Body.String()
	if w.Code != http.StatusForbidden || f.cookies[page.Cookie] != "" || strings.Contains(body, "<b>") {
		t.Fatalf("%d: %s", w.Code, body)
	}
	for _, want := range []string{"nobody is registered", i.URL, "latchkey principal create &#39;Mallory&#39;", `--oidc-subject &#39;x&#39;\&#39;&#39;; rm -rf / &lt;b&gt;&#39;`} {
		if !strings.Contains(body, want) {
			t.Errorf("it does not say %q: %s", want, body)
		}
	}
}

func TestAnIssuerThatRefusesOrIsAwayIsSaidInWords(t *testing.T) {
	f, i := withIssuer(t)
	i.Query = func(answer url.Values) { answer.Set("error", "access_denied") }
	if w := f.do("GET", f.begin(i, page.Home), nil); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "You were not let in") {
		t.Errorf("refused: %d %s", w.Code, w.Body)
	}
	i.Query, i.Tokens = nil, func(map[string]any) int { return http.StatusBadGateway }
	if w := f.do("GET", f.begin(i, page.Home), nil); w.Code != http.StatusServiceUnavailable || f.cookies[page.Cookie] != "" {
		t.Errorf("broken: %d %s", w.Code, w.Body)
	}
	f, i = withIssuer(t)
	i.Close()
	if w := f.do("GET", signin.Begin, nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("away: %d %s", w.Code, w.Body)
	}
}

func TestAttemptsByTheIssuerAreBoundedToo(t *testing.T) {
	f, _ := withIssuer(t)
	var last *httptest.ResponseRecorder
	for range 31 {
		last = f.do("GET", signin.Callback+"?code=x&state=y", nil)
	}
	if last.Code != http.StatusTooManyRequests {
		t.Errorf("%d", last.Code)
	}
}
