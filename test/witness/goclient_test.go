package witness

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// goClient is the Go libraries with one principal's credential.
type goClient struct {
	*caller
	groups *armresources.ResourceGroupsClient
	plans  *armappservice.PlansClient
	web    *armappservice.WebAppsClient
	roles  *armauthorization.ClientFactory
}

func newGoClient(t *testing.T, c *caller) goClient {
	t.Helper()
	resources, err := armresources.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	web, err := armappservice.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	roles, err := armauthorization.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	return goClient{c, resources.NewResourceGroupsClient(), web.NewPlansClient(), web.NewWebAppsClient(), roles}
}

// create makes a group, a plan and an app.
func (c goClient) create(t *testing.T, group, name, upstream string) {
	t.Helper()
	ctx := t.Context()
	_, err := c.groups.CreateOrUpdate(ctx, group, armresources.ResourceGroup{Location: to.Ptr("local")}, nil)
	must(t, err)
	planning, err := c.plans.BeginCreateOrUpdate(ctx, group, "plan", armappservice.Plan{
		Location: to.Ptr("local"), SKU: &armappservice.SKUDescription{Name: to.Ptr("Y1")}, Properties: &armappservice.PlanProperties{Reserved: to.Ptr(true)},
	}, nil)
	must(t, err)
	plan, err := planning.PollUntilDone(ctx, nil)
	must(t, err)
	making, err := c.web.BeginCreateOrUpdate(ctx, group, name, armappservice.Site{
		Location: to.Ptr("local"), Kind: to.Ptr("functionapp,linux"),
		Properties: &armappservice.SiteProperties{ServerFarmID: plan.ID, SiteConfig: &armappservice.SiteConfig{AppSettings: []*armappservice.NameValuePair{
			{Name: to.Ptr(testkit.UpstreamSetting), Value: &upstream}, {Name: to.Ptr("FUNCTIONS_WORKER_RUNTIME"), Value: to.Ptr("custom")},
		}}},
	}, nil)
	must(t, err)
	site, err := making.PollUntilDone(ctx, nil)
	must(t, err)
	if *site.Properties.State != "Running" || !strings.HasPrefix(*site.Properties.DefaultHostName, name+".localhost:") {
		t.Errorf("site: %+v", site.Properties)
	}
}

// hello is an upstream that says so.
func hello(t *testing.T) string {
	return platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
}

func TestGoClientDrivesTheProgram(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := newGoClient(t, p.owner(t))
	t.Run("an app from its creation to its end", func(t *testing.T) { c.lifeOfAnApp(t) })
	t.Run("roles", func(t *testing.T) { c.roleDecides(t) })
}

