package witness

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const groupsSubscription = "11111111-2222-3333-4444-555555555555"

// anything lets everybody do everything, and is a token for it.
type anything struct{}

func (anything) Allow(context.Context, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: true}, nil
}

func (anything) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "anything", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// groupsAPI serves the base of the management API, and gives the options with
// which the Go client library finds it.
func groupsAPI(t *testing.T) (*inventory.Inventory, *azarm.ClientOptions) {
	t.Helper()
	inv := &inventory.Inventory{Store: memory.New(clock.Real{}), Clock: clock.Real{}}
	s, err := resources.New(resources.Config{
		Inventory: inv, Authorize: anything{}, TenantID: "tenant", SubscriptionID: groupsSubscription,
		Providers: []arm.Provider{{Namespace: "Microsoft.Web", Types: []arm.ProviderType{{Name: "sites", APIVersions: []string{"2023-12-01"}}}}},
		Permissions: func(context.Context, arm.Caller, resource.ID) ([]authz.Permission, error) {
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	api, err := arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			if r.Header.Get("Authorization") != "Bearer anything" {
				return arm.Caller{}, arm.InvalidToken("not the token that the credential gave")
			}
			return arm.Caller{ObjectID: "me"}, nil
		},
		Authorize: anything{}, Admit: s.Admit, SubscriptionID: groupsSubscription,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, s.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	return inv, &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: server.URL, Audience: server.URL},
		}},
	}}
}

func TestGoClientWorksWithResourceGroups(t *testing.T) {
	_, options := groupsAPI(t)
	client, err := armresources.NewResourceGroupsClient(groupsSubscription, anything{}, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	exists, err := client.CheckExistence(ctx, "rg", nil)
	if err != nil || exists.Success {
		t.Fatalf("before: %v %v", exists.Success, err)
	}
	made, err := client.CreateOrUpdate(ctx, "RG", armresources.ResourceGroup{Location: to.Ptr("West Europe"), Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if err != nil || *made.ID != "/subscriptions/"+groupsSubscription+"/resourceGroups/RG" || *made.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v %v", made, err)
	}
	if exists, err = client.CheckExistence(ctx, "rg", nil); err != nil || !exists.Success {
		t.Fatalf("after: %v %v", exists.Success, err)
	}
	changed, err := client.Update(ctx, "rg", armresources.ResourceGroupPatchable{Tags: map[string]*string{"c": to.Ptr("d")}}, nil)
	if err != nil || len(changed.Tags) != 1 || *changed.Tags["c"] != "d" {
		t.Fatalf("%+v %v", changed, err)
	}
	if _, err := client.CreateOrUpdate(ctx, "second", armresources.ResourceGroup{Location: to.Ptr("local")}, nil); err != nil {
		t.Fatal(err)
	}
	var names []string
	for pager := client.NewListPager(&armresources.ResourceGroupsClientListOptions{Top: to.Ptr(int32(1))}); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Value {
			names = append(names, *g.Name)
		}
	}
	if len(names) != 2 || names[0] != "RG" || names[1] != "second" {
		t.Fatalf("%v", names)
	}
	poller, err := client.BeginDelete(ctx, "rg", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poller.PollUntilDone(ctx, nil); err != nil {
		t.Fatal(err)
	}
	_, err = client.Get(ctx, "rg", nil)
	var failed *azcore.ResponseError
	if !errors.As(err, &failed) || failed.StatusCode != 404 || failed.ErrorCode != "ResourceGroupNotFound" {
		t.Fatalf("%v", err)
	}
}

func TestGoClientListsResourcesAndProviders(t *testing.T) {
	inv, options := groupsAPI(t)
	factory, err := armresources.NewClientFactory(groupsSubscription, anything{}, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := factory.NewResourceGroupsClient().CreateOrUpdate(ctx, "rg", armresources.ResourceGroup{Location: to.Ptr("local")}, nil); err != nil {
		t.Fatal(err)
	}
	id := resource.Group(groupsSubscription, "rg").Child("Microsoft.Web", "sites", "shop")
	_, _, err = inv.Write(ctx, id, "me", func(inventory.Resource, bool) (inventory.Resource, error) {
		return inventory.Resource{Location: "local", Kind: "functionapp"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pager := factory.NewClient().NewListByResourceGroupPager("rg", &armresources.ClientListByResourceGroupOptions{
		Filter: to.Ptr("resourceType eq 'Microsoft.Web/sites'"), Expand: to.Ptr("provisioningState"),
	})
	page, err := pager.NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].ID != id.String() || *page.Value[0].ProvisioningState != "Succeeded" || pager.More() {
		t.Fatalf("%+v %v", page, err)
	}
	group, err := factory.NewClient().GetByID(ctx, "/subscriptions/"+groupsSubscription+"/resourceGroups/rg", "2021-04-01", nil)
	if err != nil || *group.Name != "rg" {
		t.Fatalf("%+v %v", group, err)
	}
	provider, err := factory.NewProvidersClient().Register(ctx, "Microsoft.Web", nil)
	if err != nil || *provider.RegistrationState != "Registered" || len(provider.ResourceTypes) != 1 {
		t.Fatalf("%+v %v", provider, err)
	}
	_, err = factory.NewClient().GetByID(ctx, id.String(), "2023-12-01", nil)
	var failed *azcore.ResponseError
	if !errors.As(err, &failed) || failed.StatusCode != 404 || failed.ErrorCode == "" {
		t.Fatalf("a type that nobody serves: %v", err)
	}
}
