package witness

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// Roles for secrets.
const (
	secretsUser    = "4633458b-17de-408a-b874-0445c86b69e6"
	secretsOfficer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
)

// vaultURL is where clients reach a vault.
func (p *process) vaultURL(name string) string {
	return strings.Replace(p.Management, "://", "://"+name+".vault.", 1)
}

// secrets gives the library's client for a vault as it comes: it checks that the
// vault belongs to the resource that the challenge names.
func (c *caller) secrets(t testing.TB, vault string) *azsecrets.Client {
	t.Helper()
	client, err := azsecrets.NewClient(c.p.vaultURL(vault), c, &azsecrets.ClientOptions{ClientOptions: c.options().ClientOptions})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (c goClient) vaults(t testing.TB) *armkeyvault.ClientFactory {
	t.Helper()
	f, err := armkeyvault.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// vault makes a vault in the group "rg": with roles, of which the caller has one,
// unless it gets policies.
func (c goClient) vault(t *testing.T, name string, policies ...*armkeyvault.AccessPolicyEntry) armkeyvault.Vault {
	t.Helper()
	making, err := c.vaults(t).NewVaultsClient().BeginCreateOrUpdate(t.Context(), "rg", name, armkeyvault.VaultCreateOrUpdateParameters{
		Location: to.Ptr("local"), Properties: &armkeyvault.VaultProperties{
			TenantID: &c.cred.TenantID, SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
			EnableRbacAuthorization: to.Ptr(policies == nil), AccessPolicies: policies,
		},
	}, nil)
	must(t, err)
	made, err := making.PollUntilDone(t.Context(), nil)
	must(t, err)
	if policies == nil {
		c.assign(t, *made.ID, secretsOfficer, subjectOf(t, c.token(t)).ObjectID)
	}
	return made.Vault
}

// policyFor lets somebody do things with secrets.
func (c goClient) policyFor(object string, may ...armkeyvault.SecretPermissions) *armkeyvault.AccessPolicyEntry {
	return &armkeyvault.AccessPolicyEntry{TenantID: &c.cred.TenantID, ObjectID: &object,
		Permissions: &armkeyvault.Permissions{Secrets: to.SliceOfPtrs(may...)}}
}

// rg makes the group that most things are in.
func (c goClient) rg(t *testing.T) {
	t.Helper()
	_, err := c.groups.CreateOrUpdate(t.Context(), "rg", armresources.ResourceGroup{Location: to.Ptr("local")}, nil)
	must(t, err)
}

// set stores a version of a secret.
func set(t testing.TB, c *azsecrets.Client, name, value string) azsecrets.Secret {
	t.Helper()
	made, err := c.SetSecret(t.Context(), name, azsecrets.SetSecretParameters{Value: &value}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// wantInner checks an error of a vault and the code inside it.
func wantInner(t *testing.T, err error, status int, code, inner string) {
	t.Helper()
	wantError(t, err, status, code)
	if err != nil && !strings.Contains(err.Error(), `"`+inner+`"`) {
		t.Errorf("%v has no inner code %s", err, inner)
	}
}
