package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	served "github.com/latchkey/latchkey/internal/route"
)

func TestAddressesAreMadeOfTheRoute(t *testing.T) {
	for _, tt := range []struct {
		template string
		values   []string
		want     string
		bad      string // key of the text
	}{
		{"api/hello", nil, "/api/hello", ""},
		{"", nil, "/", ""},
		{"api/orders/{id}", []string{"42"}, "/api/orders/42", ""},
		{"api/orders/{id}", []string{""}, "", "console.param.needed"},
		{"api/orders/{id:int}", []string{"a b/c?d#e%f"}, "/api/orders/a%20b%2Fc%3Fd%23e%25f", ""},
		{"api/orders/{id:int:min(1)}/lines/{line?}", []string{"1", ""}, "/api/orders/1/lines", ""},
		{"api/{a?}/{b?}", []string{"", "x"}, "", "console.param.gap"},
		{"api/{a?}/fixed", []string{""}, "", "console.param.gap"},
		{"api/{page=first}/x", []string{""}, "/api/first/x", ""},
		{"api/{page=first}", []string{"second"}, "/api/second", ""},
		{"files/{*path}", []string{"a/b c/d"}, "/files/a/b%20c/d", ""},
		{"files/{**path}", []string{"/a//b/"}, "/files/a//b/", ""},
		{"files/{*path}", []string{""}, "/files", ""},
		{"files/{*path}", []string{"a/../../admin/host/keys"}, "", "console.param.climbs"},
		{"files/{name}.{ext?}", []string{"x", ""}, "/files/x", ""},
		{"files/{name}.{ext?}", []string{"x", "txt"}, "/files/x.txt", ""},
		{"files/{name}", []string{".."}, "", "console.param.climbs"},
		{"files/{a}-{b}", []string{"1", "2"}, "/files/1-2", ""},
		{"x/{{y}}/{z}", []string{"1"}, "/x/%7By%7D/1", ""},
		{"x/{id:regex(^[a-z]{{2}}/x=1$)}/y", []string{"ab"}, "/x/ab/y", ""},
		{"x/caf\u00e9", nil, "/x/caf%C3%A9", ""},
		{"{*path}", []string{"admin/host/systemkeys/_master"}, "", "console.path.runtime"},
		{"{*path}", []string{"//ADMIN/functions"}, "", "console.path.runtime"},
		{"{a}/{b}", []string{"RunTime", "webhooks"}, "", "console.path.runtime"},
		{"{a}", []string{"admin/functions/x"}, "", "console.path.runtime"},
		{"{a}", []string{"../admin/host/status"}, "", "console.path.runtime"},
		{"{a}/{b}", []string{"x/..", "admin"}, "", "console.path.runtime"},
		{"{a}", []string{`\admin`}, "", "console.path.runtime"},
		{"{a}", []string{"administrator"}, "/administrator", ""},
		{"x/{a}", []string{"a\nb"}, "", "console.param.control"},
		{"x/{a}", []string{"\xff"}, "", "console.param.control"},
		{"x/{a}", []string{strings.Repeat("a", maxPath)}, "", "console.path.long"},
	} {
		got, bad := parseRoute(tt.template).path(tt.values)
		text := ""
		if bad != nil {
			text = bad.Text
		}
		if got != tt.want || text != tt.bad {
			t.Errorf("%s with %q: %q, %q; want %q, %q", tt.template, tt.values, got, text, tt.want, tt.bad)
		}
	}
}

func TestParametersOfARouteAreFields(t *testing.T) {
	got := parseRoute("api/{id:int:range(1,5)}/{page=a=b}/{when:regex(^x=[{{]$)?}/{*rest}").Params
	want := []param{
		{Name: "id", Rule: "int:range(1,5)"}, {Name: "page", Default: "a=b"},
		{Name: "when", Rule: "regex(^x=[{]$)", Optional: true}, {Name: "rest", Rest: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzAddressesStayWithTheFunction puts any values into any template that a host
// serves: the address is one of this host, not of the runtime API, has no dots that lead
// elsewhere, and is the function's if the values fit its rules.
func FuzzAddressesStayWithTheFunction(f *testing.F) {
	for _, seed := range [][3]string{
		{"api/orders/{id}", "42", ""}, {"{*path}", "admin/x", ""}, {"{a}/{b?}", "//evil.example", ".."}, {"{a}.{b?}", ".", "."},
		{"x/{a=b}/{*c}", "", "@evil.example:80/%2e%2e/"}, {"{{a}}/{b:regex(^[/]{{1}}$)}", "\\..\\", "?"}, {"{a}", "admin/functions", ""}, {"", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, template, a, b string) {
		host, err := served.Parse(template)
		if err != nil {
			t.Skip("no host serves it")
		}
		r := parseRoute(template)
		if got, want := len(r.Params), len(host.Params()); got != want {
			t.Fatalf("%q has %d parameters, not %d", template, want, got)
		}
		for i, name := range host.Params() {
			if r.Params[i].Name != name {
				t.Fatalf("%q: parameter %d is %q, not %q", template, i, name, r.Params[i].Name)
			}
		}
		in := form{Method: http.MethodGet, Values: []string{a, b, a, b, a}}
		req, bad := in.request(t.Context(), function{Host: "orders.localhost:7071", Route: r}, "")
		if bad != nil {
			if bad.Text == "" {
				t.Error("nothing says why")
			}
			return
		}
		stays(t, req.URL)
	})
}

func stays(t *testing.T, u *url.URL) {
	t.Helper()
	if u.Host != "orders.localhost:7071" || u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		t.Errorf("it goes to %s", u)
	}
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		t.Errorf("the path is %q", path)
	}
	for s := range strings.SplitSeq(path, "/") {
		if plain, err := url.PathUnescape(s); err != nil || plain == "." || plain == ".." {
			t.Errorf("a segment of %q leads elsewhere", path)
		}
	}
	first, _, _ := strings.Cut(strings.TrimLeft(u.Path, "/"), "/")
	if strings.EqualFold(first, "admin") || strings.EqualFold(first, "runtime") {
		t.Errorf("%q is of the runtime API", path)
	}
}
