package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestAfterARefusalTheWayLeadsToTheForm and never to the address that took it, which is
// no page; and the language is changed on the page that is shown.
func TestAfterARefusalTheWayLeadsToTheForm(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	proof := f.proof()
	const page = "/portal/apps/rg/denied"
	for name, c := range map[string]struct {
		method, path, referer string
		form                  url.Values
		status                int
		has, not              string
	}{
		"a refused form":         {"POST", page + "/start", endpoint + page + "?span=day", url.Values{"csrf": {proof}}, 403, `href="` + page + `?span=day"`, `href="` + page + `/start"`},
		"of another site":        {"POST", page + "/start", "https://elsewhere.example" + page, url.Values{"csrf": {proof}}, 403, `href="/portal/"`, "elsewhere"},
		"that says nothing":      {"POST", page + "/start", "", url.Values{"csrf": {proof}}, 403, `href="/portal/"`, `main" href="` + page + `/start"`},
		"of a page of no portal": {"POST", page + "/start", endpoint + "/subscriptions", url.Values{"csrf": {proof}}, 403, `href="/portal/"`, `href="/subscriptions"`},
		"an old form":            {"POST", page + "/start", endpoint + page, url.Values{"csrf": {"old"}}, 403, `href="` + page + `"`, `href="` + page + `/start"`},
	} {
		head := []string{}
		if c.referer != "" {
			head = append(head, "Referer", c.referer)
		}
		w := f.do(c.method, c.path, c.form, head...)
		if body := w.Body.String(); w.Code != c.status || !strings.Contains(body, c.has) || strings.Contains(body, c.not) {
			t.Errorf("%s: %d, want %s and no %s:\n%s", name, w.Code, c.has, c.not, body)
		}
	}
	w := f.do("POST", page+"/start", url.Values{"csrf": {proof}}, "Referer", endpoint+page+"?span=day")
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `name="next" value="`+page+`"`) {
		t.Errorf("the language is changed elsewhere: %d\n%s", w.Code, w.Body)
	}
}
