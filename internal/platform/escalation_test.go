package platform_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// Roles that callers of these tests have.
const (
	contributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	readerRole      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	websiteRole     = "de139f84-1756-47ae-9be6-808fbbe84772"
)

// refused expects that a client may not make a call.
func refused(t *testing.T, c *armclient.Client, method, path string, body any) {
	t.Helper()
	if err := c.Do(t.Context(), method, path, body, nil); !errors.Is(err, problem.Denied) {
		t.Errorf("%s %s: %v", method, path, err)
	}
}

func allowed(t *testing.T, c *armclient.Client, method, path string, body any) {
	t.Helper()
	if err := c.Do(t.Context(), method, path, body, nil); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
}

// A contributor of everything manages everything but who has access, and so
// neither principals nor what the installation's keys lie in.
func TestAContributorDoesNotBecomeTheOwner(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	own, cred := principal(t, p, contributorRole, "")
	c := as(t, p, cred)
	allowed(t, c, http.MethodPost, p.Site("orders")+"/host/default/listKeys", nil)
	const principals = "/providers/Latchkey.Directory/principals"
	for _, call := range [][2]string{
		{"POST", principals}, {"PUT", principals + "/" + own}, {"DELETE", principals + "/" + own},
		{"POST", principals + "/" + p.Cred.ClientID + "/addSecret"}, {"POST", principals + "/" + own + "/addSecret"},
		{"POST", principals + "/" + p.Cred.ClientID + "/addCertificate"}, {"POST", principals + "/" + p.Cred.ClientID + "/disable"},
		{"PUT", principals + "/" + p.Cred.ClientID + "/federatedCredentials/mine"},
		{"POST", "/providers/Latchkey.Platform/backup"}, {"POST", "/providers/Latchkey.Platform/seal/rotate"},
		{"POST", "/providers/Latchkey.Platform/seal/rewrap"}, {"POST", "/providers/Latchkey.Platform/tokens/rotate"},
		{"PUT", "/providers/Microsoft.Authorization/roleAssignments/0a000000-0000-4000-8000-000000000001"},
		{"PUT", p.Site("orders") + "/providers/Microsoft.Authorization/roleAssignments/0a000000-0000-4000-8000-000000000001"},
		{"PUT", p.Subscription() + "/providers/Microsoft.Authorization/roleDefinitions/0a000000-0000-4000-8000-000000000001"},
		// Other spellings of the same.
		{"POST", strings.ToUpper(principals) + "/" + p.Cred.ClientID + "/ADDSECRET"},
		{"POST", "/providers//latchkey.directory//principals/" + p.Cred.ClientID + "/addSecret/"},
		{"POST", "/providers/Latchkey%2EDirectory/principals/" + p.Cred.ClientID + "/add%53ecret"},
		{"PUT", "/providers/Microsoft.Authorization/roleassignments/0a000000-0000-4000-8000-000000000001"},
	} {
		refused(t, c, call[0], call[1], map[string]any{})
	}
}

