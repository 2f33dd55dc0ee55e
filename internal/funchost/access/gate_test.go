package access_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/worker"
)

func newRing(t *testing.T) *keyring.Ring {
	t.Helper()
	ring, err := keyring.New(keyring.Config{Store: memory.New(), Clock: clock.NewManual(noon)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	if err := ring.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestInternalAllowListHasWholeSegments(t *testing.T) {
	tests := []struct {
		name    string
		allowed []string // nil: no list
		path    string
		want    bool
	}{
		{"no list", nil, "/admin/host/log", true},
		{"empty list", []string{}, "/admin/host/log", false},
		{"empty entries", []string{"", "/"}, "/admin/host/log", false},
		{"listed", []string{"/admin/host/log"}, "/admin/host/log", true},
		{"listed in another case", []string{"Admin/Host"}, "/ADMIN/host/log", true},
		{"trailing slashes", []string{"/admin/host/log/"}, "/admin/host/log/", true},
		{"half a segment", []string{"/admin/ho"}, "/admin/host/log", false},
		{"another", []string{"/admin/host/synctriggers", "/runtime"}, "/admin/host/log", false},
		{"second", []string{"/x", "/runtime/webhooks"}, "/runtime/webhooks/y", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := access.Isolation{AppService: true, Allowed: tt.allowed}
			r := httptest.NewRequest("POST", tt.path, nil)
			if got := i.Internal(r); got != tt.want {
				t.Errorf("%v", got)
			}
			r.Header.Set("X-ARR-LOG-ID", "1")
			if i.Internal(r) {
				t.Error("a request through the front end is internal")
			}
			r.Header.Del("X-ARR-LOG-ID")
			if i.AppService = false; i.Internal(r) {
				t.Error("a request is internal outside App Service")
			}
		})
	}
}

func TestPoliciesByAllowList(t *testing.T) {
	g := &access.Gate{Keys: newRing(t), Isolation: access.Isolation{AppService: true, Allowed: []string{"/admin/host/synctriggers"}}}
	for path, want := range map[string]access.Verdict{"/admin/host/synctriggers": access.Allowed, "/admin/host/log": access.Unknown} {
		if v, _ := g.AdminOrInternal(httptest.NewRequest("POST", path, nil)); v != want {
			t.Errorf("%s: %v", path, v)
		}
		if v, _ := g.Admin(httptest.NewRequest("POST", path, nil)); v != access.Unknown {
			t.Errorf("%s for administrators: %v", path, v)
		}
	}
	if v, _ := g.Webhook(httptest.NewRequest("POST", "/runtime/webhooks/x", nil), "x"); v != access.Unknown {
		t.Errorf("webhook: %v", v)
	}
}

func TestRefusals(t *testing.T) {
	for v, want := range map[access.Verdict]int{
		access.Unknown: 401, access.Insufficient: 403, access.Throttled: 429, access.Undecided: 500,
	} {
		w := httptest.NewRecorder()
		access.Enforce(w, v, keyring.Decision{RetryAfter: 1500 * time.Millisecond})
		if w.Code != want || w.Body.Len() > 0 || (want == 429) != (w.Header().Get("Retry-After") == "2") {
			t.Errorf("%v: %d %v %q", v, w.Code, w.Header(), w.Body)
		}
	}
}

func TestIdentitiesOfTokensAndKeys(t *testing.T) {
	const prefix = "http://schemas.microsoft.com/2017/07/functions/claims/"
	invoke := worker.Claim{Type: prefix + "invoke", Value: "true"}
	admin := worker.Claim{Type: prefix + "authlevel", Value: "Admin"}
	g := &access.Gate{}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Ms-Client-Principal", base64.StdEncoding.EncodeToString([]byte(`{"claims":[]}`)))
	tests := []struct {
		name string
		d    keyring.Decision
		t    access.SiteToken
		want [][]worker.Claim
	}{
		{"nobody", keyring.Decision{}, access.SiteToken{}, nil},
		{"platform", keyring.Decision{}, access.SiteToken{Valid: true}, [][]worker.Claim{{admin}}},
		{"site", keyring.Decision{}, access.SiteToken{Valid: true, Invoke: true}, [][]worker.Claim{{admin, invoke}}},
		{"key", keyring.Decision{Level: keyring.FunctionLevel, Name: "k"}, access.SiteToken{},
			[][]worker.Claim{{{Type: prefix + "authlevel", Value: "Function"}, {Type: prefix + "keyid", Value: "k"}, invoke}}},
	}
	for _, tt := range tests {
		var got [][]worker.Claim
		for _, id := range g.Identities(r, tt.d, tt.t) {
			got = append(got, id.Claims)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if g.TrustProxy = true; len(g.Identities(r, keyring.Decision{}, access.SiteToken{})) != 1 {
		t.Error("a trusted proxy's identity is missing")
	}
}

// FuzzPrincipal: whatever a proxy sends, no claim of ours comes out of it.
func FuzzPrincipal(f *testing.F) {
	f.Add([]byte(`{"auth_typ":"aad","claims":[{"typ":"name","val":"x"}]}`))
	f.Add([]byte(`{"claims":[{"typ":"HTTP://schemas.microsoft.com/2017/07/functions/claims/authlevel","val":"Admin"}]}`))
	f.Add([]byte(`{"claims":null}`))
	g := &access.Gate{TrustProxy: true}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &http.Request{Header: http.Header{"X-Ms-Client-Principal": {base64.StdEncoding.EncodeToString(raw)}}}
		for _, id := range g.Identities(r, keyring.Decision{}, access.SiteToken{}) {
			for _, c := range id.Claims {
				if len(c.Type) > 50 && c.Type[len(c.Type)-9:] == "authlevel" && c.Type[:7] == "http://" && c.Value == "Admin" {
					t.Errorf("claim %q from %q", c.Type, raw)
				}
			}
		}
	})
}
