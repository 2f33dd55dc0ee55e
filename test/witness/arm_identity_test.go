package witness

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// federated is an installation that trusts the issuer of a test.
type federated struct {
	goClient
	issuer *issuer
	msi    *armmsi.ClientFactory
}

func TestGoClientManagesIdentities(t *testing.T) {
	f := &federated{issuer: newIssuer(t)}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	must(t, os.WriteFile(roots, pemOf("CERTIFICATE", f.issuer.Certificate().Raw), 0o600))
	p := upWith(t, t.TempDir(), []string{"SSL_CERT_FILE=" + roots, "LATCHKEY_FEDERATION_NETWORKS=127.0.0.0/8"}, "--metrics-address", "")
	f.goClient = newGoClient(t, p.owner(t))
	f.rg(t)
	var err error
	f.msi, err = armmsi.NewClientFactory(f.cred.SubscriptionID, f, f.options())
	must(t, err)
	t.Run("user-assigned identities", f.lifeOfAnIdentity)
	t.Run("federated credentials", f.lifeOfACredential)
	t.Run("identities of apps", f.systemAssigned)
	t.Run("workload identity", f.workloads)
	t.Run("workloads that are not trusted", f.untrusted)
}

func (f *federated) lifeOfAnIdentity(t *testing.T) {
	ctx, ids := t.Context(), f.msi.NewUserAssignedIdentitiesClient()
	made, err := ids.CreateOrUpdate(ctx, "rg", "Life", armmsi.Identity{Location: to.Ptr("local"), Tags: map[string]*string{"a": to.Ptr("1")}}, nil)
	must(t, err)
	if *made.Name != "Life" || *made.Type != "Microsoft.ManagedIdentity/userAssignedIdentities" || *made.Properties.TenantID != f.cred.TenantID ||
		*made.ID != f.group("rg")+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Life" || *made.SystemData.CreatedBy == "" {
		t.Errorf("made: %+v, %+v", made.Identity, made.Properties)
	}
	got, err := ids.Get(ctx, "RG", "life", nil)
	must(t, err)
	again, err := ids.CreateOrUpdate(ctx, "rg", "life", armmsi.Identity{Location: to.Ptr("local")}, nil)
	must(t, err)
	for _, other := range []*armmsi.UserAssignedIdentityProperties{got.Properties, again.Properties} {
		if *other.ClientID != *made.Properties.ClientID || *other.PrincipalID != *made.Properties.PrincipalID {
			t.Errorf("the identity became another one: %+v", other)
		}
	}
	patched, err := ids.Update(ctx, "rg", "life", armmsi.IdentityUpdate{Tags: map[string]*string{"b": to.Ptr("2")}}, nil)
	must(t, err)
	if len(patched.Tags) != 1 || *patched.Tags["b"] != "2" {
		t.Errorf("tags: %v", patched.Tags)
	}
	name := func(i *armmsi.Identity) string { return *i.Name }
	inGroup, _ := all(t, ids.NewListByResourceGroupPager("rg", nil), func(p armmsi.UserAssignedIdentitiesClientListByResourceGroupResponse) []*armmsi.Identity {
		return p.Value
	}, name)
	everywhere, _ := all(t, ids.NewListBySubscriptionPager(nil), func(p armmsi.UserAssignedIdentitiesClientListBySubscriptionResponse) []*armmsi.Identity {
		return p.Value
	}, name)
	if !slices.Equal(inGroup, []string{"Life"}) || !slices.Equal(everywhere, inGroup) {
		t.Errorf("listed: %q, %q", inGroup, everywhere)
	}
	for range 2 { // a second time is as good
		_, err = ids.Delete(ctx, "rg", "life", nil)
		must(t, err)
	}
	_, err = ids.Get(ctx, "rg", "life", nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
}

// trust makes an identity trust a subject of the issuer.
func (f *federated) trust(t *testing.T, identity, credential, subject string) armmsi.FederatedIdentityCredential {
	t.Helper()
	made, err := f.msi.NewFederatedIdentityCredentialsClient().CreateOrUpdate(t.Context(), "rg", identity, credential, armmsi.FederatedIdentityCredential{
		Properties: &armmsi.FederatedIdentityCredentialProperties{Issuer: &f.issuer.URL, Subject: &subject, Audiences: to.SliceOfPtrs(exchange)},
	}, nil)
	must(t, err)
	return made.FederatedIdentityCredential
}

