package sites_test

import (
	"net/http"
	"strings"
	"testing"
)

const identityAt = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/powerful"

// The right to write an app is not the right to put it into any plan, nor to give
// it any identity.
func TestWhatAnAppUsesNeedsARightOfItsOwn(t *testing.T) {
	for _, tt := range []struct{ name, deny, body string }{
		{"a plan", "Microsoft.Web/serverfarms/join/action", `{"location":"local","properties":{"serverFarmId":"` + planAt + `2"}}`},
		{"an identity", "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
			`{"location":"local","identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.create()
			f.want(http.StatusOK, "PUT", planAt+"2", `{"location":"local","sku":{"name":"Y1"}}`)
			f.deny = tt.deny
			for _, method := range []string{"PUT", "PATCH"} {
				if w := f.want(http.StatusForbidden, method, siteAt, tt.body); !strings.Contains(w.Body.String(), "LinkedAuthorizationFailed") {
					t.Errorf("%s", w.Body)
				}
			}
			f.want(http.StatusForbidden, "PUT", webAt+"/sites/another", tt.body)
			f.deny = ""
			f.want(http.StatusOK, "PATCH", siteAt, tt.body)
			f.deny = tt.deny
			f.want(http.StatusOK, "PATCH", siteAt, tt.body) // it has that already
			f.want(http.StatusOK, "PUT", siteAt, tt.body)
		})
	}
}

func TestDeletingAnAppDeletesNoPlanOfOthers(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.deny = "Microsoft.Web/serverfarms/delete"
	f.want(http.StatusOK, "DELETE", siteAt, "")
	f.want(http.StatusOK, "GET", planAt, "")
}

func TestReadersSeeNoSignaturesOfLogStores(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.want(http.StatusOK, "PUT", siteAt+"/config/logs", `{"properties":{"httpLogs":{"azureBlobStorage":{"enabled":true,"sasUrl":"https://x?sig=secret"}}}}`)
	if w := f.want(http.StatusOK, "GET", siteAt+"/config/logs", ""); !strings.Contains(w.Body.String(), "sig=secret") {
		t.Errorf("who may list secrets does not see them: %s", w.Body)
	}
	f.deny = "Microsoft.Web/sites/config/list/action"
	if w := f.want(http.StatusOK, "GET", siteAt+"/config/logs", ""); strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), "azureBlobStorage") {
		t.Errorf("a reader sees %s", w.Body)
	}
}
