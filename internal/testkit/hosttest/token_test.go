package hosttest_test

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey/latchkey/internal/testkit"
)

const encryptionKey = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

func siteToken(t *testing.T, key []byte, issuer string, expires time.Time) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(jwt.Claims{
		Issuer: issuer, Audience: jwt.Audience{"https://app.azurewebsites.net/azurefunctions"}, Expiry: jwt.NewNumericDate(expires),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSiteTokenManagesAndInvokes(t *testing.T) {
	s := newSeen()
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: s, Files: threeLevels(), Settings: map[string]string{
		"AzureWebEncryptionKey": encryptionKey, "WEBSITE_SITE_NAME": "App",
		"AzureWebJobs.off.Disabled": "true"}})
	if _, _, err := h.Node.Webhooks.Register(t.Context(), "x", echoHook()); err != nil {
		t.Fatal(err)
	}
	raw, _ := hex.DecodeString(encryptionKey)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	const site, scm, platform = "https://app.azurewebsites.net", "https://app.scm.azurewebsites.net", "https://appservice.core.azurewebsites.net"
	tests := []struct {
		name                           string
		token                          string
		manage, invoke, boss, disabled int
	}{
		{"site", siteToken(t, raw, site, later), 200, 200, 200, 200},
		{"build service, key as text", siteToken(t, []byte(encryptionKey), scm, later), 200, 200, 200, 200},
		{"platform manages only", siteToken(t, raw, platform, later), 200, 401, 401, 401},
		{"wrong key", siteToken(t, []byte(strings.Repeat("x", 32)), site, later), 401, 401, 401, 401},
		{"expired", siteToken(t, raw, site, before), 401, 401, 401, 401},
		{"another site", siteToken(t, raw, "https://other.azurewebsites.net", later), 401, 401, 401, 401},
	}
	for _, tt := range tests {
		for field, value := range map[string]string{"Authorization": "Bearer " + tt.token, "x-ms-site-token": tt.token} {
			for path, status := range map[string]int{"/admin/host/status": tt.manage, "/admin/host/systemkeys/_master": tt.manage,
				"/runtime/webhooks/x": tt.manage, "/api/closed": tt.invoke, "/api/boss": tt.boss, "/api/off": tt.disabled} {
				a := h.Send(t, testkit.Request{Path: path, Header: map[string]string{field: value}})
				if a.Status != status {
					t.Errorf("%s in %s for %s: %d, want %d", tt.name, field, path, a.Status, status)
				}
				if status != 200 || !strings.HasPrefix(path, "/api/") {
					continue
				}
				if r := s.last(t); r.Header.Get(field) != "" {
					t.Errorf("%s: the function sees the token in %s", tt.name, field)
				}
			}
			if strings.Contains(h.Log.String(), tt.token) {
				t.Error("the token is in the log")
			}
		}
	}
	h.Send(t, testkit.Request{Path: "/api/open", Header: map[string]string{"Authorization": "Bearer of.another.kind"}}).WantStatus(t, 200)
	if got := s.last(t).Header.Get("Authorization"); got != "Bearer of.another.kind" {
		t.Errorf("the function's own token became %q", got)
	}
}

func TestSiteTokenIsNotAcceptedWithoutAnEncryptionKey(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels(), Settings: map[string]string{"WEBSITE_SITE_NAME": "App"}})
	for _, key := range []string{encryptionKey, strings.Repeat("\x00", 32)} {
		token := siteToken(t, []byte(key), "https://app.azurewebsites.net", time.Now().Add(time.Hour))
		h.Send(t, testkit.Request{Path: "/admin/host/status", Header: map[string]string{"Authorization": "Bearer " + token}}).WantStatus(t, 401)
	}
}

func TestIsolationHoldsForSiteTokensToo(t *testing.T) {
	settings := platform(true, true)
	settings["AzureWebEncryptionKey"], settings["WEBSITE_SITE_NAME"] = encryptionKey, "App"
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Settings: settings})
	token := siteToken(t, []byte(encryptionKey), "https://app.azurewebsites.net", time.Now().Add(time.Hour))
	for internal, status := range map[string]int{"": 403, "true": 200} {
		h.Send(t, testkit.Request{Path: "/admin/host/status", Header: map[string]string{
			"x-ms-site-token": token, "X-ARR-LOG-ID": "1", "x-ms-platform-internal": internal}}).WantStatus(t, status)
	}
	h.Send(t, testkit.Request{Path: "/api/boss", Header: map[string]string{"x-ms-site-token": token}}).WantStatus(t, http.StatusOK)
}

func TestRestrictedTokensAreOff(t *testing.T) {
	h := testkit.Start(t, testkit.App{Settings: map[string]string{"WEBSITE_AUTH_ENCRYPTION_KEY": encryptionKey}})
	h.Send(t, testkit.Request{Path: "/admin/host/status", Header: map[string]string{"x-ms-site-restricted-token": "a.b.c"}}).WantStatus(t, 401)
}
