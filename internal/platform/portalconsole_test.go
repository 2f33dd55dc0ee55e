package platform_test

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// consoled is an app "orders" with a function "f", and its console in a browser.
type consoled struct {
	*platformtest.Platform
	*viewer
	calls atomic.Int64 // that reached the function
	front atomic.Value // what the last of them had that only a front end says
}

// why finds the way to the decision about a caller.
var why = regexp.MustCompile(`href="(/portal/why\?id=[^"]+)"`)

const console = "/portal/apps/rg/orders/functions/f/test"

func openConsole(t *testing.T) *consoled {
	t.Helper()
	c := &consoled{Platform: platformtest.Start(t, platform.Config{})}
	c.CreateApp(t, "orders", platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.calls.Add(1)
		c.front.Store(r.Header.Get("X-Ms-Client-Principal") + r.Header.Get("X-Arr-Log-Id"))
		if got := r.Header.Get("Cookie"); strings.Contains(got, "latchkey") || r.Header.Get("X-Functions-Key") != "" {
			t.Errorf("the function sees cookies %q, key %q", got, r.Header.Get("X-Functions-Key"))
		}
		_, _ = w.Write([]byte("for " + r.Host))
	})))
	c.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	platformtest.Until(t, "the app serves", func() bool {
		status, _ := c.Call(t, "orders", "/api/f", "")
		return status == http.StatusUnauthorized
	})
	c.viewer = visitPortal(t, c.Platform)
	return c
}

// wants runs the function and looks for what its page says.
func (c *consoled) wants(says string, fields ...string) string {
	c.t.Helper()
	form := c.form(console, url.Values{"method": {"GET"}})
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	_, body := c.post(console, form)
	if !strings.Contains(body, says) {
		c.t.Errorf("with %q the page does not say %q: %s", fields, says, body)
	}
	return body
}

// TestTheConsoleIsAStranger runs a function by keys with networks, by more wrong keys
// than are heard, and of an app that is stopped: what a stranger at the browser's
// address gets is what comes, whatever else the request claims.
func TestTheConsoleIsAStranger(t *testing.T) {
	c := openConsole(t)
	for name, network := range map[string]string{"elsewhere": "10.0.0.0/8", "here": "127.0.0.0/8"} {
		c.Do(t, http.MethodPut, c.Site("orders")+"/host/default/functionKeys/"+name, map[string]any{"properties": map[string]any{"cidrs": []string{network}}}, nil)
	}
	c.wants("200 OK", "key", "host/here")
	c.wants("for orders.localhost", "key", "host/here", "headers", "Cookie: __Host-latchkey=stolen; a=b")
	reached := c.calls.Load()
	for _, claim := range []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "x_ms_client_principal"} {
		c.wants("in front of the app", "key", "host/here", "headers", claim+": 10.0.0.1")
	}
	c.wants("401 Unauthorized", "key", "host/elsewhere")
	c.wants("401 Unauthorized", "key", "none")
	if c.calls.Load() != reached {
		t.Error("refused callers reach the function")
	}
	id := why.FindStringSubmatch(c.wants("401 Unauthorized", "key", "host/elsewhere"))
	if id == nil {
		t.Fatal("nothing leads to the decision")
	}
	c.read(id[1], "is right, but it may not be used from")
	c.Do(t, http.MethodPost, c.Site("orders")+"/stop", nil, nil)
	c.wants("403 Forbidden", "key", "host/here")
}

// TestTheConsoleIsNoWayPastAFrontEnd: an app that trusts what stands in front of it,
// because nobody else can reach it, takes requests without its headers for the
// platform's own, which need no key.
func TestTheConsoleIsNoWayPastAFrontEnd(t *testing.T) {
	c := openConsole(t)
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	c.Do(t, http.MethodPost, c.Site("orders")+"/config/appsettings/list", nil, &settings)
	maps.Copy(settings.Properties, map[string]string{"WEBSITE_INSTANCE_ID": "one", "LATCHKEY_TRUST_FRONT_END": "true", "WEBSITE_AUTH_ENABLED": "true"})
	c.Do(t, http.MethodPut, c.Site("orders")+"/config/appsettings", settings, nil)
	platformtest.Until(t, "the app trusts its front end", func() bool {
		status, _ := c.Call(t, "orders", "/admin/host/status", "")
		return status == http.StatusOK
	})
	c.wants("200 OK", "key", "function/default")
	if got := c.front.Load(); got != "latchkey-portal" {
		t.Errorf("the function sees %q", got)
	}
}

// TestRunsAreRecorded looks for who ran what, with which key by its name.
func TestRunsAreRecorded(t *testing.T) {
	c := openConsole(t)
	c.wants("200 OK", "key", "function/default")
	c.wants("401 Unauthorized", "key", "typed", "typed", "a-key-that-nobody-has")
	var found []string
	platformtest.Until(t, "the runs are recorded", func() bool {
		found = nil
		for _, e := range events(t, c.Platform, "Write") {
			if e["action"] == "Latchkey.Platform/portal/run/action" {
				details, _ := e["details"].(map[string]any)
				who, _ := e["principal"].(map[string]any)
				scope, _ := e["scope"].(string)
				found = append(found, strings.Join([]string{scope[strings.LastIndex(scope, "/sites/"):], e["outcome"].(string), details["key"].(string), details["path"].(string), who["name"].(string), e["source"].(string)}, " "))
			}
		}
		return len(found) == 2
	})
	if want := "/sites/orders/functions/f Denied typed /api/f owner 127.0.0.1|/sites/orders/functions/f Succeeded function/default /api/f owner 127.0.0.1"; strings.Join(found, "|") != want {
		t.Errorf("recorded are\n%s, not\n%s", strings.Join(found, "|"), want)
	}
	platformtest.Until(t, "that the key was read is recorded", func() bool {
		for _, e := range events(t, c.Platform, "SecretRead") {
			if action, _ := e["action"].(string); strings.EqualFold(action, "Microsoft.Web/sites/functions/listkeys/action") {
				return true
			}
		}
		return false
	})
	if text := c.Log.String(); strings.Contains(text, "a-key-that-nobody-has") {
		t.Error("the log has a key")
	}
}