// Whoever has a role on one app has it on that app only.
func TestARoleOnOneAppIsOfThatAppOnly(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	upstream := platformtest.Upstream(t, saying("hello"))
	p.CreateApp(t, "mine", upstream)
	p.CreateApp(t, "other", upstream)
	_, cred := principal(t, p, websiteRole, p.Site("mine"))
	c := as(t, p, cred)
	allowed(t, c, http.MethodPost, p.Site("mine")+"/host/default/listKeys", nil)
	allowed(t, c, http.MethodPost, p.Site("MINE")+"/config/appsettings/list", nil)
	other, group := p.Site("other"), p.Subscription()+"/resourceGroups/rg"
	for _, call := range [][2]string{
		{"GET", other}, {"POST", other + "/host/default/listKeys"}, {"POST", other + "/config/publishingcredentials/list"},
		{"GET", other + "/hostruntime/admin/host/keys"}, {"PUT", other + "/config/appsettings"}, {"GET", other + "/functions/admin/token"},
		{"DELETE", group}, {"GET", group + "/providers/Microsoft.Web/sites"}, {"GET", p.Subscription() + "/providers/Microsoft.Web/sites"},
		{"GET", "/providers/Latchkey.Directory/principals"}, {"GET", "/providers/Latchkey.Audit/events"},
		{"PUT", p.Site("mine") + "/providers/Microsoft.Authorization/roleAssignments/0a000000-0000-4000-8000-000000000001"},
	} {
		refused(t, c, call[0], call[1], map[string]any{})
	}
	for _, path := range []string{"%2e%2e/other", "mine%2f..%2fother", "mine/../other"} {
		if err := c.Do(t.Context(), http.MethodPost, p.Site(path)+"/host/default/listKeys", nil, nil); err == nil {
			t.Errorf("%s opens another app", path)
		}
	}
	scm := strings.Replace(p.Node.ManagementURL(), "://", "://other.scm.", 1)
	if err := c.Stream(t.Context(), http.MethodGet, scm+"/api/deployments", "", nil, &strings.Builder{}); !errors.Is(err, problem.Denied) {
		t.Errorf("the other app's deployments: %v", err)
	}
	var seen struct {
		Value []struct{ Name string }
		Data  []struct{ Name string }
	}
	p.Do(t, http.MethodGet, p.Subscription()+"/resources", nil, &seen)
	all := len(seen.Value)
	if err := c.Do(t.Context(), http.MethodGet, p.Subscription()+"/resources", nil, &seen); err != nil || len(seen.Value) != 1 || all < 3 {
		t.Errorf("sees %+v of %d: %v", seen.Value, all, err)
	}
	err := c.Do(t.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", map[string]any{"query": "Resources | where name != 'x'"}, &seen)
	if err != nil || len(seen.Data) != 1 || seen.Data[0].Name != "mine" {
		t.Errorf("finds %+v: %v", seen.Data, err)
	}
}

// Which groups there are is seen by those who may read one, as roles call it.
func TestGroupsAreSeenByThoseWhoMayReadThem(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	group := p.Subscription() + "/resourceGroups/"
	p.Do(t, http.MethodPut, group+"rg", map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, group+"secret", map[string]any{"location": "local"}, nil)
	_, cred := principal(t, p, websiteRole, group+"rg")
	c := as(t, p, cred)
	var seen struct{ Value []struct{ Name string } }
	if err := c.Do(t.Context(), http.MethodGet, strings.TrimSuffix(group, "/"), nil, &seen); err != nil || len(seen.Value) != 1 || seen.Value[0].Name != "rg" {
		t.Errorf("sees %+v: %v", seen.Value, err)
	}
	allowed(t, c, http.MethodGet, group+"rg/resources", nil)
	for _, name := range []string{"secret", "that-does-not-exist"} {
		if err := c.Do(t.Context(), http.MethodGet, group+name+"/resources", nil, &seen); err != nil || len(seen.Value) != 0 {
			t.Errorf("%s: %+v %v", name, seen.Value, err)
		}
	}
	if err := p.Client.Do(t.Context(), http.MethodGet, group+"that-does-not-exist/resources", nil, nil); !errors.Is(err, problem.NotFound) {
		t.Errorf("who may read it is told: %v", err)
	}
}

// An app that was deleted leaves no rights to one that is made in its place.
func TestRolesOnAnAppEndWithTheApp(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	upstream := platformtest.Upstream(t, saying("hello"))
	p.CreateApp(t, "orders", upstream)
	_, cred := principal(t, p, websiteRole, p.Site("orders"))
	c := as(t, p, cred)
	allowed(t, c, http.MethodGet, p.Site("orders"), nil)
	master, _ := p.HostKeys(t, "orders")
	p.Do(t, http.MethodDelete, p.Site("orders"), nil, nil)
	p.CreateApp(t, "orders", upstream)
	refused(t, c, http.MethodGet, p.Site("orders"), nil)
	if again, _ := p.HostKeys(t, "orders"); again == master {
		t.Error("the new app has the keys of the old one")
	}
}

// A reader sees no secret, wherever it is.
func TestAReaderSeesNoSecret(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	_, cred := principal(t, p, readerRole, "")
	c := as(t, p, cred)
	site := p.Site("orders")
	allowed(t, c, http.MethodGet, site+"/config/web", nil)
	for _, call := range [][2]string{
		{"POST", site + "/config/appsettings/list"}, {"POST", site + "/config/connectionstrings/list"}, {"POST", site + "/config/azurestorageaccounts/list"},
		{"GET", site + "/config/authsettingsV2/list"}, {"POST", site + "/host/default/listkeys"}, {"GET", site + "/functions/f/keys"},
		{"GET", site + "/functions/admin/token"}, {"POST", site + "/functions/f/listsecrets"}, {"POST", site + "/publishxml"},
		{"POST", site + "/listsyncfunctiontriggerstatus"}, {"GET", site + "/hostruntime/admin/host/systemkeys/_master"},
		{"POST", "/providers/Latchkey.Platform/backup"}, {"POST", "/providers/Latchkey.Directory/principals/" + p.Cred.ClientID + "/addSecret"},
	} {
		refused(t, c, call[0], call[1], map[string]any{})
	}
}
