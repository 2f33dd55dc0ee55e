package witness

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"golang.org/x/sync/errgroup"
)

func TestGoClientKeepsSecrets(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := newGoClient(t, p.owner(t))
	c.rg(t)
	c.vault(t, "roles-kv")
	for name, test := range map[string]func(*testing.T, *azsecrets.Client){
		"a secret and its versions": versions, "properties": properties, "a disabled secret": disabled, "lists with many pages": manyPages,
		"delete, recover, purge": softDelete, "backup and restore": backups, "what bad input gets": badSecrets,
	} {
		t.Run(name, func(t *testing.T) { test(t, c.secrets(t, "roles-kv")) })
	}
	t.Run("access policies", c.policies)
	t.Run("roles", c.vaultRoles)
	t.Run("rules of the network", c.firewall)
}

func get(t *testing.T, c *azsecrets.Client, name, version string) azsecrets.Secret {
	t.Helper()
	got, err := c.GetSecret(t.Context(), name, version, nil)
	must(t, err)
	return got.Secret
}

func versions(t *testing.T, c *azsecrets.Client) {
	first := set(t, c, "Db-Password", "one")
	second := set(t, c, "DB-password", "two")
	if first.ID.Version() == second.ID.Version() || len(second.ID.Version()) != 32 || second.ID.Name() != first.ID.Name() {
		t.Errorf("versions %s and %s", *first.ID, *second.ID)
	}
	for _, tt := range []struct{ name, version, want string }{
		{"Db-Password", "", "two"}, {"db-password", "", "two"}, {"DB-PASSWORD", first.ID.Version(), "one"}, {"db-password", second.ID.Version(), "two"},
	} {
		if got := get(t, c, tt.name, tt.version); *got.Value != tt.want {
			t.Errorf("%s/%s is %s, not %s", tt.name, tt.version, *got.Value, tt.want)
		}
	}
	if got := get(t, c, "db-password", ""); got.ID.Name() != "Db-Password" || *got.Attributes.RecoveryLevel != "Recoverable+Purgeable" || *got.Attributes.RecoverableDays != 90 ||
		!*got.Attributes.Enabled || got.ContentType != nil || got.Attributes.Expires != nil || time.Since(*got.Attributes.Created) > time.Hour {
		t.Errorf("%+v, %+v", got, got.Attributes)
	}
}

func properties(t *testing.T, c *azsecrets.Client) {
	ctx, from, until := t.Context(), time.Unix(1_700_000_000, 0).UTC(), time.Unix(1_700_000_001, 0).UTC()
	made, err := c.SetSecret(ctx, "properties", azsecrets.SetSecretParameters{
		Value: to.Ptr("v"), ContentType: to.Ptr("text/plain"), Tags: map[string]*string{"team": to.Ptr("shop")},
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &from, Expires: &until},
	}, nil)
	must(t, err)
	got := get(t, c, "properties", "") // although it is over
	if *got.Value != "v" || *got.ContentType != "text/plain" || *got.Tags["team"] != "shop" || !got.Attributes.NotBefore.Equal(from) || !got.Attributes.Expires.Equal(until) {
		t.Errorf("%+v, %+v", got, got.Attributes)
	}
	later := until.Add(time.Hour)
	changed, err := c.UpdateSecretProperties(ctx, "properties", "", azsecrets.UpdateSecretPropertiesParameters{
		ContentType: to.Ptr("application/json"), Tags: map[string]*string{"a": to.Ptr("b")}, SecretAttributes: &azsecrets.SecretAttributes{Expires: &later},
	}, nil)
	must(t, err)
	if changed.Value != nil || changed.ID.Version() != made.ID.Version() || *changed.ContentType != "application/json" || len(changed.Tags) != 1 || *changed.Tags["a"] != "b" ||
		!changed.Attributes.Expires.Equal(later) || !changed.Attributes.NotBefore.Equal(from) {
		t.Errorf("%+v, %+v", changed.Secret, changed.Attributes)
	}
	if got := get(t, c, "properties", made.ID.Version()); *got.Value != "v" || *got.ContentType != "application/json" {
		t.Errorf("%+v", got)
	}
}

func disabled(t *testing.T, c *azsecrets.Client) {
	ctx, made := t.Context(), set(t, c, "disabled", "v")
	able := func(is bool) {
		_, err := c.UpdateSecretProperties(ctx, "disabled", made.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: &is}}, nil)
		must(t, err)
	}
	able(false)
	_, err := c.GetSecret(ctx, "disabled", "", nil)
	wantInner(t, err, http.StatusForbidden, "Forbidden", "SecretDisabled")
	able(true)
	if *get(t, c, "disabled", "").Value != "v" {
		t.Error("enabled again it has another value")
	}
}

