package hosttest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/testkit"
)

// platform are the settings of an app on App Service, with or without isolation.
func platform(appService, isolated bool) map[string]string {
	s := map[string]string{}
	if appService {
		s["WEBSITE_INSTANCE_ID"] = "instance"
		s["LATCHKEY_TRUST_FRONT_END"] = "1"
	}
	if isolated {
		s["FUNCTIONS_ADMIN_ISOLATION_ENABLED"] = "1"
	}
	return s
}

func TestInstanceIDAloneMakesNobodyInternal(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Settings: map[string]string{"WEBSITE_INSTANCE_ID": "instance"}})
	if a := h.Get(t, "/admin/host/status", ""); a.Status != http.StatusUnauthorized {
		t.Errorf("a request without a key got %d", a.Status)
	}
}

func TestAdminIsolation(t *testing.T) {
	type row struct {
		path                             string
		appService, isolated             bool
		platformHeader, bypassed, hasKey bool
		status                           int
	}
	const status, templates = "/admin/host/status", "/admin/host/extensionBundle/v1/templates"
	rows := []row{
		{status, true, true, false, false, true, 403},
		{status, true, true, true, false, false, 401},
		{status, true, true, true, true, true, 200},
		{status, true, false, false, false, true, 200},
		{status, true, false, false, true, true, 200},
		{status, true, true, true, false, true, 200},
		{status, false, true, false, true, true, 403},
		{status, false, true, true, false, true, 403},
		{templates, true, true, false, true, false, 401},
		{templates, true, true, true, false, true, 404},
		{templates, true, false, false, false, true, 404},
		{templates, true, true, false, true, true, 403},
		{"/api/boss", true, true, false, false, true, 200},
		{"/api/boss", false, true, false, false, true, 200},
	}
	for _, appService := range []bool{true, false} {
		for _, isolated := range []bool{true, false} {
			var h *testkit.Host
			for _, r := range rows {
				if r.appService != appService || r.isolated != isolated {
					continue
				}
				if h == nil {
					h = testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Settings: platform(appService, isolated)})
				}
				req := testkit.Request{Path: r.path, Header: map[string]string{}}
				if r.platformHeader {
					req.Header["x-ms-platform-internal"] = "True"
				}
				if !r.bypassed {
					req.Header["X-ARR-LOG-ID"] = "1"
				}
				if r.hasKey {
					req.Key = h.Master(t)
				}
				if a := h.Send(t, req); a.Status != r.status {
					t.Errorf("%+v: status %d", r, a.Status)
				}
			}
		}
	}
}

func TestInternalRequestsNeedNoKey(t *testing.T) {
	h := testkit.Start(t, testkit.App{Settings: platform(true, false)})
	outside := map[string]string{"X-ARR-LOG-ID": "1"}
	for path, body := range map[string]string{"/admin/host/synctriggers": "", "/admin/host/log": `[]`} {
		h.Send(t, testkit.Request{Method: "POST", Path: path, Body: body}).WantStatus(t, 200)
		h.Send(t, testkit.Request{Method: "POST", Path: path, Body: body, Header: outside}).WantStatus(t, 401)
		h.Send(t, testkit.Request{Method: "POST", Path: path, Body: body, Header: outside, Key: h.Master(t)}).WantStatus(t, 200)
	}
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/restart"}).WantStatus(t, 401)
	h.Get(t, "/admin/host/keys", "").WantStatus(t, 401)
}

func TestNothingIsInternalOutsideAppService(t *testing.T) {
	h := testkit.Start(t, testkit.App{})
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/synctriggers"}).WantStatus(t, 401)
	h.Get(t, "/runtime/webhooks/x", "").WantStatus(t, 401)
}

// principalHeader is what an authentication proxy sends about a user who tries
// to look like the holder of a key.
func principalHeader(t *testing.T) string {
	t.Helper()
	const prefix = "http://schemas.microsoft.com/2017/07/functions/claims/"
	type claim struct {
		Typ string `json:"typ"`
		Val string `json:"val"`
	}
	raw, err := json.Marshal(map[string]any{
		"auth_typ": "aad", "name_typ": "name", "role_typ": "roles",
		"claims": []claim{{"name", "Ada"}, {prefix + "authlevel", "Admin"}, {prefix + "KeyId", "master"}, {prefix + "invoke", "true"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestProxyIdentityCountsOnlyWhereAProxyIsTrusted(t *testing.T) {
	for setting, trusted := range map[string]bool{"": false, "False": false, "True": true} {
		t.Run("WEBSITE_AUTH_ENABLED="+setting, func(t *testing.T) {
			var claims [][2]string
			var header, forwarded string
			h := testkit.Start(t, testkit.App{Files: threeLevels(), Settings: map[string]string{"WEBSITE_AUTH_ENABLED": setting},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					var doc struct {
						Data struct {
							Req struct {
								Headers    http.Header
								Identities []map[string]any
							} `json:"req"`
						}
					}
					if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
						t.Error(err)
					}
					claims = claimsOf(doc.Data.Req.Identities)
					header = doc.Data.Req.Headers.Get("x-ms-client-principal")
					forwarded = doc.Data.Req.Headers.Get("x-ms-client-principal-name")
					_, _ = w.Write([]byte("{}"))
				})})
			who := map[string]string{"x-ms-client-principal": principalHeader(t), "x-ms-client-principal-name": "Ada"}
			h.Send(t, testkit.Request{Path: "/api/open", Header: who}).WantStatus(t, 204)
			var want [][2]string
			if trusted {
				want = [][2]string{{"name", "Ada"}}
			}
			if diff := cmp.Diff(want, claims); diff != "" {
				t.Error(diff)
			}
			if (header != "") != trusted || (forwarded != "") != trusted {
				t.Errorf("the function sees %q and %q", header, forwarded)
			}
			h.Send(t, testkit.Request{Path: "/api/open", Header: who, Key: h.HostKey(t)}).WantStatus(t, 204)
			if len(claims) == 0 || (claims[0][1] == "Ada") != trusted || claims[len(claims)-1] != [2]string{claims[len(claims)-1][0], "true"} {
				t.Errorf("with a key: %v", claims)
			}
			for path, status := range map[string]int{"/api/closed": 401, "/api/boss": 401, "/admin/host/status": 403, "/admin/host/keys": 403} {
				if !trusted {
					status = 401
				}
				h.Send(t, testkit.Request{Path: path, Header: who}).WantStatus(t, status)
			}
			if strings.Contains(h.Log.String(), who["x-ms-client-principal"]) {
				t.Error("the principal is in the log")
			}
		})
	}
}

func TestUnreadablePrincipalIsNobody(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels(), Settings: map[string]string{"WEBSITE_AUTH_ENABLED": "true"}})
	for _, text := range []string{"", "%%%", base64.StdEncoding.EncodeToString([]byte("x")), strings.Repeat("A", 40<<10)} {
		h.Send(t, testkit.Request{Path: "/admin/host/status", Header: map[string]string{"x-ms-client-principal": text}}).WantStatus(t, 401)
	}
}
