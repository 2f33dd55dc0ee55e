package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/funchost/access"
)

func TestPresentedFindsTheKey(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		query  string
		want   string
	}{
		{"nothing", nil, "", ""},
		{"header", []string{"h"}, "", "h"},
		{"header before query", []string{"h"}, "code=q", "h"},
		{"empty header before query", []string{""}, "code=q", ""},
		{"header without values", []string{}, "code=q", ""},
		{"first header", []string{"a", "b"}, "", "a"},
		{"query", nil, "code=q", "q"},
		{"any case", nil, "cOdE=q", "q"},
		{"encoded name", nil, "%43%6F%64%65=q", "q"},
		{"encoded value", nil, "code=a%2Fb%3D+c", "a/b= c"},
		{"bad escape in the value is kept", nil, "code=%zz", "%zz"},
		{"bad escape in the name", nil, "%zzcode=q", ""},
		{"first of two", nil, "code=a&code=b", "a"},
		{"first even if empty", nil, "code=&code=b", ""},
		{"without value", nil, "code&x=1", ""},
		{"value with equals signs", nil, "code=a==", "a=="},
		{"longer name", nil, "codes=q&xcode=q", ""},
		{"semicolons do not separate", nil, "a=1;code=q", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: tt.query}}
			if tt.header != nil {
				r.Header["X-Functions-Key"] = tt.header
			}
			if got := access.Presented(r); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzPresentedAgreesWithNetURL compares with the standard library wherever that
// accepts the query at all.
func FuzzPresentedAgreesWithNetURL(f *testing.F) {
	for _, q := range []string{"", "code=x", "a=1&CODE=%41&code=b", "%63ode=+", "code", "&&=&code=a=b", "code=%", "%e1%bc"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := access.Presented(&http.Request{URL: &url.URL{RawQuery: query}})
		if _, err := url.ParseQuery(query); err != nil {
			return
		}
		want := ""
		for pair := range strings.SplitSeq(query, "&") {
			values, _ := url.ParseQuery(pair)
			found := false
			for name, v := range values {
				if strings.EqualFold(name, "code") {
					want, found = v[0], true
				}
			}
			if found {
				break
			}
		}
		if got != want {
			t.Errorf("%q: %q, net/url says %q", query, got, want)
		}
	})
}

func TestFindingTheKeyDoesNotAllocate(t *testing.T) {
	r := &http.Request{Header: http.Header{"Accept": {"*/*"}}, URL: &url.URL{RawQuery: "a=1&code=abc"}}
	if n := testing.AllocsPerRun(100, func() { _ = access.Presented(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
