package vault_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

func TestVaultIsMadeWithDefaults(t *testing.T) {
	e := newEnv(t)
	v, created, err := e.Put(e.ctx, kv, by, spec(t, plain))
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if v.Name != "Kv-1" || v.UID == "" || v.Location != "westeurope" || v.TenantID != tenant || v.SKU != "standard" ||
		v.RBAC || v.PurgeProtected || v.RetentionDays != 90 || !v.Network.Public || v.Network.Deny || !v.Network.TrustedService {
		t.Errorf("got %+v", v)
	}
	var got any
	if err := json.Unmarshal(v.Resource.Properties, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"sku": map[string]any{"family": "A", "name": "standard"}, "tenantId": tenant, "accessPolicies": []any{},
		"enabledForDeployment": false, "enabledForDiskEncryption": false, "enabledForTemplateDeployment": false,
		"enableSoftDelete": true, "softDeleteRetentionInDays": 90.0, "enableRbacAuthorization": false, "publicNetworkAccess": "Enabled",
		"networkAcls": map[string]any{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, created, err := e.Put(e.ctx, kv, by, spec(t, plain))
	if err != nil || created || again.UID != v.UID || again.Resource.Revision != v.Resource.Revision {
		t.Errorf("the same again: %v, created %v, %v", again.Resource.Revision, created, err)
	}
	if v.RecoveryLevel() != "Recoverable+Purgeable" || v.String() != "Kv-1;location=westeurope" {
		t.Error(v.RecoveryLevel(), v)
	}
}

func TestVaultNeedsItsGroup(t *testing.T) {
	e := newEnv(t)
	_, _, err := e.Put(e.ctx, resource.Group(sub, "other").Child(vault.Namespace, "vaults", "kv-1"), by, spec(t, plain))
	wants(t, err, problem.NotFound, "")
	_, _, err = e.inv.Write(e.ctx, group, by, func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Deleting = true
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = e.Put(e.ctx, kv, by, spec(t, plain))
	wants(t, err, problem.Conflict, "")
	mention(t, err, "being deleted")
	if left := e.documents("/vault-names/"); left != nil {
		t.Error(left)
	}
}

func TestVaultNamesAreUnique(t *testing.T) {
	e := newEnv(t)
	other := resource.Group(sub, "other")
	e.makeGroup(other)
	e.put(kv, plain)
	elsewhere := other.Child(vault.Namespace, "vaults", "KV-1")
	_, _, err := e.Put(e.ctx, elsewhere, by, spec(t, plain))
	wants(t, err, problem.Exists, vault.NameTaken)
	e.delete(kv)
	for _, at := range []resource.ID{kv, elsewhere} {
		_, _, err = e.Put(e.ctx, at, by, spec(t, plain))
		wants(t, err, problem.Conflict, vault.NameDeleted)
	}
	if free, err := e.NameFree(e.ctx, "kv-1"); free || err != nil {
		t.Error(free, err)
	}
	if err := e.Purge(e.ctx, sub, "westeurope", "kv-1"); err != nil {
		t.Fatal(err)
	}
	if free, err := e.NameFree(e.ctx, "kv-1"); !free || err != nil {
		t.Error(free, err)
	}
	e.put(elsewhere, plain)
}

func TestOnlyOneOfManyGetsAName(t *testing.T) {
	e := newEnv(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 8 {
		g := resource.Group(sub, fmt.Sprint("g", i))
		e.makeGroup(g)
		wg.Go(func() {
			_, created, err := e.Put(e.ctx, g.Child(vault.Namespace, "vaults", "kv-1"), by, spec(t, plain))
			mu.Lock()
			defer mu.Unlock()
			if created {
				made++
			} else {
				wants2(t, err, problem.Exists)
			}
		})
	}
	wg.Wait()
	if list, _, err := e.List(e.ctx, resource.Root, "", 0); made != 1 || len(list) != 1 || err != nil {
		t.Error(made, len(list), err)
	}
}

func wants2(t *testing.T, err error, kind problem.Kind) {
	t.Helper()
	if problem.KindOf(err) != kind {
		t.Errorf("got %v, want %v", err, kind)
	}
}

func TestVaultNameRules(t *testing.T) {
	for _, name := range []string{"abc", "a-b", "A1b2", "abcdefghijklmnopqrstuvwx"} {
		if err := vault.CheckName(name); err != nil {
			t.Error(name, err)
		}
	}
	for _, name := range []string{"", "ab", "abcdefghijklmnopqrstuvwxy", "1ab", "-ab", "ab-", "a--b", "a_b", "äbc", "a.b", "a/b"} {
		wants(t, vault.CheckName(name), problem.Invalid, vault.NameInvalid)
	}
	for _, name := range []string{"a", "1-2", "-"} {
		if err := vault.CheckSecretName(name); err != nil {
			t.Error(name, err)
		}
	}
	for _, name := range []string{"", "a/b", "a_b", "ä", string(make([]byte, 128))} {
		wants(t, vault.CheckSecretName(name), problem.Invalid, vault.BadParameter)
	}
}

func TestReplacingKeepsWhatCannotBeChanged(t *testing.T) {
	e := newEnv(t)
	e.put(kv, `{"location":"westeurope","tags":{"a":"1"},"properties":{"sku":{"name":"premium"},"tenantId":"`+tenant+`","accessPolicies":[],
		"softDeleteRetentionInDays":7,"enablePurgeProtection":true,"enabledForDeployment":true,"publicNetworkAccess":"disabled"}}`)
	v := e.put(kv, plain)
	if v.RetentionDays != 7 || !v.PurgeProtected || !v.Network.Public || v.SKU != "standard" || v.Resource.Tags != nil {
		t.Errorf("got %+v", v)
	}
	if v.RecoveryLevel() != "CustomizedRecoverable" {
		t.Error(v.RecoveryLevel())
	}
	_, err := e.Patch(e.ctx, kv, by, spec(t, `{"properties":{"softDeleteRetentionInDays":8}}`))
	wants(t, err, problem.Invalid, "")
	mention(t, err, "properties.softDeleteRetentionInDays")
	_, _, err = e.Put(e.ctx, kv, by, spec(t, `{"location":"eastus","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","accessPolicies":[]}}`))
	wants(t, err, problem.Conflict, vault.LocationFixed)
}

func TestPatchLeavesAloneWhatItDoesNotSay(t *testing.T) {
	e := newEnv(t)
	e.put(kv, `{"location":"westeurope","tags":{"a":"1"},"properties":{"sku":{"name":"premium"},"tenantId":"`+tenant+`","enableRbacAuthorization":true,
		"networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"}]}}}`)
	v, err := e.Patch(e.ctx, kv, by, spec(t, `{"properties":{"networkAcls":{"defaultAction":"allow"},"unknown":{"x":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if v.SKU != "premium" || !v.RBAC || v.Resource.Tags["a"] != "1" || v.Network.Deny || v.Network.TrustedService || len(v.Network.Allowed) != 1 {
		t.Errorf("got %+v", v)
	}
	_, err = e.Patch(e.ctx, id("nobody"), by, spec(t, `{}`))
	wants(t, err, problem.NotFound, vault.VaultNotFound)
}

func policies(t testing.TB, list string) []vault.Policy {
	t.Helper()
	p, err := vault.ParsePolicies([]byte(`{"properties":{"accessPolicies":[` + list + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func policy(who, app string, permissions string) string {
	if app != "" {
		app = `"applicationId":"` + app + `",`
	}
	return `{"tenantId":"` + tenant + `","objectId":"` + who + `",` + app + `"permissions":{"secrets":[` + permissions + `]}}`
}

func TestAccessPoliciesAreChangedOneByOne(t *testing.T) {
	e := newEnv(t)
	e.put(kv, plain)
	steps := []struct {
		how  vault.PolicyChange
		said string
		want map[string][]string
	}{
		{vault.AddPolicies, policy(alice, "", `"get"`) + "," + policy(bob, "", `"list"`), map[string][]string{alice: {"get"}, bob: {"list"}}},
		{vault.AddPolicies, policy(alice, "", `"Get","set"`), map[string][]string{alice: {"get", "set"}, bob: {"list"}}},
		{vault.AddPolicies, policy(alice, portal, `"purge"`), map[string][]string{alice: {"get", "set"}, alice + portal: {"purge"}, bob: {"list"}}},
		{vault.ReplacePolicies, policy(bob, "", `"backup"`), map[string][]string{alice: {"get", "set"}, alice + portal: {"purge"}, bob: {"backup"}}},
		{vault.RemovePolicies, policy(alice, "", `"GET","delete"`), map[string][]string{alice: {"set"}, alice + portal: {"purge"}, bob: {"backup"}}},
		{vault.RemovePolicies, policy(bob, "", `"backup"`) + "," + policy(team, "", `"get"`), map[string][]string{alice: {"set"}, alice + portal: {"purge"}}},
	}
	for i, s := range steps {
		v, err := e.ChangePolicies(e.ctx, kv, by, s.how, policies(t, s.said))
		if err != nil {
			t.Fatal(i, err)
		}
		got := map[string][]string{}
		for _, p := range v.Policies {
			got[p.ObjectID+p.ApplicationID] = p.Permissions.Secrets
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Error(i, diff)
		}
	}
	_, err := e.ChangePolicies(e.ctx, kv, by, "forget", policies(t, policy(alice, "", `"get"`)))
	wants(t, err, problem.Invalid, "")
	_, err = e.ChangePolicies(e.ctx, id("nobody"), by, vault.AddPolicies, nil)
	wants(t, err, problem.NotFound, vault.VaultNotFound)
}

func TestChangesAtTheSameTimeAllCount(t *testing.T) {
	e := newEnv(t)
	e.put(kv, plain)
	nodes := []*vault.Vaults{e.Vaults, e.node()}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			who := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i)
			if _, err := nodes[i%2].ChangePolicies(e.ctx, kv, by, vault.AddPolicies, policies(t, policy(who, "", `"get"`))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v, err := e.Get(e.ctx, kv); err != nil || len(v.Policies) != 8 {
		t.Error(len(v.Policies), err)
	}
}

func TestVaultsAreListedByScope(t *testing.T) {
	e := newEnv(t)
	for i := range 5 {
		e.put(id(fmt.Sprint("kv-", i)), plain)
	}
	var names []string
	next := state.Key("")
	for {
		list, more, err := e.List(e.ctx, group, next, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			names = append(names, v.Name)
		}
		if next = more; next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"kv-0", "kv-1", "kv-2", "kv-3", "kv-4"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestVaultsGoWithTheirGroup(t *testing.T) {
	e := newEnv(t)
	e.put(id("kv-1"), plain)
	e.put(id("kv-2"), plain)
	if err := e.DeleteWithin(e.ctx, group, by); err != nil {
		t.Fatal(err)
	}
	list, next, err := e.Deleted(e.ctx, sub, "", 1)
	if err != nil || len(list) != 1 || next != "kv-1" {
		t.Fatal(list, next, err)
	}
	list, next, err = e.Deleted(e.ctx, sub, next, 1)
	if err != nil || len(list) != 1 || next != "" || list[0].Vault.Name != "kv-2" {
		t.Fatal(list, next, err)
	}
}

// TestAChangeIsAllowedByTheVaultAsItIs: what was found out before counts for
// nothing once somebody else has changed the vault.
func TestAChangeIsAllowedByTheVaultAsItIs(t *testing.T) {
	e := newEnv(t)
	e.put(kv, `{"location":"westeurope","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","enableRbacAuthorization":true}}`)
	s := spec(t, `{"properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","enableRbacAuthorization":false,"accessPolicies":[]}}`)
	s.Allow = func(had vault.Vault) error {
		if had.RBAC {
			return problem.New(problem.Denied, "not you")
		}
		return nil
	}
	_, _, err := e.Put(e.ctx, kv, by, s)
	wants(t, err, problem.Denied, "")
	_, err = e.Patch(e.ctx, kv, by, s)
	wants(t, err, problem.Denied, "")
	if v, err := e.Get(e.ctx, kv); err != nil || !v.RBAC {
		t.Errorf("the vault was changed: %+v, %v", v, err)
	}
}

func TestReplacingDoesNotChangeWhoDecides(t *testing.T) {
	e := newEnv(t)
	e.put(kv, `{"location":"westeurope","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","enableRbacAuthorization":true}}`)
	if v := e.put(kv, plain); !v.RBAC {
		t.Errorf("policies decide: %+v", v)
	}
}