// all gives what the pages of a list have, and how long each is.
func all[P, T any](t *testing.T, pager *runtime.Pager[P], items func(P) []*T, name func(*T) string) (names []string, pages []int) {
	t.Helper()
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		must(t, err)
		pages = append(pages, len(items(page)))
		for _, i := range items(page) {
			names = append(names, name(i))
		}
	}
	return names, pages
}

func nameOf(p *azsecrets.SecretProperties) string { return p.ID.Name() }

func manyPages(t *testing.T, c *azsecrets.Client) {
	const many = 60
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for i := range many {
		g.Go(func() error {
			_, err := c.SetSecret(ctx, fmt.Sprintf("many-%02d", i), azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil)
			if err == nil && i < 30 {
				_, err = c.SetSecret(ctx, "versions-of-one", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil)
			}
			if err == nil && i < 30 {
				_, err = c.DeleteSecret(ctx, fmt.Sprintf("many-%02d", i), nil)
			}
			return err
		})
	}
	must(t, g.Wait())
	ours := func(names []string) []string {
		return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "many-") })
	}
	items := func(p azsecrets.ListSecretPropertiesResponse) []*azsecrets.SecretProperties { return p.Value }
	names, pages := all(t, c.NewListSecretPropertiesPager(nil), items, nameOf)
	if got := ours(names); len(got) != many/2 || len(slices.Compact(got)) != many/2 || len(pages) < 2 || pages[0] > 25 {
		t.Errorf("secrets: pages of %d, %q", pages, got)
	}
	versions, pages := all(t, c.NewListSecretPropertiesVersionsPager("versions-of-one", nil),
		func(p azsecrets.ListSecretPropertiesVersionsResponse) []*azsecrets.SecretProperties { return p.Value },
		func(p *azsecrets.SecretProperties) string { return p.ID.Version() })
	slices.Sort(versions)
	if len(slices.Compact(versions)) != 30 || len(pages) < 2 || len(versions[0]) != 32 {
		t.Errorf("versions: pages of %d, %q", pages, versions)
	}
	deleted, pages := all(t, c.NewListDeletedSecretPropertiesPager(nil),
		func(p azsecrets.ListDeletedSecretPropertiesResponse) []*azsecrets.DeletedSecretProperties {
			return p.Value
		},
		func(p *azsecrets.DeletedSecretProperties) string { return p.ID.Name() })
	if got := ours(deleted); len(slices.Compact(got)) != many/2 || len(pages) < 2 {
		t.Errorf("deleted secrets: pages of %d, %q", pages, got)
	}
}

