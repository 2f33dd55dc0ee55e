package sites_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/resource"
)

// later is an identity service that is there once the fixture is.
type later struct{ *managed.Identities }

// withIdentities gives a fixture whose apps have real identities.
func withIdentities(t *testing.T) (*fixture, *managed.Identities) {
	t.Helper()
	ids := &later{}
	f := newFixture(t, func(c *sites.Config) { c.Identities = ids })
	var err error
	ids.Identities, err = managed.New(managed.Config{Inventory: f.inv, Directory: identity.New(f.inv.Store, f.clock), TenantID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	f.create()
	return f, ids.Identities
}

func makeIdentity(t *testing.T, ids *managed.Identities, at string) managed.Identity {
	t.Helper()
	id, err := resource.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := ids.Write(t.Context(), id, "me", func(i managed.Identity, _ bool) (managed.Identity, error) {
		i.Location = "local"
		return i, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestSystemIdentityComesAndGoesWithItsType(t *testing.T) {
	f, ids := withIdentities(t)
	site := f.object("PATCH", siteAt, `{"identity":{"type":"SystemAssigned"}}`)
	first, _ := at(site, "identity", "principalId").(string)
	if first == "" || at(site, "identity", "tenantId") != "t" {
		t.Fatalf("%v", at(site, "identity"))
	}
	if p, err := ids.Principal(t.Context(), first); err != nil || !strings.EqualFold(p.ResourceID, siteAt) {
		t.Errorf("its principal: %+v, %v", p, err)
	}
	if site := f.object("PATCH", siteAt, `{"identity":{"type":"None"}}`); at(site, "identity") != nil {
		t.Errorf("after None: %v", at(site, "identity"))
	}
	site = f.object("PUT", siteAt, `{"location":"local","identity":{"type":"SystemAssigned"}}`)
	if next := at(site, "identity", "principalId"); next == first || next == nil {
		t.Errorf("enabled again it has %v after %v", next, first)
	}
}

func TestIdentityThatDoesNotExistIsNotAssigned(t *testing.T) {
	f, _ := withIdentities(t)
	block := `"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}`
	for _, method := range []string{"PUT", "PATCH"} {
		if w := f.want(http.StatusBadRequest, method, siteAt, `{"location":"local",`+block+`}`); !strings.Contains(w.Body.String(), identityAt) {
			t.Errorf("%s", w.Body)
		}
	}
	f.want(http.StatusBadRequest, "PUT", webAt+"/sites/another", `{"location":"local",`+block+`}`)
	f.want(http.StatusNotFound, "GET", webAt+"/sites/another", "")
	f.want(http.StatusOK, "PATCH", siteAt, `{"tags":{"a":"b"}}`)
}

func TestDeletedIdentityIsShownWithoutPrincipalAndBreaksNoWrite(t *testing.T) {
	f, ids := withIdentities(t)
	made := makeIdentity(t, ids, identityAt)
	block := `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}}`
	site := f.object("PATCH", siteAt, block)
	if at(site, "identity", "userAssignedIdentities", identityAt, "principalId") != made.ObjectID ||
		at(site, "identity", "userAssignedIdentities", identityAt, "clientId") != made.AppID {
		t.Errorf("assigned: %v", at(site, "identity"))
	}
	if err := ids.Delete(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	for _, site := range []any{
		f.object("GET", siteAt, ""), f.object("PATCH", siteAt, `{"tags":{"a":"b"}}`), f.object("PUT", siteAt, siteBody[:len(siteBody)-1]+`,`+block[1:]),
	} {
		entry, there := at(site, "identity", "userAssignedIdentities", identityAt).(map[string]any)
		if principal, said := entry["principalId"]; !there || !said || principal != nil {
			t.Errorf("deleted: %v", at(site, "identity"))
		}
	}
	again := makeIdentity(t, ids, identityAt)
	if at(f.object("GET", siteAt, ""), "identity", "userAssignedIdentities", identityAt, "principalId") != nil {
		t.Error("the app has an identity that nobody assigned to it")
	}
	f.deny = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
	f.want(http.StatusForbidden, "PATCH", siteAt, block)
	f.deny = ""
	if site := f.object("PATCH", siteAt, block); at(site, "identity", "userAssignedIdentities", identityAt, "principalId") != again.ObjectID {
		t.Errorf("assigned anew: %v", at(site, "identity"))
	}
}
