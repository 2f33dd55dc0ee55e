package keyvault_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	sdkarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
)

// token signs in as the owner.
type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: owner, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// factory gives the Go library's clients for the API, over TLS as it wants.
func (f *fixture) factory() *armkeyvault.ClientFactory {
	f.Helper()
	server := httptest.NewTLSServer(f.api)
	f.Cleanup(server.Close)
	options := sdkarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: server.URL, Audience: server.URL},
		}},
	}, DisableRPRegistration: true}
	factory, err := armkeyvault.NewClientFactory(sub, token{}, &options)
	if err != nil {
		f.Fatal(err)
	}
	return factory
}

// The pollers of the library wait for nothing that does not come.
func TestTheGoLibraryManagesVaults(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	factory := f.factory()
	vaults := factory.NewVaultsClient()
	entry := armkeyvault.AccessPolicyEntry{TenantID: to.Ptr(tenant), ObjectID: to.Ptr(bob),
		Permissions: &armkeyvault.Permissions{Secrets: []*armkeyvault.SecretPermissions{to.Ptr(armkeyvault.SecretPermissionsGet)}}}
	making, err := vaults.BeginCreateOrUpdate(ctx, "rg", "kv-one", armkeyvault.VaultCreateOrUpdateParameters{
		Location: to.Ptr("local"), Tags: map[string]*string{"team": to.Ptr("shop")},
		Properties: &armkeyvault.VaultProperties{
			TenantID: to.Ptr(tenant), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
			AccessPolicies: []*armkeyvault.AccessPolicyEntry{&entry},
		},
	}, nil)
	f.must(err)
	made, err := making.PollUntilDone(ctx, nil)
	f.must(err)
	if *made.Properties.VaultURI != "https://kv-one.vault.localhost:7443/" || *made.Properties.ProvisioningState != armkeyvault.VaultProvisioningStateSucceeded ||
		len(made.Properties.AccessPolicies) != 1 || *made.Properties.EnableRbacAuthorization || made.Properties.EnablePurgeProtection != nil {
		t.Errorf("made: %s", f.want(200, "GET", vaultAt, "").Body)
	}
	got, err := vaults.Get(ctx, "rg", "KV-ONE", nil)
	f.must(err)
	if *got.Name != "kv-one" || !strings.EqualFold(*got.ID, vaultAt) || *got.SystemData.CreatedBy != owner {
		t.Errorf("got %v %v", *got.ID, got.SystemData)
	}
	_, err = vaults.Update(ctx, "rg", "kv-one", armkeyvault.VaultPatchParameters{Properties: &armkeyvault.VaultPatchProperties{EnabledForDeployment: to.Ptr(true)}}, nil)
	f.must(err)
	_, err = vaults.UpdateAccessPolicy(ctx, "rg", "kv-one", armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{&entry}}}, nil)
	f.must(err)
	names := 0
	for pager := vaults.NewListBySubscriptionPager(&armkeyvault.VaultsClientListBySubscriptionOptions{Top: to.Ptr[int32](1)}); pager.More(); {
		page, err := pager.NextPage(ctx)
		f.must(err)
		names += len(page.Value)
	}
	if names != 1 {
		t.Errorf("%d vaults listed", names)
	}
	free, err := vaults.CheckNameAvailability(ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: to.Ptr("kv-one"), Type: to.Ptr("Microsoft.KeyVault/vaults")}, nil)
	f.must(err)
	if *free.NameAvailable || *free.Reason != armkeyvault.ReasonAlreadyExists {
		t.Errorf("%+v", free)
	}
	secret, err := factory.NewSecretsClient().CreateOrUpdate(ctx, "rg", "kv-one", "db", armkeyvault.SecretCreateOrUpdateParameters{
		Properties: &armkeyvault.SecretProperties{Value: to.Ptr("hidden"), Attributes: &armkeyvault.SecretAttributes{Expires: to.Ptr(time.Unix(2000000000, 0))}}}, nil)
	f.must(err)
	if secret.Properties.Value != nil || !strings.HasPrefix(*secret.Properties.SecretURIWithVersion, "https://kv-one.vault.localhost:7443/secrets/db/") ||
		secret.Properties.Attributes.Expires.Unix() != 2000000000 {
		t.Errorf("%+v", secret.Properties)
	}

	_, err = vaults.Delete(ctx, "rg", "kv-one", nil)
	f.must(err)
	var gone *azcore.ResponseError
	if _, err = vaults.Get(ctx, "rg", "kv-one", nil); !errors.As(err, &gone) || gone.StatusCode != http.StatusNotFound {
		t.Errorf("after its deletion: %v", err)
	}
	deleted, err := vaults.GetDeleted(ctx, "kv-one", "local", nil)
	f.must(err)
	if !strings.EqualFold(*deleted.Properties.VaultID, vaultAt) || deleted.Properties.ScheduledPurgeDate.Sub(*deleted.Properties.DeletionDate) != 90*24*time.Hour {
		t.Errorf("%+v", deleted.Properties)
	}
	purging, err := vaults.BeginPurgeDeleted(ctx, "kv-one", "local", nil)
	f.must(err)
	_, err = purging.PollUntilDone(ctx, nil)
	f.must(err)
	if _, err = vaults.GetDeleted(ctx, "kv-one", "local", nil); !errors.As(err, &gone) || gone.StatusCode != http.StatusNotFound {
		t.Errorf("after the purge: %v", err)
	}
}