func (f *federated) lifeOfACredential(t *testing.T) {
	ctx, credentials := t.Context(), f.msi.NewFederatedIdentityCredentialsClient()
	f.identity(t, "trusting")
	made := f.trust(t, "trusting", "cluster", workload)
	if *made.Name != "cluster" || !strings.HasSuffix(*made.ID, "/userAssignedIdentities/trusting/federatedIdentityCredentials/cluster") || *made.Properties.Subject != workload {
		t.Errorf("made: %+v, %+v", made, made.Properties)
	}
	f.trust(t, "trusting", "pipeline", "repo:shop/orders:ref:refs/heads/main")
	changed := f.trust(t, "trusting", "cluster", "system:serviceaccount:shop:other")
	got, err := credentials.Get(ctx, "rg", "trusting", "cluster", nil)
	must(t, err)
	if *got.Properties.Subject != *changed.Properties.Subject || *got.Properties.Issuer != f.issuer.URL || *got.Properties.Audiences[0] != exchange {
		t.Errorf("got: %+v", got.Properties)
	}
	names, _ := all(t, credentials.NewListPager("rg", "trusting", nil),
		func(p armmsi.FederatedIdentityCredentialsClientListResponse) []*armmsi.FederatedIdentityCredential {
			return p.Value
		},
		func(c *armmsi.FederatedIdentityCredential) string { return *c.Name })
	if !slices.Equal(names, []string{"cluster", "pipeline"}) {
		t.Errorf("listed: %q", names)
	}
	_, err = credentials.CreateOrUpdate(ctx, "rg", "trusting", "bad", armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: to.Ptr("http://issuer.example"), Subject: to.Ptr("s"), Audiences: to.SliceOfPtrs(exchange)}}, nil)
	var failed *azcore.ResponseError
	if !errors.As(err, &failed) || failed.StatusCode != http.StatusBadRequest {
		t.Errorf("an issuer without TLS: %v", err)
	}
	_, err = credentials.Delete(ctx, "rg", "trusting", "cluster", nil)
	must(t, err)
	_, err = credentials.Get(ctx, "rg", "trusting", "cluster", nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
}

func (f *federated) systemAssigned(t *testing.T) {
	making, err := f.web.BeginCreateOrUpdate(t.Context(), "rg", "withown", armappservice.Site{
		Location: to.Ptr("local"), Kind: to.Ptr("functionapp"), Identity: identities(ownIdentity)}, nil)
	must(t, err)
	site, err := making.PollUntilDone(t.Context(), nil)
	must(t, err)
	own := f.msi.NewSystemAssignedIdentitiesClient()
	got, err := own.GetByScope(t.Context(), *site.ID, nil)
	must(t, err)
	if *got.Properties.PrincipalID != *site.Identity.PrincipalID || *got.Properties.TenantID != *site.Identity.TenantID || *got.Properties.ClientID == "" {
		t.Errorf("%+v", got.Properties)
	}
	_, err = f.web.Update(t.Context(), "rg", "withown", armappservice.SitePatchResource{Identity: identities(armappservice.ManagedServiceIdentityTypeNone)}, nil)
	must(t, err)
	_, err = own.GetByScope(t.Context(), *site.ID, nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
}

// workloads reads a secret as a pod or a pipeline does: its token of the issuer is
// exchanged for one of the identity.
func (f *federated) workloads(t *testing.T) {
	user := f.identity(t, "pod")
	f.trust(t, "pod", "cluster", workload)
	f.vault(t, "pod-kv")
	set(t, f.secrets(t, "pod-kv"), "s", "hush")
	f.assign(t, f.vaultID("pod-kv"), secretsUser, *user.Properties.PrincipalID)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(f.issuer.token(t)), 0o600))
	options, id := f.options().ClientOptions, *user.Properties.ClientID

	byFile, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: true, ClientID: id, TenantID: f.cred.TenantID, TokenFilePath: file})
	must(t, err)
	byFunc, err := azidentity.NewClientAssertionCredential(f.cred.TenantID, id, func(context.Context) (string, error) { return f.issuer.token(t), nil },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	must(t, err)
	for name, value := range map[string]string{"AZURE_CLIENT_ID": id, "AZURE_TENANT_ID": f.cred.TenantID, "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": f.p.Management} {
		t.Setenv(name, value)
	}
	byEnvironment, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	must(t, err)
	for name, credential := range map[string]azcore.TokenCredential{"file": byFile, "function": byFunc, "environment": byEnvironment} {
		client, err := azsecrets.NewClient(f.p.vaultURL("pod-kv"), credential, &azsecrets.ClientOptions{ClientOptions: options})
		must(t, err)
		if got, err := client.GetSecret(t.Context(), "s", "", nil); err != nil || *got.Value != "hush" {
			t.Errorf("by %s: %v", name, err)
		}
	}
}