func softDelete(t *testing.T, c *azsecrets.Client) {
	ctx, made := t.Context(), set(t, c, "going", "v")
	gone, err := c.DeleteSecret(ctx, "GOING", nil)
	must(t, err)
	if gone.Value != nil || !strings.HasSuffix(*gone.RecoveryID, "/deletedsecrets/going") || gone.ScheduledPurgeDate.Sub(*gone.DeletedDate) != 90*24*time.Hour {
		t.Errorf("%+v", gone.DeletedSecret)
	}
	_, err = c.GetSecret(ctx, "going", "", nil)
	wantError(t, err, http.StatusNotFound, "SecretNotFound")
	_, err = c.SetSecret(ctx, "going", azsecrets.SetSecretParameters{Value: to.Ptr("w")}, nil)
	wantInner(t, err, http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable")
	shown, err := c.GetDeletedSecret(ctx, "going", nil)
	must(t, err)
	if shown.ID.Version() != made.ID.Version() || shown.Value != nil {
		t.Errorf("%+v", shown.DeletedSecret)
	}
	back, err := c.RecoverDeletedSecret(ctx, "going", nil)
	must(t, err)
	if back.ID.Version() != made.ID.Version() || *get(t, c, "going", "").Value != "v" {
		t.Errorf("%+v", back.Secret)
	}
	_, err = c.DeleteSecret(ctx, "going", nil)
	must(t, err)
	_, err = c.PurgeDeletedSecret(ctx, "going", nil)
	must(t, err)
	for what, err := range map[string]error{
		"get":     errorOf(c.GetDeletedSecret(ctx, "going", nil)),
		"recover": errorOf(c.RecoverDeletedSecret(ctx, "going", nil)),
		"purge":   errorOf(c.PurgeDeletedSecret(ctx, "going", nil)),
		"delete":  errorOf(c.DeleteSecret(ctx, "going", nil)),
	} {
		t.Run(what+" what is purged", func(t *testing.T) { wantError(t, err, http.StatusNotFound, "SecretNotFound") })
	}
	if again := set(t, c, "going", "new"); again.ID.Version() == made.ID.Version() {
		t.Error("a secret made after the purge has the old version")
	}
}

func errorOf[T any](_ T, err error) error { return err }

func backups(t *testing.T, c *azsecrets.Client) {
	ctx, first, second := t.Context(), set(t, c, "saved", "one"), set(t, c, "saved", "two")
	saved, err := c.BackupSecret(ctx, "saved", nil)
	must(t, err)
	if len(saved.Value) == 0 || strings.Contains(string(saved.Value), "two") {
		t.Error("the backup is empty, or in clear")
	}
	restore := azsecrets.RestoreSecretParameters{SecretBackup: saved.Value}
	_, err = c.RestoreSecret(ctx, restore, nil)
	wantError(t, err, http.StatusConflict, "Conflict")
	_, err = c.DeleteSecret(ctx, "saved", nil)
	must(t, err)
	_, err = c.RestoreSecret(ctx, restore, nil)
	wantError(t, err, http.StatusConflict, "Conflict")
	_, err = c.PurgeDeletedSecret(ctx, "saved", nil)
	must(t, err)
	back, err := c.RestoreSecret(ctx, restore, nil)
	must(t, err)
	if back.ID.Version() != second.ID.Version() || *get(t, c, "saved", "").Value != "two" || *get(t, c, "saved", first.ID.Version()).Value != "one" {
		t.Errorf("restored: %+v", back.Secret)
	}
	saved.Value[len(saved.Value)/2] ^= 1
	_, err = c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: saved.Value}, nil)
	wantError(t, err, http.StatusBadRequest, "BadParameter")
}

func badSecrets(t *testing.T, c *azsecrets.Client) {
	tags := map[string]*string{}
	for i := range 16 {
		tags[fmt.Sprint("tag", i)] = to.Ptr("v")
	}
	set := func(name string, p azsecrets.SetSecretParameters) error {
		return errorOf(c.SetSecret(t.Context(), name, p, nil))
	}
	for what, err := range map[string]error{
		"no value":     set("bad", azsecrets.SetSecretParameters{}),
		"a long value": set("bad", azsecrets.SetSecretParameters{Value: to.Ptr(strings.Repeat("x", 25<<10+1))}),
		"many tags":    set("bad", azsecrets.SetSecretParameters{Value: to.Ptr("v"), Tags: tags}),
		"a bad name":   set("bad_name", azsecrets.SetSecretParameters{Value: to.Ptr("v")}),
		"a long name":  set(strings.Repeat("x", 128), azsecrets.SetSecretParameters{Value: to.Ptr("v")}),
		"a long type":  set("bad", azsecrets.SetSecretParameters{Value: to.Ptr("v"), ContentType: to.Ptr(strings.Repeat("x", 256))}),
	} {
		t.Run(what, func(t *testing.T) { wantError(t, err, http.StatusBadRequest, "BadParameter") })
	}
	must(t, set("large", azsecrets.SetSecretParameters{Value: to.Ptr(strings.Repeat("x", 25<<10))}))
	for _, version := range []string{"", strings.Repeat("0", 32)} {
		_, err := c.GetSecret(t.Context(), "nothing", version, nil)
		wantError(t, err, http.StatusNotFound, "SecretNotFound")
	}
	_, err := c.GetSecret(t.Context(), "large", strings.Repeat("0", 32), nil)
	wantError(t, err, http.StatusNotFound, "SecretNotFound")
}

