package witness

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// sitesAPI serves Microsoft.Web with one resource group, rg, and gives the Go
// client library's factory for it.
func sitesAPI(t *testing.T) *armappservice.ClientFactory {
	t.Helper()
	inv := &inventory.Inventory{Store: memory.New(clock.Real{}), Clock: clock.Real{}}
	_, _, err := inv.Write(t.Context(), resource.Group(groupsSubscription, "rg"), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		return r, nil
	})
	must(t, err)
	provider := sites.New(sites.Config{Apps: app.New(app.Config{Inventory: inv, Clock: clock.Real{}}), SubscriptionID: groupsSubscription, Authorize: anything{}})
	api, err := arm.New(arm.Config{
		Authenticate: func(context.Context, *http.Request) (arm.Caller, error) { return arm.Caller{ObjectID: "me"}, nil },
		Authorize:    anything{}, SubscriptionID: groupsSubscription, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, provider.Operations()...)
	must(t, err)
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	factory, err := armappservice.NewClientFactory(groupsSubscription, anything{}, &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: server.URL, Audience: server.URL},
		}},
	}})
	must(t, err)
	return factory
}

// makeApp creates a plan and an app.
func makeApp(t *testing.T, f *armappservice.ClientFactory, name string) *armappservice.Site {
	t.Helper()
	planPoller, err := f.NewPlansClient().BeginCreateOrUpdate(t.Context(), "rg", "plan", armappservice.Plan{
		Location: to.Ptr("local"), SKU: &armappservice.SKUDescription{Name: to.Ptr("Y1")},
		Properties: &armappservice.PlanProperties{Reserved: to.Ptr(true)},
	}, nil)
	must(t, err)
	plan, err := planPoller.PollUntilDone(t.Context(), nil)
	must(t, err)
	if *plan.SKU.Tier != "Dynamic" || *plan.Properties.Status != armappservice.StatusOptionsReady || !*plan.Properties.Reserved {
		t.Errorf("plan: %+v", plan.Plan)
	}
	poller, err := f.NewWebAppsClient().BeginCreateOrUpdate(t.Context(), "rg", name, armappservice.Site{
		Location: to.Ptr("local"), Kind: to.Ptr("functionapp,linux"), Tags: map[string]*string{"a": to.Ptr("b")},
		Properties: &armappservice.SiteProperties{
			ServerFarmID: plan.ID, HTTPSOnly: to.Ptr(true),
			SiteConfig: &armappservice.SiteConfig{
				LinuxFxVersion: to.Ptr("NODE|20"),
				AppSettings:    []*armappservice.NameValuePair{{Name: to.Ptr("A"), Value: to.Ptr("1")}},
			},
		},
	}, nil)
	must(t, err)
	site, err := poller.PollUntilDone(t.Context(), nil)
	must(t, err)
	return &site.Site
}