func (f *federated) untrusted(t *testing.T) {
	user, bare, stranger := f.identity(t, "picky"), f.identity(t, "bare"), newIssuer(t)
	f.trust(t, "picky", "cluster", workload)
	soon := time.Now().Add(time.Hour)
	forged := &issuer{Server: f.issuer.Server, key: stranger.key}
	for name, tt := range map[string]struct{ id, assertion, code string }{
		"nobody is trusted": {*bare.Properties.ClientID, f.issuer.token(t), "AADSTS70021"},
		"issuer":            {*user.Properties.ClientID, stranger.token(t), "AADSTS700211"},
		"audience":          {*user.Properties.ClientID, f.issuer.tokenFor(t, workload, "api://other", soon), "AADSTS700212"},
		"subject":           {*user.Properties.ClientID, f.issuer.tokenFor(t, strings.ToUpper(workload), exchange, soon), "AADSTS700213"},
		"signature":         {*user.Properties.ClientID, forged.token(t), "AADSTS700027"},
		"time":              {*user.Properties.ClientID, f.issuer.tokenFor(t, workload, exchange, time.Now().Add(-time.Hour)), "AADSTS700024"},
		"identity":          {"11111111-2222-3333-4444-555555555555", f.issuer.token(t), "AADSTS700016"},
	} {
		c, err := azidentity.NewClientAssertionCredential(f.cred.TenantID, tt.id, func(context.Context) (string, error) { return tt.assertion, nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: f.options().ClientOptions, DisableInstanceDiscovery: true})
		must(t, err)
		_, err = c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{f.p.Management + "/.default"}})
		var failed *azidentity.AuthenticationFailedError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), tt.code+": ") || failed.RawResponse.StatusCode >= 500 {
			t.Errorf("%s: %v is not %s", name, err, tt.code)
		}
	}
}

func TestGoClientManagesVaults(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := newGoClient(t, p.owner(t))
	c.rg(t)
	t.Run("a vault from its creation to its end", c.lifeOfAVault)
	t.Run("a vault that comes back", c.recoversAVault)
	t.Run("a vault that nobody can purge", c.purgeProtected)
	t.Run("secrets through the management API", c.secretsByARM)
}

