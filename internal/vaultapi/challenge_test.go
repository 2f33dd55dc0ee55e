package vaultapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
)

const wantChallenge = `Bearer authorization="https://localhost:7443/` + tenant + `", resource="https://vault.localhost:7443"`

func TestTokensThatDoNotCount(t *testing.T) {
	tests := []struct{ name, authorization, message, reason string }{
		{"none", "", "AKV10000: Request is missing a Bearer or PoP token.", "AKV10000"},
		{"another scheme", "Basic eDp5", "[InvalidToken] Error validating token: The Authorization header has no bearer token.", "InvalidToken"},
		{"another audience", "Bearer audience", "AKV10022: Invalid audience. Expected https://vault.localhost:7443, found: https://graph.", "AKV10022"},
		{"another issuer", "Bearer issuer", "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/" + tenant + "/, https://login.microsoftonline.com/" + tenant + "/v2.0, found another one.", "AKV10032"},
		{"expired", "Bearer expired", "[TokenExpired] Error validating token: 'S2S12086'.", "TokenExpired"},
		{"forged", "Bearer forged", "[InvalidToken] Error validating token: its signature is wrong.", "wrong signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			w := e.send("GET", "/secrets/n?api-version=7.4", "", tt.authorization)
			want := `{"error":{"code":"Unauthorized","message":"` + tt.message + `"}}`
			if diff := cmp.Diff(want, w.Body.String()); w.Code != 401 || diff != "" {
				t.Errorf("%d %s", w.Code, diff)
			}
			challenge := wantChallenge
			if tt.name == "expired" {
				challenge += `, error="insufficient_claims", claims="` + token.RenewalClaims(e.clock.Now()) + `"`
			}
			if diff := cmp.Diff([]string{challenge}, w.Header().Values("WWW-Authenticate")); diff != "" {
				t.Error(diff)
			}
			ev := e.last()
			if ev.Challenge != (tt.authorization == "") || ev.Code != "Unauthorized" || ev.Operation != "get" || ev.Secret != "n" || ev.VaultID != vaultID {
				t.Errorf("event %+v", ev)
			}
			if tt.name != "forged" && ev.Reason != tt.reason {
				t.Errorf("reason %q, want %q", ev.Reason, tt.reason)
			}
			if len(e.vaults.asked)+len(e.secrets.calls) > 0 {
				t.Error("somebody unknown got further")
			}
		})
	}
}

func TestChallengeComesBeforeAnyOtherFault(t *testing.T) {
	tests := []struct{ name, method, target, body string }{
		{"no api-version", "GET", "/secrets/n", ""},
		{"bad api-version", "GET", "/secrets/n?api-version=zz", ""},
		{"bad name", "GET", "/secrets/a_b?api-version=7.4", ""},
		{"body missing", "PUT", "/secrets/n?api-version=7.4", ""},
		{"body broken", "PUT", "/secrets/n?api-version=7.4", "{"},
		{"unknown path", "GET", "/things", ""},
		{"wrong method", "POST", "/secrets/n", ""},
		{"keys", "GET", "/keys", ""},
		{"root", "GET", "/", ""},
		{"contacts", "GET", "/certificates/contacts?api-version=7.4", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newEnv(t).send(tt.method, tt.target, tt.body, "")
			if w.Code != 401 || w.Header().Get("WWW-Authenticate") != wantChallenge {
				t.Errorf("got %d %v", w.Code, w.Header())
			}
		})
	}
}

func TestStrangersCannotTellWhichVaultsThereAre(t *testing.T) {
	e := newEnv(t)
	there := e.send("GET", "/secrets/n?api-version=7.4", "", "")
	e.vaults.gone = true
	gone := e.send("GET", "/secrets/n?api-version=7.4", "", "")
	for _, h := range []http.Header{there.Header(), gone.Header()} {
		h.Del("X-Ms-Request-Id")
	}
	if diff := cmp.Diff(there.Header(), gone.Header()); diff != "" || there.Body.String() != gone.Body.String() {
		t.Errorf("answers differ: %s", diff)
	}
	w := e.do("GET", "/secrets/n?api-version=7.4", "")
	if w.Code != 404 || !strings.Contains(w.Body.String(), `"VaultNotFound"`) {
		t.Errorf("with a token: %d %s", w.Code, w.Body)
	}
}

func TestHostsThatAreNoVaults(t *testing.T) {
	for _, bad := range []string{"localhost:7443", `kv1"x.vault.localhost`, ""} {
		e := newEnv(t)
		r := httptest.NewRequest("GET", "https://"+host+"/secrets/n?api-version=7.4", nil)
		r.Host = bad
		if w := e.raw(r); w.Code != 404 || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%q: %d %v", bad, w.Code, w.Header())
		}
	}
}