func TestGoClientCreatesAndDeletesAnApp(t *testing.T) {
	f := sitesAPI(t)
	ctx, web := t.Context(), f.NewWebAppsClient()
	free, err := f.NewWebSiteManagementClient().CheckNameAvailability(ctx, armappservice.ResourceNameAvailabilityRequest{
		Name: to.Ptr("orders"), Type: to.Ptr(armappservice.CheckNameResourceTypesMicrosoftWebSites)}, nil)
	must(t, err)
	if !*free.NameAvailable || free.Message == nil {
		t.Errorf("name check: %+v", free)
	}
	site := makeApp(t, f, "orders")
	p := site.Properties
	if *p.State != "Running" || *p.DefaultHostName != "orders.localhost:7071" || !*p.HTTPSOnly || p.SiteConfig == nil || p.LastModifiedTimeUTC == nil ||
		*p.HostNameSSLStates[1].HostType != armappservice.HostTypeRepository || *p.HostNameSSLStates[1].Name != "orders.scm.localhost:7443" {
		t.Errorf("site: %+v", p)
	}
	patched, err := web.Update(ctx, "rg", "orders", armappservice.SitePatchResource{Properties: &armappservice.SitePatchResourceProperties{ClientCertEnabled: to.Ptr(true)}}, nil)
	must(t, err)
	if !*patched.Properties.ClientCertEnabled || !*patched.Properties.HTTPSOnly {
		t.Errorf("patched: %+v", patched.Properties)
	}
	names := 0
	for pager := web.NewListByResourceGroupPager("rg", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		must(t, err)
		names += len(page.Value)
	}
	if names != 1 {
		t.Errorf("%d apps are listed", names)
	}
	_, err = f.NewPlansClient().Delete(ctx, "rg", "plan", nil)
	wantError(t, err, http.StatusConflict, "Conflict")
	_, err = web.Delete(ctx, "rg", "orders", &armappservice.WebAppsClientDeleteOptions{DeleteEmptyServerFarm: to.Ptr(false)})
	must(t, err)
	_, err = web.Get(ctx, "rg", "orders", nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
	_, err = f.NewPlansClient().Delete(ctx, "rg", "plan", nil)
	must(t, err)
}

func wantError(t *testing.T, err error, status int, code string) {
	t.Helper()
	var failed *azcore.ResponseError
	if !errors.As(err, &failed) || failed.StatusCode != status || failed.ErrorCode != code {
		t.Errorf("%v, not %d %s", err, status, code)
	}
}

func TestGoClientConfiguresAnApp(t *testing.T) {
	f := sitesAPI(t)
	makeApp(t, f, "orders")
	ctx, web := t.Context(), f.NewWebAppsClient()
	settings, err := web.ListApplicationSettings(ctx, "rg", "orders", nil)
	must(t, err)
	if *settings.Properties["A"] != "1" {
		t.Errorf("settings: %v", settings.Properties)
	}
	settings.Properties["REF"] = to.Ptr("@Microsoft.KeyVault(VaultName=kv;SecretName=s)")
	_, err = web.UpdateApplicationSettings(ctx, "rg", "orders", settings.StringDictionary, nil)
	must(t, err)
	found := 0
	for pager := web.NewGetAppSettingsKeyVaultReferencesPager("rg", "orders", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		must(t, err)
		for _, r := range page.Value {
			found++
			if *r.Name != "REF" || *r.Properties.Status != armappservice.ResolveStatusInitialized || *r.Properties.IdentityType.Type != armappservice.ManagedServiceIdentityTypeSystemAssigned {
				t.Errorf("reference: %+v", r.Properties)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d references are listed", found)
	}
	connections, err := web.UpdateConnectionStrings(ctx, "rg", "orders", armappservice.ConnectionStringDictionary{
		Properties: map[string]*armappservice.ConnStringValueTypePair{"Db": {Type: to.Ptr(armappservice.ConnectionStringTypeSQLAzure), Value: to.Ptr("Server=x")}}}, nil)
	must(t, err)
	if *connections.Properties["Db"].Value != "Server=x" {
		t.Errorf("connection strings: %v", connections.Properties)
	}
	config, err := web.UpdateConfiguration(ctx, "rg", "orders", armappservice.SiteConfigResource{Properties: &armappservice.SiteConfig{AlwaysOn: to.Ptr(true)}}, nil)
	must(t, err)
	if !*config.Properties.AlwaysOn || *config.Properties.LinuxFxVersion != "NODE|20" || config.Properties.AppSettings != nil {
		t.Errorf("configuration: %+v", config.Properties)
	}
	sticky, err := web.UpdateSlotConfigurationNames(ctx, "rg", "orders", armappservice.SlotConfigNamesResource{
		Properties: &armappservice.SlotConfigNames{AppSettingNames: []*string{to.Ptr("A")}}}, nil)
	must(t, err)
	if len(sticky.Properties.AppSettingNames) != 1 || sticky.Properties.ConnectionStringNames == nil {
		t.Errorf("sticky names: %+v", sticky.Properties)
	}
}

func TestGoClientReadsAStoppedApp(t *testing.T) {
	f := sitesAPI(t)
	makeApp(t, f, "orders")
	ctx, web := t.Context(), f.NewWebAppsClient()
	_, err := web.Stop(ctx, "rg", "orders", nil)
	must(t, err)
	site, err := web.Get(ctx, "rg", "orders", nil)
	must(t, err)
	if *site.Properties.State != "Stopped" || !*site.Properties.Enabled {
		t.Errorf("stopped: %+v", site.Properties)
	}
	_, err = web.GetConfiguration(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.GetDiagnosticLogsConfiguration(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.GetAuthSettings(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.GetAuthSettingsV2(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.ListAzureStorageAccounts(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.ListMetadata(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.ListSlotConfigurationNames(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.GetBackupConfiguration(ctx, "rg", "orders", nil)
	wantError(t, err, http.StatusNotFound, "NotFound")
	for pager := web.NewListHostNameBindingsPager("rg", "orders", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		must(t, err)
		if len(page.Value) != 1 {
			t.Errorf("%d host names", len(page.Value))
		}
	}
	_, err = web.SyncFunctionTriggers(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.ListSyncFunctionTriggers(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.Restart(ctx, "rg", "orders", nil)
	must(t, err)
	_, err = web.Start(ctx, "rg", "orders", nil)
	must(t, err)
	if site, err = web.Get(ctx, "rg", "orders", nil); err != nil || *site.Properties.State != "Running" {
		t.Errorf("started: %v, %v", site.Properties.State, err)
	}
}

func TestGoClientReadsPublishingCredentials(t *testing.T) {
	f := sitesAPI(t)
	makeApp(t, f, "orders")
	ctx, web := t.Context(), f.NewWebAppsClient()
	poller, err := web.BeginListPublishingCredentials(ctx, "rg", "orders", nil)
	must(t, err)
	user, err := poller.PollUntilDone(ctx, nil)
	must(t, err)
	if *user.Properties.PublishingUserName != "$orders" || len(*user.Properties.PublishingPassword) != 60 {
		t.Errorf("user %s", *user.Properties.PublishingUserName)
	}
	profile, err := web.ListPublishingProfileXMLWithSecrets(ctx, "rg", "orders", armappservice.CsmPublishingProfileOptions{}, nil)
	must(t, err)
	text, err := io.ReadAll(profile.Body)
	must(t, err)
	if !strings.Contains(string(text), `publishMethod="ZipDeploy"`) || !strings.Contains(string(text), *user.Properties.PublishingPassword) {
		t.Error("the publish profile has no zip deployment with the password")
	}
	_, err = web.GenerateNewSitePublishingPassword(ctx, "rg", "orders", nil)
	must(t, err)
	policy, err := web.UpdateScmAllowed(ctx, "rg", "orders", armappservice.CsmPublishingCredentialsPoliciesEntity{
		Properties: &armappservice.CsmPublishingCredentialsPoliciesEntityProperties{Allow: to.Ptr(false)}}, nil)
	must(t, err)
	ftp, err := web.GetFtpAllowed(ctx, "rg", "orders", nil)
	must(t, err)
	if *policy.Properties.Allow || !*ftp.Properties.Allow {
		t.Errorf("policies: scm %v, ftp %v", *policy.Properties.Allow, *ftp.Properties.Allow)
	}
}

func TestGoClientReadsStacksAndRegions(t *testing.T) {
	f := sitesAPI(t)
	stacks := 0
	for pager := f.NewProviderClient().NewGetFunctionAppStacksPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		must(t, err)
		for _, s := range page.Value {
			stacks++
			if len(s.Properties.MajorVersions) == 0 || s.Properties.MajorVersions[0].MinorVersions[0].StackSettings.LinuxRuntimeSettings == nil {
				t.Errorf("stack: %+v", s.Properties)
			}
		}
	}
	regions := 0
	for pager := f.NewWebSiteManagementClient().NewListGeoRegionsPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		must(t, err)
		regions += len(page.Value)
	}
	if stacks == 0 || regions != 1 {
		t.Errorf("%d stacks, %d regions", stacks, regions)
	}
}