func (c goClient) lifeOfAVault(t *testing.T) {
	ctx, vaults := t.Context(), c.vaults(t).NewVaultsClient()
	free := func(name string) armkeyvault.CheckNameAvailabilityResult {
		t.Helper()
		got, err := vaults.CheckNameAvailability(ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: &name, Type: to.Ptr("Microsoft.KeyVault/vaults")}, nil)
		must(t, err)
		return got.CheckNameAvailabilityResult
	}
	if got := free("life-kv"); !*got.NameAvailable {
		t.Errorf("a free name: %+v", got)
	}
	if got := free("x"); *got.NameAvailable || *got.Reason != armkeyvault.ReasonAccountNameInvalid {
		t.Errorf("a bad name: %+v", got)
	}
	made := c.vault(t, "life-kv")
	if *made.Properties.VaultURI != c.p.vaultURL("life-kv")+"/" || !*made.Properties.EnableRbacAuthorization || !*made.Properties.EnableSoftDelete ||
		*made.Properties.SoftDeleteRetentionInDays != 90 || *made.Properties.ProvisioningState != armkeyvault.VaultProvisioningStateSucceeded {
		t.Errorf("made: %+v", made.Properties)
	}
	if got := free("life-kv"); *got.NameAvailable || *got.Reason != armkeyvault.ReasonAlreadyExists {
		t.Errorf("a name that is taken: %+v", got)
	}
	patched, err := vaults.Update(ctx, "rg", "life-kv", armkeyvault.VaultPatchParameters{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	must(t, err)
	got, err := vaults.Get(ctx, "rg", "LIFE-KV", nil)
	must(t, err)
	if *patched.Tags["a"] != "b" || *got.Tags["a"] != "b" || *got.Name != "life-kv" {
		t.Errorf("patched %v, got %v", patched.Tags, got.Tags)
	}
	c.listsVaults(t, vaults)

	_, err = vaults.Delete(ctx, "rg", "life-kv", nil)
	must(t, err)
	_, err = vaults.Get(ctx, "rg", "life-kv", nil)
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
	deleted, err := vaults.GetDeleted(ctx, "life-kv", "local", nil)
	must(t, err)
	if *deleted.Properties.VaultID != *made.ID || *deleted.Properties.Location != "local" || *deleted.Properties.Tags["a"] != "b" {
		t.Errorf("deleted: %+v", deleted.Properties)
	}
	names, _ := all(t, vaults.NewListDeletedPager(nil), func(p armkeyvault.VaultsClientListDeletedResponse) []*armkeyvault.DeletedVault { return p.Value },
		func(v *armkeyvault.DeletedVault) string { return *v.Name })
	if !slices.Equal(names, []string{"life-kv"}) {
		t.Errorf("deleted vaults: %q", names)
	}
	purging, err := vaults.BeginPurgeDeleted(ctx, "life-kv", "local", nil)
	must(t, err)
	_, err = purging.PollUntilDone(ctx, nil)
	must(t, err)
	_, err = vaults.GetDeleted(ctx, "life-kv", "local", nil)
	wantError(t, err, http.StatusNotFound, "DeletedVaultNotFound")
	if got := free("life-kv"); !*got.NameAvailable {
		t.Errorf("after the purge the name is %+v", got)
	}
}

func (c goClient) listsVaults(t *testing.T, vaults *armkeyvault.VaultsClient) {
	t.Helper()
	name := func(v *armkeyvault.Vault) string { return *v.Name }
	inGroup, _ := all(t, vaults.NewListByResourceGroupPager("rg", nil), func(p armkeyvault.VaultsClientListByResourceGroupResponse) []*armkeyvault.Vault { return p.Value }, name)
	everywhere, _ := all(t, vaults.NewListBySubscriptionPager(&armkeyvault.VaultsClientListBySubscriptionOptions{Top: to.Ptr[int32](1)}),
		func(p armkeyvault.VaultsClientListBySubscriptionResponse) []*armkeyvault.Vault { return p.Value }, name)
	resources, _ := all(t, vaults.NewListPager(nil), func(p armkeyvault.VaultsClientListResponse) []*armkeyvault.Resource { return p.Value },
		func(r *armkeyvault.Resource) string { return *r.Name })
	for _, names := range [][]string{inGroup, everywhere, resources} {
		if !slices.Equal(names, []string{"life-kv"}) {
			t.Errorf("vaults are listed as %q, %q, %q", inGroup, everywhere, resources)
			break
		}
	}
}

func (c goClient) recoversAVault(t *testing.T) {
	ctx, vaults := t.Context(), c.vaults(t).NewVaultsClient()
	c.vault(t, "back-kv", c.policyFor(subjectOf(t, c.token(t)).ObjectID, armkeyvault.SecretPermissionsAll))
	set(t, c.secrets(t, "back-kv"), "s", "still here")
	_, err := vaults.Delete(ctx, "rg", "back-kv", nil)
	must(t, err)
	_, err = c.secrets(t, "back-kv").GetSecret(ctx, "s", "", nil)
	wantError(t, err, http.StatusNotFound, "VaultNotFound")
	create := func(mode armkeyvault.CreateMode) error {
		making, err := vaults.BeginCreateOrUpdate(ctx, "rg", "back-kv", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("local"), Properties: &armkeyvault.VaultProperties{
			TenantID: &c.cred.TenantID, SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
			CreateMode: &mode, AccessPolicies: []*armkeyvault.AccessPolicyEntry{},
		}}, nil)
		if err == nil {
			_, err = making.PollUntilDone(ctx, nil)
		}
		return err
	}
	wantError(t, create(armkeyvault.CreateModeDefault), http.StatusConflict, "ConflictError")
	must(t, create(armkeyvault.CreateModeRecover))
	if got := get(t, c.secrets(t, "back-kv"), "s", ""); *got.Value != "still here" {
		t.Errorf("recovered: %s", *got.Value)
	}
}

