package arm

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sentGroup = "/subscriptions/" + testSub + "/resourceGroups/RG"
	sentSite  = sentGroup + "/providers/Microsoft.Web/sites/Shop"
)

func TestPathsLeadToOperations(t *testing.T) {
	sitePattern := group + "/providers/Microsoft.Web/sites/{site}"
	tests := []struct {
		name, method, path     string
		pattern, scope, action string
	}{
		{"list of a subscription", "GET", "/subscriptions/" + testSub + "/providers/Microsoft.Web/sites",
			"/subscriptions/{sub}/providers/Microsoft.Web/sites", "/subscriptions/" + testSub, "Microsoft.Web/sites/read"},
		{"list of a group", "GET", sentGroup + "/providers/Microsoft.Web/sites", group + "/providers/Microsoft.Web/sites", sentGroup, "Microsoft.Web/sites/read"},
		{"resource", "GET", sentSite, sitePattern, sentSite, "Microsoft.Web/sites/read"},
		{"other case of fixed segments", "GET", strings.ReplaceAll(strings.ToUpper(sentSite), "RG/", "rg/"), sitePattern,
			"/subscriptions/" + testSub + "/resourceGroups/rg/providers/Microsoft.Web/sites/SHOP", "Microsoft.Web/sites/read"},
		{"trailing slash", "DELETE", sentSite + "/", sitePattern, sentSite, "Microsoft.Web/sites/delete"},
		{"double slashes", "PUT", "//" + strings.ReplaceAll(sentSite[1:], "/", "//"), sitePattern, sentSite, "Microsoft.Web/sites/write"},
		{"action", "POST", sentSite + "/syncfunctiontriggers", sitePattern + "/syncfunctiontriggers", sentSite, "Microsoft.Web/sites/syncfunctiontriggers/action"},
		{"action on configuration", "POST", sentSite + "/config/AppSettings/LIST", sitePattern + "/config/appsettings/list", sentSite, "Microsoft.Web/sites/config/list/action"},
		{"fixed name before parameter", "PUT", sentSite + "/config/appsettings", sitePattern + "/config/appsettings", sentSite, "Microsoft.Web/sites/config/write"},
		{"parameter where the fixed name has no such method", "GET", sentSite + "/config/appsettings", sitePattern + "/config/{name}",
			sentSite + "/config/appsettings", "Microsoft.Web/sites/config/read"},
		{"key with an encoded slash outside of the scope", "PUT", sentSite + "/host/default/functionkeys/a%2Fb",
			sitePattern + "/host/default/functionKeys/{key}", sentSite, "Microsoft.Web/sites/host/functionKeys/write"},
		{"provider by name", "GET", "/subscriptions/" + testSub + "/providers/Microsoft.Web", "/subscriptions/{sub}/providers/{namespace}",
			"/subscriptions/" + testSub, "Microsoft.Resources/subscriptions/providers/read"},
		{"action beside fixed types", "POST", "/subscriptions/" + testSub + "/providers/Microsoft.Web/register", "/subscriptions/{sub}/providers/{namespace}/register",
			"/subscriptions/" + testSub, "Microsoft.Resources/subscriptions/providers/register/action"},
		{"group", "PUT", sentGroup, group, sentGroup, "Microsoft.Resources/subscriptions/resourceGroups/write"},
		{"extension at the root", "GET", "/providers/Microsoft.Authorization/roleAssignments", "{scope}/providers/Microsoft.Authorization/roleAssignments",
			"/", "Microsoft.Authorization/roleAssignments/read"},
		{"extension of a group", "GET", sentGroup + "/providers/microsoft.authorization/ROLEASSIGNMENTS",
			"{scope}/providers/Microsoft.Authorization/roleAssignments", sentGroup, "Microsoft.Authorization/roleAssignments/read"},
		{"extension of a resource", "PUT", sentSite + "/providers/Microsoft.Authorization/roleAssignments/x",
			"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}",
			sentSite + "/providers/Microsoft.Authorization/roleAssignments/x", "Microsoft.Authorization/roleAssignments/write"},
		{"extension of an extension", "GET",
			sentGroup + "/providers/Microsoft.Authorization/roleAssignments/x/providers/Microsoft.Authorization/roleAssignments",
			"{scope}/providers/Microsoft.Authorization/roleAssignments", sentGroup + "/providers/Microsoft.Authorization/roleAssignments/x",
			"Microsoft.Authorization/roleAssignments/read"},
	}
	for _, tt := range tests {
		f := newFixture(t, operations()...)
		w := f.call(tt.method, tt.path+version, "")
		var got struct{ Pattern, Scope string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code != 200 || err != nil {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
			continue
		}
		action := f.ask[0].Action
		if diff := cmp.Diff([]string{tt.pattern, tt.scope, tt.action}, []string{got.Pattern, got.Scope, action}); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestParametersAreDecodedOnce(t *testing.T) {
	f := newFixture(t, operations()...)
	w := f.call("PUT", sentSite+"/host/default/functionKeys/a%2Fb%2520c%C3%A9"+version, "")
	var got struct{ Params map[string]string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"sub": testSub, "group": "RG", "site": "Shop", "key": "a/b%20cé"}, got.Params); diff != "" {
		t.Error(diff)
	}
	w = f.call("GET", sentGroup+"/providers/Microsoft.Authorization/roleAssignments"+version, "")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Params["scope"] != sentGroup {
		t.Errorf("%v %v", got, err)
	}
}

func TestPathsThatCannotBeUsedAreRefused(t *testing.T) {
	tests := []struct {
		name, method, path string
		status             int
		code, text         string
	}{
		{"slash in a resource's name", "GET", sentGroup + "/providers/Microsoft.Web/sites/a%2Fb", 400, "InvalidRequestUri", "has a slash"},
		{"slash that would give a longer id", "GET", sentSite + "%2fconfig%2fx", 400, "InvalidRequestUri", "has a slash"},
		{"backslash in a resource's name", "GET", sentGroup + "/providers/Microsoft.Web/sites/a%5Cb", 400, "InvalidRequestUri", "has a slash"},
		{"step up", "GET", sentGroup + "/../x", 400, "InvalidRequestUri", "another folder"},
		{"encoded step up", "GET", sentGroup + "/%2e%2E/x", 400, "InvalidRequestUri", "another folder"},
		{"line break", "GET", sentGroup + "/a%0ab", 400, "InvalidRequestUri", "control characters"},
		{"null", "GET", sentGroup + "/a%00b", 400, "InvalidRequestUri", "control characters"},
		{"not UTF-8", "GET", sentGroup + "/%ff", 400, "InvalidRequestUri", "UTF-8"},
		{"long segment", "GET", "/" + strings.Repeat("x", 513), 400, "InvalidRequestUri", "segment 1 has more"},
		{"1000 segments", "GET", strings.Repeat("/x", 1000), 400, "InvalidRequestUri", "more than 64 segments"},
		{"long path", "GET", strings.Repeat("/", 9000), 400, "InvalidRequestUri", "more than 8192 bytes"},
		{"no provider's path", "GET", "/foo/bar", 404, "NotFound", "/foo/bar"},
		{"unknown namespace", "GET", sentGroup + "/providers/Microsoft.Foo/bars", 404, "InvalidResourceNamespace", "Microsoft.Authorization, Microsoft.Web"},
		{"unknown type", "GET", sentGroup + "/providers/Microsoft.Web/bars/x", 404, "InvalidResourceType", "'bars' is not served in the namespace 'Microsoft.Web'"},
		{"unknown child type", "GET", sentSite + "/bars/x", 404, "InvalidResourceType", "'sites/bars'"},
		{"unknown action", "POST", sentSite + "/explode", 404, "InvalidResourceType", "'explode'. Its actions are: syncfunctiontriggers; its child types are: config, host"},
		{"known type at another path", "GET", "/providers/Microsoft.Web/sites/x", 404, "InvalidResourceType", "at this path"},
		{"no scope", "GET", "/nothing/providers/Microsoft.Authorization/roleAssignments", 404, "InvalidResourceType", "at this path"},
		{"wrong method", "PATCH", sentSite, 405, "MethodNotAllowed", "DELETE, GET, HEAD, PUT"},
		{"wrong method for an extension", "DELETE", "/providers/Microsoft.Authorization/roleAssignments", 405, "MethodNotAllowed", "GET, HEAD"},
		{"made-up method", "BREW", sentSite, 405, "MethodNotAllowed", "BREW"},
		{"root", "GET", "/", 404, "NotFound", "'/'"},
	}
	f := newFixture(t, operations()...)
	for _, tt := range tests {
		w := f.call(tt.method, tt.path+version, "")
		if w.Code != tt.status || code(t, w) != tt.code || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if allow := w.Header().Get("Allow"); (allow != "") != (tt.status == 405) || !strings.Contains(w.Body.String(), allow) {
			t.Errorf("%s: Allow is %q", tt.name, allow)
		}
		if w.Header().Get("X-Ms-Failure-Cause") != "gateway" {
			t.Errorf("%s: not marked as the gateway's", tt.name)
		}
	}
}

func TestOperationsThatCannotBeServedAreFound(t *testing.T) {
	tests := []struct {
		name string
		ops  []Operation
		text string
	}{
		{"no handler", []Operation{{Method: "GET", Pattern: "/x"}}, "handler"},
		{"no method", []Operation{{Pattern: "/x", Handler: echo}}, "method"},
		{"small method", []Operation{{Method: "get", Pattern: "/x", Handler: echo}}, "method"},
		{"half a parameter", []Operation{{Method: "GET", Pattern: "/{x", Handler: echo}}, `"{x"`},
		{"empty segment", []Operation{{Method: "GET", Pattern: "/x//y", Handler: echo}}, `""`},
		{"parameter without name", []Operation{{Method: "GET", Pattern: "/{}", Handler: echo}}, "malformed"},
		{"same parameter twice", []Operation{{Method: "GET", Pattern: "/{x}/{x}", Handler: echo}}, "twice"},
		{"scope alone", []Operation{{Method: "GET", Pattern: "{scope}", Handler: echo}}, "fixed"},
		{"scope and parameter", []Operation{{Method: "GET", Pattern: "{scope}/{x}", Handler: echo}}, "fixed"},
		{"scope within", []Operation{{Method: "GET", Pattern: "/x/{scope}", Handler: echo}}, "reserved"},
		{"scope that is no id", []Operation{{Method: "GET", Pattern: group + "/providers/Microsoft.Web/sites/{s}", Scope: 3, Handler: echo}}, "no scope"},
		{"scope beyond the end", []Operation{{Method: "GET", Pattern: group, Scope: 5, Handler: echo}}, "no scope"},
		{"same path by other names", []Operation{{Method: "GET", Pattern: "/a/{x}", Handler: echo}, {Method: "GET", Pattern: "/A/{y}/", Handler: echo}}, "the same"},
	}
	for _, tt := range tests {
		_, err := New(Config{Authenticate: authenticate, Authorize: &fixture{}}, tt.ops...)
		if err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an API that lets everybody in was made")
	}
}

// FuzzPaths holds that no path is redirected, fails the server, or gets at
// anything but what its own segments name.
func FuzzPaths(f *testing.F) {
	fix := newFixture(f, operations()...)
	for _, seed := range []string{
		sentSite, sentSite + "/", "//" + sentSite, sentSite + "%2f..%2f", sentGroup + "/providers/Microsoft.Authorization/roleAssignments/x",
		"/providers/providers/providers", "/subscriptions/x/providers", "/%", "/%zz", "/a/../b", "/..", "*", "", "/" + strings.Repeat("providers/Microsoft.Web/", 20),
	} {
		f.Add("GET", seed)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r := httptest.NewRequest(http.MethodGet, "https://localhost/", nil)
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, "api-version=2024-03-01"
		if raw, err := r.URL.Parse(path); err == nil {
			r.URL.Path, r.URL.RawPath = raw.Path, raw.RawPath
		}
		r.Header.Set("Authorization", "Bearer owner")
		w := httptest.NewRecorder()
		fix.api.ServeHTTP(w, r)
		if w.Code < 200 || w.Code >= 500 || w.Code/100 == 3 {
			t.Errorf("%s %q: %d", method, path, w.Code)
		}
		segs, err := split(r.URL.EscapedPath())
		if err != nil && w.Code != 400 {
			t.Errorf("%q: %v, but %d", path, err, w.Code)
		}
		var got struct{ Scope string }
		if w.Code == 200 && method != http.MethodHead {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			whole := strings.ToLower("/" + strings.Join(segs, "/"))
			if got.Scope != "/" && !strings.HasPrefix(whole, strings.ToLower(got.Scope)) {
				t.Errorf("%q: scope %q", path, got.Scope)
			}
		}
	})
}

// BenchmarkRouting shows that more operations do not cost more.
func BenchmarkRouting(b *testing.B) {
	for _, types := range []int{1, 1000} {
		ops := operations()
		for i := range types - 1 {
			name := strings.Repeat("x", 1+i%20) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
			ops = append(ops, Operation{Method: "GET", Pattern: group + "/providers/Microsoft.Web/" + name + "/{name}", Handler: echo})
		}
		r, err := newRouter(ops)
		if err != nil {
			b.Fatal(err)
		}
		for name, path := range map[string]string{"resource": sentSite, "extension": sentSite + "/providers/Microsoft.Authorization/roleAssignments/x"} {
			b.Run(name+"/"+map[bool]string{true: "few", false: "many"}[types == 1], func(b *testing.B) {
				for b.Loop() {
					segs, err := split(path)
					if err != nil {
						b.Fatal(err)
					}
					m, _, err := r.find("PUT", segs)
					if err != nil {
						b.Fatal(err)
					}
					if _, _, err := m.route.bind(m.base, m.segs); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
