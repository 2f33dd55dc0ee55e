package tokenapi

import (
	"errors"
	"strings"
	"testing"
	"unicode"
)

func FuzzTokenRequest(f *testing.F) {
	f.Add("grant_type=client_credentials&client_id="+app+"&client_secret=x&scope="+arm+"/.default", "", true)
	f.Add("grant_type=client_credentials&resource=https%3A%2F%2Fvault.azure.net", "Basic YTpi", false)
	f.Add("a=1&a=2", "Basic !", true)
	f.Add("client_assertion=e30.e30.&client_assertion_type="+assertionType, "Bearer x", true)
	f.Fuzz(func(t *testing.T, text, authorization string, v2 bool) {
		form, err := parseForm(text)
		if err == nil {
			var q request
			if q, err = parseRequest(form, authorization, v2); err == nil {
				checkParsed(t, q, v2)
				if v2 {
					_, err = scopeResource(q.scope)
				}
			}
		}
		var fault *fault
		if err != nil && (!errors.As(err, &fault) || strings.ContainsFunc(fault.text, unicode.IsControl)) {
			t.Errorf("%q", err)
		}
	})
}

func checkParsed(t *testing.T, q request, v2 bool) {
	t.Helper()
	if q.clientID == "" || (q.secret == "") == (q.assertion == "") || v2 && q.scope == "" || !v2 && q.resource == "" {
		t.Errorf("%+v", q)
	}
	if isResourceURI(q.resource) && strings.ContainsFunc(q.resource, unicode.IsControl) {
		t.Errorf("resource %q", q.resource)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/common/oauth2/v2.0/token")
	f.Add("//x//.well-known/openid-configuration/")
	f.Fuzz(func(t *testing.T, path string) {
		if tenant, e := split(path); e != nothing && (tenant == "" || strings.Contains(tenant, "/")) {
			t.Errorf("%q: tenant %q", path, tenant)
		}
	})
}