func TestIdentityThatCannotBeFoundOutIsNoRefusal(t *testing.T) {
	e := newEnv(t)
	w := e.send("GET", "/secrets/n?api-version=7.4", "", "Bearer down")
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestHeadersOfAllAnswers(t *testing.T) {
	e := newEnv(t)
	e.vaults.grant = vault.Grant{Assignment: "/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/a1"}
	tests := []struct {
		name, authorization, target, region string
		status                              int
	}{
		{"success", "Bearer ok", "/secrets/n?api-version=7.4", "westeurope", 200},
		{"no token", "", "/secrets/n?api-version=7.4", "local", 401},
		{"bad request", "Bearer ok", "/secrets/n", "westeurope", 400},
		{"no such path", "Bearer ok", "/x", "westeurope", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "https://"+host+tt.target, nil)
			r.RemoteAddr = "203.0.113.7:50000"
			r.Header.Set("x-ms-client-request-id", "my-id")
			r.Header.Set("Authorization", tt.authorization)
			w := e.raw(r)
			if w.Code != tt.status {
				t.Fatalf("status %d", w.Code)
			}
			h := w.Header().Clone()
			if h.Get("x-ms-request-id") == "" || h.Get("x-ms-request-id") != e.last().RequestID {
				t.Errorf("request id %q", h.Get("x-ms-request-id"))
			}
			for _, own := range []string{"X-Ms-Request-Id", "Content-Length", "Www-Authenticate"} {
				h.Del(own)
			}
			want := http.Header{
				"Cache-Control": {"no-cache, no-store"}, "Pragma": {"no-cache"}, "Expires": {"-1"}, "X-Content-Type-Options": {"nosniff"},
				"X-Ms-Keyvault-Region": {tt.region}, "X-Ms-Client-Request-Id": {"my-id"}, "X-Ms-Keyvault-Service-Version": {"1.9.2150.1"},
				"X-Ms-Keyvault-Network-Info": {"conn_type=Ipv4;addr=203.0.113.7;act_addr_fam=InterNetwork;"}, "Content-Type": {"application/json; charset=utf-8"},
			}
			if tt.status == 200 {
				want.Set("X-Ms-Keyvault-Rbac-Assignment-Id", "a1")
			}
			if diff := cmp.Diff(want, h); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeadersOnRequest(t *testing.T) {
	e := newEnv(t, func(c *Config) {
		c.StrictTransport = true
		c.Source = func(*http.Request) netip.Addr { return netip.MustParseAddr("2001:db8::1") }
	})
	r := httptest.NewRequest("GET", "https://"+host+"/secrets/n?api-version=7.4", nil)
	r.Header.Set("x-ms-client-request-id", "a\tb")
	r.Header.Set("x-ms-correlation-request-id", "c1")
	w := e.raw(r)
	if got := w.Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("Strict-Transport-Security %q", got)
	}
	if got := w.Header().Get("x-ms-keyvault-network-info"); got != "conn_type=Ipv6;addr=2001:db8::1;act_addr_fam=InterNetworkV6;" {
		t.Errorf("network info %q", got)
	}
	if got := w.Header().Values("x-ms-client-request-id"); len(got) > 0 {
		t.Errorf("text that is no id is echoed: %q", got)
	}
	if got := e.last().CorrelationID; got != "c1" {
		t.Errorf("correlation id %q", got)
	}
}

func TestNetworkInfoOfAnUnknownAddress(t *testing.T) {
	if got := networkInfo(netip.Addr{}); got != "conn_type=Unknown;" {
		t.Errorf("%q", got)
	}
}

func TestTheNetworkIsJudgedByWhereTheRequestComesFrom(t *testing.T) {
	e := newEnv(t)
	e.do("GET", "/secrets/n?api-version=7.4", "")
	if diff := cmp.Diff("203.0.113.7", e.vaults.from[0].String()); diff != "" {
		t.Error(diff)
	}
}

func TestDrillFaultsAreAnsweredBeforeAccess(t *testing.T) {
	var asked vault.Operation
	e := newEnv(t, func(c *Config) {
		c.Fault = func(_ context.Context, _ vault.Vault, op vault.Operation) error {
			asked = op
			return problem.New(problem.Unavailable, "the drill says so")
		}
	})
	w := e.do("DELETE", "/secrets/n?api-version=7.4", "")
	if w.Code != 503 || asked != vault.Delete || len(e.vaults.asked)+len(e.secrets.calls) > 0 {
		t.Errorf("%d %s, asked %v", w.Code, w.Body, asked)
	}
}

func TestRightsAreAskedAgainAfterTheBody(t *testing.T) {
	for _, lost := range []string{"right", "vault", "token"} {
		t.Run(lost, func(t *testing.T) {
			var e *env
			revoked := false
			e = newEnv(t, func(c *Config) {
				c.Authenticate = func(ctx context.Context, r *http.Request, res string) (vault.Caller, error) {
					if revoked {
						return vault.Caller{}, problem.New(problem.Unauthenticated, "disabled")
					}
					return authenticate(ctx, r, res)
				}
			})
			body := onRead{func() {
				switch lost {
				case "right":
					e.vaults.err = problem.Wrap(problem.Denied, "no", vault.ForbiddenByRbac)
				case "vault":
					e.vaults.gone = true
				case "token":
					revoked = true
				}
			}, strings.NewReader(`{"value":"s"}`)}
			r := httptest.NewRequest("PUT", "https://"+host+"/secrets/n?api-version=7.4", &body)
			r.Header.Set("Authorization", "Bearer ok")
			w := e.raw(r)
			want := map[string]int{"right": 403, "vault": 404, "token": 401}[lost]
			if w.Code != want || len(e.secrets.calls) > 0 {
				t.Errorf("%d %s, calls %v", w.Code, w.Body, e.secrets.calls)
			}
		})
	}
}

// onRead runs something when a body is read.
type onRead struct {
	run func()
	*strings.Reader
}

func (o *onRead) Read(b []byte) (int, error) {
	o.run()
	return o.Reader.Read(b)
}

func TestNewWantsACompleteConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config is accepted")
	}
}

var errUnexpected = errors.New("a file name and a host that are nobody's business")