func (c goClient) purgeProtected(t *testing.T) {
	ctx, vaults := t.Context(), c.vaults(t).NewVaultsClient()
	making, err := vaults.BeginCreateOrUpdate(ctx, "rg", "kept-kv", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("local"), Properties: &armkeyvault.VaultProperties{
		TenantID: &c.cred.TenantID, SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		EnablePurgeProtection: to.Ptr(true), SoftDeleteRetentionInDays: to.Ptr[int32](7),
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{c.policyFor(subjectOf(t, c.token(t)).ObjectID, armkeyvault.SecretPermissionsAll, armkeyvault.SecretPermissionsPurge)},
	}}, nil)
	must(t, err)
	_, err = making.PollUntilDone(ctx, nil)
	must(t, err)
	client := c.secrets(t, "kept-kv")
	if made := set(t, client, "s", "v"); *made.Attributes.RecoveryLevel != "CustomizedRecoverable" || *made.Attributes.RecoverableDays != 7 {
		t.Errorf("%+v", made.Attributes)
	}
	_, err = client.DeleteSecret(ctx, "s", nil)
	must(t, err)
	_, err = client.PurgeDeletedSecret(ctx, "s", nil)
	wantInner(t, err, http.StatusForbidden, "Forbidden", "PurgeProtectionEnabled")
	for _, change := range []armkeyvault.VaultPatchProperties{{EnablePurgeProtection: to.Ptr(false)}, {SoftDeleteRetentionInDays: to.Ptr[int32](8)}} {
		_, err = vaults.Update(ctx, "rg", "kept-kv", armkeyvault.VaultPatchParameters{Properties: &change}, nil)
		wantError(t, err, http.StatusBadRequest, "BadRequest")
	}
	_, err = vaults.Delete(ctx, "rg", "kept-kv", nil)
	must(t, err)
	deleted, err := vaults.GetDeleted(ctx, "kept-kv", "local", nil)
	must(t, err)
	if !*deleted.Properties.PurgeProtectionEnabled || deleted.Properties.ScheduledPurgeDate.Sub(*deleted.Properties.DeletionDate) != 7*24*time.Hour {
		t.Errorf("deleted: %+v", deleted.Properties)
	}
	var failed *azcore.ResponseError
	if _, err = vaults.BeginPurgeDeleted(ctx, "kept-kv", "local", nil); !errors.As(err, &failed) || failed.ErrorCode != "MethodNotAllowed" {
		t.Errorf("the purge of a protected vault: %v", err)
	}
}

func (c goClient) secretsByARM(t *testing.T) {
	ctx, client := t.Context(), c.vaults(t).NewSecretsClient()
	c.vault(t, "arm-kv")
	expires := time.Unix(2_000_000_000, 0).UTC()
	made, err := client.CreateOrUpdate(ctx, "rg", "arm-kv", "by-arm", armkeyvault.SecretCreateOrUpdateParameters{Tags: map[string]*string{"a": to.Ptr("b")},
		Properties: &armkeyvault.SecretProperties{Value: to.Ptr("hush"), ContentType: to.Ptr("text/plain"), Attributes: &armkeyvault.SecretAttributes{Expires: &expires}}}, nil)
	must(t, err)
	if made.Properties.Value != nil || !strings.HasPrefix(*made.Properties.SecretURIWithVersion, *made.Properties.SecretURI+"/") {
		t.Errorf("made: %+v", made.Properties)
	}
	read := get(t, c.secrets(t, "arm-kv"), "by-arm", "")
	if *read.Value != "hush" || *read.ContentType != "text/plain" || !read.Attributes.Expires.Equal(expires) || *read.Tags["a"] != "b" || string(*read.ID) != *made.Properties.SecretURIWithVersion {
		t.Errorf("read: %+v", read)
	}
	got, err := client.Get(ctx, "rg", "arm-kv", "by-arm", nil)
	must(t, err)
	if got.Properties.Value != nil || *got.Properties.ContentType != "text/plain" {
		t.Errorf("got: %+v", got.Properties)
	}
	_, err = client.Update(ctx, "rg", "arm-kv", "by-arm", armkeyvault.SecretPatchParameters{Properties: &armkeyvault.SecretPatchProperties{ContentType: to.Ptr("x/y")}}, nil)
	must(t, err)
	if again := get(t, c.secrets(t, "arm-kv"), "by-arm", ""); *again.Value != "hush" || *again.ContentType != "x/y" {
		t.Errorf("changed: %+v", again)
	}
	names, _ := all(t, client.NewListPager("rg", "arm-kv", nil), func(p armkeyvault.SecretsClientListResponse) []*armkeyvault.Secret { return p.Value },
		func(s *armkeyvault.Secret) string { return *s.Name })
	if !slices.Equal(names, []string{"by-arm"}) {
		t.Errorf("listed: %q", names)
	}
}