func (c goClient) lifeOfAnApp(t *testing.T) {
	ctx := t.Context()
	c.create(t, "rg", "orders", hello(t))
	c.configure(t)
	c.deploy(t, "orders", nil)
	keys, err := c.web.ListHostKeys(ctx, "rg", "orders", nil)
	must(t, err)
	old := *keys.FunctionKeys["default"]
	c.p.calls(t, "orders", old, http.StatusOK)

	fresh := "rotated-by-the-go-client-0123456789-abcdef"
	set, err := c.web.CreateOrUpdateHostSecret(ctx, "rg", "orders", "functionKeys", "default", armappservice.KeyInfo{Name: to.Ptr("default"), Value: &fresh}, nil)
	must(t, err)
	if set.Value == nil || *set.Value != fresh {
		t.Errorf("the key that was set: %+v", set.KeyInfo)
	}
	c.p.calls(t, "orders", old, http.StatusUnauthorized)
	c.p.calls(t, "orders", fresh, http.StatusOK)

	_, err = c.web.Stop(ctx, "rg", "orders", nil)
	must(t, err)
	c.p.calls(t, "orders", fresh, http.StatusForbidden)
	c.readsEverything(t)
	_, err = c.web.CreateOrUpdateHostSecret(ctx, "rg", "orders", "functionKeys", "default", armappservice.KeyInfo{Name: to.Ptr("default"), Value: &old}, nil)
	must(t, err)
	_, err = c.web.Start(ctx, "rg", "orders", nil)
	must(t, err)
	c.p.calls(t, "orders", old, http.StatusOK)

	_, err = c.web.Delete(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = c.web.Get(ctx, "rg", "orders", nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
	_, err = c.plans.Get(ctx, "rg", "plan", nil) // the last app takes its plan along
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
	c.p.calls(t, "orders", old, http.StatusNotFound)
	deleting, err := c.groups.BeginDelete(ctx, "rg", nil)
	must(t, err)
	_, err = deleting.PollUntilDone(ctx, nil)
	must(t, err)
	_, err = c.groups.Get(ctx, "rg", nil)
	wantError(t, err, http.StatusNotFound, "ResourceGroupNotFound")
}

// configure writes settings as a whole and reads them.
func (c goClient) configure(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	settings, err := c.web.ListApplicationSettings(ctx, "rg", "orders", nil)
	must(t, err)
	settings.Properties["GREETING"] = to.Ptr("hello")
	settings.Properties["REF"] = to.Ptr("@Microsoft.KeyVault(VaultName=kv;SecretName=s)")
	_, err = c.web.UpdateApplicationSettings(ctx, "rg", "orders", settings.StringDictionary, nil)
	must(t, err)
	_, err = c.web.UpdateConnectionStrings(ctx, "rg", "orders", armappservice.ConnectionStringDictionary{Properties: map[string]*armappservice.ConnStringValueTypePair{
		"REF": {Type: to.Ptr(armappservice.ConnectionStringTypeCustom), Value: to.Ptr("@Microsoft.KeyVault(VaultName=kv;SecretName=s)")},
	}}, nil)
	must(t, err)
	read, err := c.web.ListApplicationSettings(ctx, "rg", "orders", nil)
	must(t, err)
	if len(read.Properties) != 4 || *read.Properties["GREETING"] != "hello" {
		t.Errorf("settings: %v", read.Properties)
	}
}

// served are the reads of the library's client for apps that answer, with the
// arguments that they have after group and app. All its other reads are of things
// that Latchkey does not have.
var served = map[string][]string{
	"GetFunctionsAdminToken":         nil,
	"BeginListPublishingCredentials": nil, "Get": nil, "GetAuthSettings": nil, "GetAuthSettingsV2": nil, "GetConfiguration": nil,
	"GetDiagnosticLogsConfiguration": nil, "GetFtpAllowed": nil, "GetScmAllowed": nil, "ListApplicationSettings": nil, "ListAzureStorageAccounts": nil,
	"ListConnectionStrings": nil, "ListHostKeys": nil, "ListHybridConnections": nil, "ListMetadata": nil, "ListPremierAddOns": nil,
	"ListPublishingProfileXMLWithSecrets": nil, "ListSitePushSettings": nil, "ListSlotConfigurationNames": nil, "ListSyncFunctionTriggers": nil,
	"ListSyncStatus": nil, "ListVnetConnections": nil, "NewGetAppSettingsKeyVaultReferencesPager": nil, "NewGetPrivateEndpointConnectionListPager": nil,
	"NewGetSiteConnectionStringKeyVaultReferencesPager": nil, "NewListBackupsPager": nil, "NewListBasicPublishingCredentialsPoliciesPager": nil,
	"NewListByResourceGroupPager": nil, "NewListConfigurationsPager": nil, "NewListContinuousWebJobsPager": nil, "NewListDeploymentsPager": nil,
	"NewListDomainOwnershipIdentifiersPager": nil, "NewListFunctionsPager": nil, "NewListHostNameBindingsPager": nil,
	"NewListInstanceIdentifiersPager": nil, "NewListPager": nil, "NewListProcessesPager": nil, "NewListProductionSiteDeploymentStatusesPager": nil,
	"NewListPublicCertificatesPager": nil, "NewListSiteExtensionsPager": nil, "NewListSnapshotsPager": nil, "NewListTriggeredWebJobsPager": nil,
	"NewListUsagesPager": nil, "NewListWebJobsPager": nil,

	"BeginGetProductionSiteDeploymentStatus":   {"latest"},
	"GetAppSettingKeyVaultReference":           {"REF"},
	"GetDeployment":                            {"latest"},
	"GetFunction":                              {"f"},
	"GetSiteConnectionStringKeyVaultReference": {"REF"},
	"ListFunctionKeys":                         {"f"},
	"ListFunctionSecrets":                      {"f"},
}

// absent are the codes that say that something is not served, or not there.
var absent = map[string]bool{"InvalidResourceType": true, "MethodNotAllowed": true, "NotSupported": true, "NotFound": true, "ResourceNotFound": true}

// readsEverything calls every read that the library has: what is served must
// answer, for an app that is stopped, and what is not must say so.
func (c goClient) readsEverything(t *testing.T) {
	client := reflect.ValueOf(c.web)
	found := 0
	for i := range client.NumMethod() {
		name := client.Type().Method(i).Name
		if !isRead(name) {
			continue
		}
		more, is := served[name]
		if is {
			found++
		}
		err := invoke(t.Context(), client.Method(i), append([]string{"rg", "orders"}, more...))
		var failed *azcore.ResponseError
		switch {
		case is && err != nil:
			t.Errorf("%s of a stopped app: %v", name, err)
		case !is && err == nil:
			t.Errorf("%s answers: it belongs among those that are served", name)
		case !is && (!errors.As(err, &failed) || !absent[failed.ErrorCode] || failed.StatusCode >= 500):
			t.Errorf("%s, which is not served: %v", name, err)
		}
	}
	if found != len(served) {
		t.Errorf("of %d reads that are served the library has %d", len(served), found)
	}
}

// isRead reports whether a method reads something of an app; slots are not served.
func isRead(method string) bool {
	for _, prefix := range []string{"Get", "List", "NewGet", "NewList", "BeginList", "BeginGet"} {
		if strings.HasPrefix(method, prefix) {
			return !strings.Contains(method, "Slot") || strings.Contains(method, "SlotConfigurationNames")
		}
	}
	return false
}

// invoke calls a method of a client and sees it through: the first page of a list,
// the end of a long operation. Texts that are not given are "none".
func invoke(ctx context.Context, method reflect.Value, texts []string) error {
	args := []reflect.Value{}
	for i := range method.Type().NumIn() {
		in := method.Type().In(i)
		switch {
		case in == reflect.TypeFor[context.Context]():
			args = append(args, reflect.ValueOf(ctx))
		case in.Kind() == reflect.String:
			text := "none"
			if len(texts) > 0 {
				text, texts = texts[0], texts[1:]
			}
			args = append(args, reflect.ValueOf(text).Convert(in))
		default:
			args = append(args, reflect.Zero(in))
		}
	}
	out := method.Call(args)
	if err, failed := out[len(out)-1].Interface().(error); failed {
		return err
	}
	for next, arg := range map[string]any{"NextPage": ctx, "PollUntilDone": ctx} {
		if m := out[0].MethodByName(next); m.IsValid() {
			in := []reflect.Value{reflect.ValueOf(arg)}
			if m.Type().NumIn() == 2 {
				in = append(in, reflect.Zero(m.Type().In(1)))
			}
			err, _ := m.Call(in)[1].Interface().(error)
			return err
		}
	}
	return nil
}

const (
	reader             = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	websiteContributor = "de139f84-1756-47ae-9be6-808fbbe84772"
)

// assign gives a principal a role.
func (c goClient) assign(t *testing.T, scope, role, object string) {
	t.Helper()
	_, err := c.roles.NewRoleAssignmentsClient().Create(t.Context(), scope, uuid.NewString(), armauthorization.RoleAssignmentCreateParameters{
		Properties: &armauthorization.RoleAssignmentProperties{
			PrincipalID: &object, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
			RoleDefinitionID: to.Ptr(c.subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
		},
	}, nil)
	must(t, err)
}

func (c goClient) roleDecides(t *testing.T) {
	ctx := t.Context()
	c.create(t, "roles", "invoices", "http://127.0.0.1:1")
	other, object := c.principal(t, "reader")
	them := newGoClient(t, other)
	_, err := them.web.Get(ctx, "roles", "invoices", nil)
	wantError(t, err, http.StatusForbidden, "AuthorizationFailed")

	scope := c.site("roles", "invoices")
	c.assign(t, scope, reader, object)
	_, err = them.web.Get(ctx, "roles", "invoices", nil)
	must(t, err)
	for action, call := range map[string]func() error{
		"Microsoft.Web/sites/host/listkeys/action": func() error { _, err := them.web.ListHostKeys(ctx, "roles", "invoices", nil); return err },
		"Microsoft.Web/sites/config/list/action": func() error {
			_, err := them.web.ListApplicationSettings(ctx, "roles", "invoices", nil)
			return err
		},
		"Microsoft.Web/sites/stop/action": func() error { _, err := them.web.Stop(ctx, "roles", "invoices", nil); return err },
	} {
		err := call()
		wantError(t, err, http.StatusForbidden, "AuthorizationFailed")
		if text := err.Error(); !strings.Contains(text, "'"+action+"'") || !strings.Contains(text, "'"+scope+"'") {
			t.Errorf("the refusal does not name %s and the scope: %s", action, text)
		}
	}

	c.assign(t, scope, websiteContributor, object)
	keys, err := them.web.ListHostKeys(ctx, "roles", "invoices", nil)
	must(t, err)
	if keys.MasterKey == nil || len(*keys.MasterKey) < 20 {
		t.Error("no master key")
	}
	_, err = them.plans.Get(ctx, "roles", "plan", nil) // beside the app
	wantError(t, err, http.StatusForbidden, "AuthorizationFailed")
	c.definesARole(t)
}

// definesARole finds a role by its name and makes one.
func (c goClient) definesARole(t *testing.T) {
	t.Helper()
	definitions := c.roles.NewRoleDefinitionsClient()
	page, err := definitions.NewListPager(c.subscription(), &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'website contributor'")}).NextPage(t.Context())
	must(t, err)
	if len(page.Value) != 1 || *page.Value[0].Name != websiteContributor {
		t.Errorf("%d roles have the name", len(page.Value))
	}
	id := uuid.NewString()
	made, err := definitions.CreateOrUpdate(t.Context(), c.subscription(), id, armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
		RoleName: to.Ptr("Key reader"), RoleType: to.Ptr("CustomRole"), AssignableScopes: []*string{to.Ptr(c.subscription())},
		Permissions: []*armauthorization.Permission{{Actions: []*string{to.Ptr("Microsoft.Web/sites/host/listkeys/action")}}},
	}}, nil)
	must(t, err)
	if *made.Name != id || *made.Properties.RoleName != "Key reader" {
		t.Errorf("role: %+v", made.Properties)
	}
	_, err = definitions.Delete(t.Context(), c.subscription(), id, nil)
	must(t, err)
}
