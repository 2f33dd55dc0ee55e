package platform_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// viewer is a browser without scripts that is signed in.
type viewer struct {
	t      *testing.T
	base   string
	client *http.Client
}

// visitPortal signs in by a link of the owner's.
func visitPortal(t *testing.T, p *platformtest.Platform) *viewer {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{t, p.Cred.Endpoint, &http.Client{Jar: jar, Timeout: platformtest.Patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} //nolint:gosec // an authority of the test
	t.Cleanup(v.client.CloseIdleConnections)
	var link struct{ URL string }
	p.Do(t, http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &link)
	u, err := url.Parse(link.URL)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := v.post("/portal/signin", url.Values{"link": {u.Query().Get("link")}}); status != http.StatusOK {
		t.Fatalf("signing in: %d %s", status, body)
	}
	return v
}

func (v *viewer) send(r *http.Request) (int, string) {
	v.t.Helper()
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func (v *viewer) get(path string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.send(r)
}

func (v *viewer) post(path string, form url.Values) (int, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.send(r)
}

// read opens a page that must say something.
func (v *viewer) read(path string, want ...string) string {
	v.t.Helper()
	status, body := v.get(path)
	if status != http.StatusOK || strings.Contains(body, "<b>") {
		v.t.Fatalf("%s: %d %s", path, status, body)
	}
	for _, text := range want {
		if !strings.Contains(body, text) {
			v.t.Errorf("%s does not say %q: %s", path, text, body)
		}
	}
	return body
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(csrf|mark)" value="([^"]*)">`)

// form gives the hidden fields of a page's forms, with others beside them.
func (v *viewer) form(path string, others url.Values) url.Values {
	v.t.Helper()
	form := url.Values{}
	for name, values := range others {
		form[name] = values
	}
	for _, m := range hiddenField.FindAllStringSubmatch(v.read(path), -1) {
		form.Set(m[1], strings.NewReplacer("&#34;", `"`, "&amp;", "&", "&#43;", "+").Replace(m[2]))
	}
	return form
}

// wantDone sends a form that must be taken.
func (v *viewer) wantDone(path string, form url.Values, said string) {
	v.t.Helper()
	if status, body := v.post(path, form); status != http.StatusOK || !strings.Contains(body, said) {
		v.t.Fatalf("%s: %d, not %q: %s", path, status, said, body)
	}
}

// TestContainerAppsInThePortal reads every page about an app that runs, and changes
// it by each form; the management API tells the effect.
func TestContainerAppsInThePortal(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	makeVault(t, c.Platform, "boxes", "db", "one")
	late := c.identity("late")
	a := c.secretApp("system", "")
	a["identity"] = object{"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": object{late: object{}}}
	p := a["properties"].(object)
	p["configuration"].(object)["activeRevisionsMode"] = "Multiple"
	main := p["template"].(object)["containers"].([]any)[0].(object)
	main["env"] = append(main["env"].([]any), object{"name": "HOSTILE", "value": `<b>"&'`})
	p["template"].(object)["scale"] = object{"minReplicas": 1, "maxReplicas": 2, "rules": []any{object{"name": "many", "http": object{"metadata": object{"concurrentRequests": "7"}}}}}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Failed")
	revision := fmt.Sprint(inside(shop, "properties", "latestRevisionName"))

	v := visitPortal(t, c.Platform)
	const at = "/portal/containers/rg/shop"
	v.read("/portal/containers", "shop", "Faulty", revision)
	v.read(at, "cannot be read from its vault", at+"/secrets", "does not run as it should", "&lt;b&gt;", "value of the secret")
	v.read(at+"/secrets", "✗", "The vault refuses the identity", "plain")
	c.letRead(fmt.Sprint(inside(shop, "identity", "principalId")))
	v.wantDone(at+"/secrets/refresh", v.form(at+"/secrets", nil), "read anew")
	c.settled("shop", "Succeeded")
	v.read(at+"/secrets", "✓", "Resolved")
	platformtest.Until(t, "nothing is wrong", func() bool { return strings.Contains(v.read(at), "No problem is known") })
	v.read(at, `href="http://`+fqdn(shop)+`"`)
	if status, body, err := c.visit(nil, false).get(fqdn(shop), "/env?CONTAINER_APP_NAME"); status != http.StatusOK || body != "shop" {
		t.Errorf("the address on the page: %d %s %v", status, body, err)
	}
	platformtest.Until(t, "a replica is shown", func() bool {
		_, body := v.get(at + "/revisions/" + revision)
		return strings.Contains(body, `data-label="Restarts">0`) && strings.Contains(body, "many")
	})
	v.read(at+"/revisions/"+revision, "Measured and target", "of at least <bdi>1</bdi>")

	v.forms(at, c, revision)
	v.read("/portal/containers?q=sho", "shop")
	v.read("/portal/containers?q=%3Cb%3E%27", "No container app has")
	if status, body := v.get("/portal/containers/rg/none"); status != http.StatusNotFound || !strings.Contains(body, "There is nothing at this address") {
		t.Errorf("an app that is not there: %d %s", status, body)
	}
}

// forms changes an app with each form.
func (v *viewer) forms(at string, c *contained, revision string) {
	v.t.Helper()
	get := func(path ...string) any {
		var a object
		c.Do(v.t, "GET", c.at("containerApps", "shop"), nil, &a)
		return inside(a, append([]string{"properties"}, path...)...)
	}
	old := v.form(at+"/identity", url.Values{"lifecycle-0": {"None"}, "lifecycle-1": {"Main"}})
	v.wantDone(at+"/identity", old, "is changed")
	if text := fmt.Sprint(get("configuration", "identitySettings")); !strings.Contains(text, "None") || !strings.Contains(text, "Main") {
		v.t.Errorf("the lifecycles are %s", text)
	}
	v.read(at+"/identity", `name="lifecycle-0" value="None" checked`, `name="lifecycle-1" value="Main" checked`, "the secret <bdi>db</bdi>")
	if status, body := v.post(at+"/identity", old); status != http.StatusConflict || !strings.Contains(body, "nothing was done") {
		v.t.Errorf("an old form: %d %s", status, body)
	}
	if status, body := v.post(at+"/identity", v.form(at+"/identity", url.Values{"lifecycle-0": {"Both"}})); status != http.StatusBadRequest || !strings.Contains(body, "choose one of the four") {
		v.t.Errorf("no such lifecycle: %d %s", status, body)
	}

	share := url.Values{"revision": {"", revision}, "weight": {"30", "60"}, "label": {"", "blue"}}
	if status, body := v.post(at+"/traffic", v.form(at+"/revisions", share)); status != http.StatusBadRequest || !strings.Contains(body, "must come to 100") || !strings.Contains(body, `value="60"`) {
		v.t.Errorf("not all of it: %d %s", status, body)
	}
	share["weight"] = []string{"30", "70"}
	old = v.form(at+"/revisions", share)
	v.wantDone(at+"/traffic", old, "shared out anew")
	if text := fmt.Sprint(get("configuration", "ingress", "traffic")); !strings.Contains(text, "blue") || !strings.Contains(text, "70") {
		v.t.Errorf("the traffic is %s", text)
	}
	if status, _ := v.post(at+"/traffic", old); status != http.StatusConflict {
		v.t.Errorf("an old form of traffic: %d", status)
	}
	if get("configuration", "ingress", "targetPort") != 8080.0 {
		v.t.Errorf("the ingress is %v", get("configuration", "ingress"))
	}

	v.wantDone(at+"/revisions/"+revision+"/restart", v.form(at+"/revisions", nil), "is being restarted")
	if status, body := v.post(at+"/revisions/"+revision+"/deactivate", v.form(at+"/revisions", nil)); status != http.StatusConflict || !strings.Contains(body, "Give its traffic to another revision first") {
		v.t.Errorf("one that gets requests: %d %s", status, body)
	}
	c.Do(v.t, "PATCH", c.at("containerApps", "shop"), object{"properties": object{"template": object{"revisionSuffix": "two"}}}, nil)
	c.settled("shop", "Succeeded")
	share = url.Values{"revision": {"", revision}, "weight": {"100", ""}, "label": {"", ""}}
	v.wantDone(at+"/traffic", v.form(at+"/revisions", share), "shop--two")
	v.wantDone(at+"/revisions/"+revision+"/deactivate", v.form(at+"/revisions", nil), "Inactive")
	v.wantDone(at+"/revisions/"+revision+"/activate", v.form(at+"/revisions", nil), "active again")
	v.wantDone(at+"/stop", v.form(at, nil), "is being stopped")
	if get("runningStatus") != "Stopped" {
		v.t.Errorf("it is %v", get("runningStatus"))
	}
	v.read(at, "Start it above")
	v.wantDone(at+"/start", v.form(at, nil), "is being started")
	if get("runningStatus") != "Running" {
		v.t.Errorf("it is %v", get("runningStatus"))
	}
}
