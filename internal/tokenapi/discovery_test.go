package tokenapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiscoveryFollowsTheHost(t *testing.T) {
	f := newFixture(t)
	const base = "https://" + host
	for path, want := range map[string]map[string]any{
		"/common/v2.0/.well-known/openid-configuration": {
			"issuer": base + "/" + tenant + "/v2.0", "token_endpoint": base + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint": base + "/" + tenant + "/oauth2/v2.0/authorize", "jwks_uri": base + "/" + tenant + "/discovery/v2.0/keys",
		},
		"/" + strings.ToUpper(tenant) + "/.WELL-KNOWN/OpenID-Configuration": {
			"issuer": base + "/" + tenant + "/", "token_endpoint": base + "/" + tenant + "/oauth2/token",
			"authorization_endpoint": base + "/" + tenant + "/oauth2/authorize", "jwks_uri": base + "/" + tenant + "/discovery/keys",
		},
	} {
		w := f.get(path)
		m := decode(t, w)
		got := map[string]any{}
		for k := range want {
			got[k] = m[k]
		}
		if diff := cmp.Diff(want, got); diff != "" || w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, diff)
		}
		if diff := cmp.Diff([]any{"client_secret_post", "private_key_jwt", "client_secret_basic"}, m["token_endpoint_auth_methods_supported"]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSchemeOfDiscovery(t *testing.T) {
	for name, tt := range map[string]struct {
		proxy bool
		want  string
	}{"plain": {false, "http://x.test/"}, "behind a proxy": {true, "https://x.test/"}} {
		f := newFixture(t, func(c *Config) { c.PlainProxy = tt.proxy })
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", "http://x.test/common/.well-known/openid-configuration", nil))
		if issuer := decode(t, w)["issuer"]; issuer != tt.want+tenant+"/" {
			t.Errorf("%s: issuer %q", name, issuer)
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	f := newFixture(t)
	const path = "/common/discovery/instance?api-version=1.1&authorization_endpoint="
	w := f.get(path + "https://" + host + "/" + tenant + "/oauth2/v2.0/authorize")
	want := map[string]any{
		"tenant_discovery_endpoint": "https://" + host + "/" + tenant + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []any{host}}},
	}
	if diff := cmp.Diff(want, decode(t, w)); diff != "" || w.Code != 200 {
		t.Errorf("%d %s", w.Code, diff)
	}
	for _, endpoint := range []string{"", "x", "https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/authorize", "ftp://" + host + "/" + tenant} {
		if w := f.get(path + endpoint); code(t, w) != 50049 || w.Code != 400 || decode(t, w)["error"] != "invalid_instance" {
			t.Errorf("%q: %d %s", endpoint, w.Code, w.Body)
		}
	}
}

func TestKeySetsAreTheSameEverywhere(t *testing.T) {
	f := newFixture(t)
	first := decode(t, f.get("/common/discovery/keys"))
	key := first["keys"].([]any)[0].(map[string]any)
	for _, member := range []string{"kty", "use", "kid", "x5t", "n", "e", "x5c", "issuer"} {
		if key[member] == nil {
			t.Errorf("there is no %s", member)
		}
	}
	if key["issuer"] != "https://"+host+"/"+tenant+"/v2.0" || len(key) != 8 {
		t.Errorf("key %v", key)
	}
	for _, path := range []string{"/" + tenant + "/discovery/v2.0/keys", "/organizations/discovery/keys"} {
		if diff := cmp.Diff(first, decode(t, f.get(path))); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestHostsThatAreNotServed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.AllowHost = func(h string) bool { return h == host } })
	if w := f.get("/common/discovery/keys"); w.Code != 200 {
		t.Errorf("own host: %d", w.Code)
	}
	for _, h := range []string{"evil.test", "localhost", "localhost:7443/x", `x"y`, ""} {
		r := httptest.NewRequest("GET", "https://"+host+"/common/discovery/keys", nil)
		r.Host = h
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if code(t, w) != 50049 {
			t.Errorf("%q: %d %s", h, w.Code, w.Body)
		}
	}
}

func TestDiscoveryIsForReading(t *testing.T) {
	f := newFixture(t)
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "DELETE": 405, "OPTIONS": 405} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(method, "https://"+host+"/common/discovery/keys", nil))
		if w.Code != want || w.Code == http.StatusMovedPermanently {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	if len(f.events) != 0 {
		t.Errorf("discovery makes events: %+v", f.events)
	}
}