// policies gives somebody one permission after the other.
func (c goClient) policies(t *testing.T) {
	ctx := t.Context()
	them, object := c.principal(t, "by-policy")
	owner := subjectOf(t, c.token(t)).ObjectID
	c.vault(t, "policy-kv", c.policyFor(owner, armkeyvault.SecretPermissionsAll))
	set(t, c.secrets(t, "policy-kv"), "s", "v")
	client, vaults := them.secrets(t, "policy-kv"), c.vaults(t).NewVaultsClient()
	change := func(kind armkeyvault.AccessPolicyUpdateKind, may ...armkeyvault.SecretPermissions) {
		t.Helper()
		got, err := vaults.UpdateAccessPolicy(ctx, "rg", "policy-kv", kind, armkeyvault.VaultAccessPolicyParameters{
			Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{c.policyFor(object, may...)}}}, nil)
		must(t, err)
		if len(got.Properties.AccessPolicies) == 0 {
			t.Errorf("policies after %s: none", kind)
		}
	}
	read := func() error { return errorOf(client.GetSecret(ctx, "s", "", nil)) }
	write := func() error {
		return errorOf(client.SetSecret(ctx, "s", azsecrets.SetSecretParameters{Value: to.Ptr("v")}, nil))
	}
	wantInner(t, read(), http.StatusForbidden, "Forbidden", "ForbiddenByPolicy")
	change(armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.SecretPermissionsGet)
	must(t, read())
	wantInner(t, write(), http.StatusForbidden, "Forbidden", "ForbiddenByPolicy")
	change(armkeyvault.AccessPolicyUpdateKindReplace, armkeyvault.SecretPermissionsSet)
	must(t, write())
	wantInner(t, read(), http.StatusForbidden, "Forbidden", "ForbiddenByPolicy")
	c.assign(t, c.vaultID("policy-kv"), secretsOfficer, object) // does not count here
	wantInner(t, read(), http.StatusForbidden, "Forbidden", "ForbiddenByPolicy")
	change(armkeyvault.AccessPolicyUpdateKindRemove, armkeyvault.SecretPermissionsSet)
	wantInner(t, write(), http.StatusForbidden, "Forbidden", "ForbiddenByPolicy")

	_, err := vaults.Update(ctx, "rg", "policy-kv", armkeyvault.VaultPatchParameters{Properties: &armkeyvault.VaultPatchProperties{EnableRbacAuthorization: to.Ptr(true)}}, nil)
	must(t, err)
	must(t, read()) // now the role counts
}

func (c goClient) vaultRoles(t *testing.T) {
	ctx := t.Context()
	them, object := c.principal(t, "by-role")
	client := them.secrets(t, "roles-kv")
	set(t, c.secrets(t, "roles-kv"), "one-of-two", "v")
	set(t, c.secrets(t, "roles-kv"), "two-of-two", "v")
	read := func(name string) error { return errorOf(client.GetSecret(ctx, name, "", nil)) }
	wantInner(t, read("one-of-two"), http.StatusForbidden, "Forbidden", "ForbiddenByRbac")
	c.assign(t, c.vaultID("roles-kv")+"/secrets/one-of-two", secretsUser, object)
	must(t, read("one-of-two"))
	wantInner(t, read("two-of-two"), http.StatusForbidden, "Forbidden", "ForbiddenByRbac")
	wantInner(t, errorOf(client.DeleteSecret(ctx, "one-of-two", nil)), http.StatusForbidden, "Forbidden", "ForbiddenByRbac")
	c.unassign(t, c.vaultID("roles-kv"), object)
	wantInner(t, read("one-of-two"), http.StatusForbidden, "Forbidden", "ForbiddenByRbac")
	_, err := them.secrets(t, "nobodys-kv").GetSecret(ctx, "s", "", nil)
	wantError(t, err, http.StatusNotFound, "VaultNotFound")
}

func (c goClient) firewall(t *testing.T) {
	ctx, vaults := t.Context(), c.vaults(t).NewVaultsClient()
	c.vault(t, "walled-kv")
	client := c.secrets(t, "walled-kv")
	set(t, client, "s", "v")
	rules := func(change armkeyvault.VaultPatchProperties) error {
		_, err := vaults.Update(ctx, "rg", "walled-kv", armkeyvault.VaultPatchParameters{Properties: &change}, nil)
		must(t, err)
		return errorOf(client.GetSecret(ctx, "s", "", nil))
	}
	deny := func(addresses ...string) armkeyvault.VaultPatchProperties {
		n := &armkeyvault.NetworkRuleSet{DefaultAction: to.Ptr(armkeyvault.NetworkRuleActionDeny), Bypass: to.Ptr(armkeyvault.NetworkRuleBypassOptionsAzureServices), IPRules: []*armkeyvault.IPRule{}}
		for _, a := range addresses {
			n.IPRules = append(n.IPRules, &armkeyvault.IPRule{Value: &a})
		}
		return armkeyvault.VaultPatchProperties{NetworkACLs: n}
	}
	wantInner(t, rules(deny("192.0.2.0/24")), http.StatusForbidden, "Forbidden", "ForbiddenByFirewall")
	must(t, rules(deny("192.0.2.0/24", "127.0.0.1")))
	wantInner(t, rules(armkeyvault.VaultPatchProperties{PublicNetworkAccess: to.Ptr("Disabled")}), http.StatusForbidden, "Forbidden", "ForbiddenByConnection")
}
