package vault_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

func caller() vault.Caller {
	return vault.Caller{ObjectID: alice, AppID: portal, TenantID: tenant, Issuer: "https://sts.windows.net/" + tenant + "/", Address: netip.MustParseAddr("20.1.2.3")}
}

func text(t *testing.T, err error) string {
	t.Helper()
	p, ok := err.(*problem.Error)
	if !ok {
		t.Fatalf("%T", err)
	}
	return p.Message
}

const who = "appid=" + portal + ";oid=" + alice + ";iss=https://sts.windows.net/" + tenant + "/"

func TestAccessPoliciesDecide(t *testing.T) {
	e := newEnv(t)
	v := e.put(kv, plain)
	for _, p := range []string{policy(alice, "", `"get"`), policy(team, "", `"List"`), policy(alice, "22222222-0000-4000-8000-000000000000", `"set"`),
		policy(alice, portal, `"backup"`), policy(bob, "", `"all"`)} {
		var err error
		if v, err = e.ChangePolicies(e.ctx, kv, by, vault.AddPolicies, policies(t, p)); err != nil {
			t.Fatal(err)
		}
	}
	in, other := caller(), caller()
	in.Groups, other.ObjectID = []string{"x", strings.ToUpper(team)}, bob
	tests := []struct {
		name string
		c    vault.Caller
		op   vault.Operation
		ok   bool
	}{
		{"own permission", caller(), vault.Get, true},
		{"reading deleted ones is reading", caller(), vault.GetDeleted, true},
		{"permission of nobody", caller(), vault.Delete, false},
		{"permission of a group not in", caller(), vault.List, false},
		{"permission of a group", in, vault.ListVersions, true},
		{"through another application", caller(), vault.Set, false},
		{"through the application", caller(), vault.Backup, true},
		{"all", other, vault.Restore, true},
		{"all is not purge", other, vault.Purge, false},
		{"updating is setting", other, vault.Update, true},
	}
	for _, tt := range tests {
		_, err := e.Check(e.ctx, v, tt.c, tt.op, "n")
		if tt.ok && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if !tt.ok {
			wants(t, err, problem.Denied, vault.ForbiddenByPolicy)
		}
	}
	_, err := e.Check(e.ctx, v, caller(), vault.Delete, "n")
	if want := "The user, group or application '" + who + "' does not have secrets delete permission on key vault 'Kv-1;location=westeurope'. " +
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"; text(t, err) != want {
		t.Errorf("got %q", text(t, err))
	}
}

func TestRolesDecide(t *testing.T) {
	e := newEnv(t)
	v := e.put(kv, `{"location":"westeurope","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","enableRbacAuthorization":true,"accessPolicies":[`+policy(alice, "", `"all"`)+`]}}`)
	const read = " Microsoft.KeyVault/vaults/secrets/getSecret/action "
	_, err := e.Check(e.ctx, v, caller(), vault.Get, "n")
	wants(t, err, problem.Denied, vault.ForbiddenByRbac)
	want := "Caller is not authorized to perform action on resource.\r\n" +
		"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n" +
		"Caller: " + who + "\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n" +
		"Resource: '" + kv.String() + "/secrets/n'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\n" +
		"DecisionReason: 'DeniedWithNoValidRBAC'\r\nVault: Kv-1;location=westeurope"
	if text(t, err) != want {
		t.Errorf("got %q", text(t, err))
	}
	e.roles.allow(alice+read+kv.String()+"/secrets/n", team+" Microsoft.KeyVault/vaults/secrets/readMetadata/action "+kv.String())
	g, err := e.Check(e.ctx, v, caller(), vault.Get, "N")
	if err != nil || g.Assignment != "/assignment" || g.Role != "Some Role" {
		t.Error(g, err)
	}
	_, err = e.Check(e.ctx, v, caller(), vault.Get, "m")
	wants(t, err, problem.Denied, vault.ForbiddenByRbac)
	_, err = e.Check(e.ctx, v, caller(), vault.Get, "n/secrets/n")
	wants(t, err, problem.Invalid, vault.BadParameter)
	c := caller()
	c.Groups = []string{team}
	if _, err = e.Check(e.ctx, v, c, vault.List, ""); err != nil {
		t.Error(err)
	}
	e.roles.err = problem.New(problem.Unavailable, "not known yet")
	_, err = e.Check(e.ctx, v, caller(), vault.Get, "n")
	wants(t, err, problem.Unavailable, "")
}

func TestNetworkRulesComeFirst(t *testing.T) {
	e := newEnv(t)
	body := func(public, bypass, action, rules string) vault.Vault {
		return e.put(kv, `{"location":"westeurope","properties":{"sku":{"name":"standard"},"tenantId":"`+tenant+`","accessPolicies":[`+policy(alice, "", `"get"`)+`],
			"publicNetworkAccess":"`+public+`","networkAcls":{"bypass":"`+bypass+`","defaultAction":"`+action+`","ipRules":[`+rules+`]}}}`)
	}
	const here, net4, net6 = `{"value":"20.1.2.3"}`, `{"value":"10.9.8.7/8"}`, `{"value":"::1"}`
	tests := []struct {
		name                          string
		public, bypass, action, rules string
		address                       string
		trusted                       bool
		code                          vault.Code
	}{
		{"open", "Enabled", "None", "Allow", "", "20.1.2.3", false, ""},
		{"not in the rules", "Enabled", "AzureServices", "Deny", net4, "20.1.2.3", false, vault.ForbiddenByFirewall},
		{"in the rules", "Enabled", "AzureServices", "Deny", net4 + "," + here, "20.1.2.3", false, ""},
		{"in a range", "Enabled", "AzureServices", "Deny", net4, "10.200.0.1", false, ""},
		{"mapped into IPv6", "Enabled", "AzureServices", "Deny", here, "::ffff:20.1.2.3", false, ""},
		{"loopback is an address like any other", "Enabled", "None", "Deny", here, "127.0.0.1", false, vault.ForbiddenByFirewall},
		{"loopback by its rule", "Enabled", "None", "Deny", net6, "::1", false, ""},
		{"unknown address", "Enabled", "None", "Deny", here, "", false, vault.ForbiddenByFirewall},
		{"trusted", "Enabled", "AzureServices", "Deny", "", "", true, ""},
		{"trusted without bypass", "Enabled", "None", "Deny", "", "20.1.2.3", true, vault.ForbiddenByFirewall},
		{"not public", "Disabled", "AzureServices", "Allow", here, "20.1.2.3", false, vault.ForbiddenByConnection},
		{"not public but trusted", "Disabled", "AzureServices", "Allow", "", "", true, ""},
		{"not public and trusted without bypass", "Disabled", "None", "Allow", "", "", true, vault.ForbiddenByConnection},
	}
	for _, tt := range tests {
		v, c := body(tt.public, tt.bypass, tt.action, tt.rules), caller()
		if c.Trusted, c.Address = tt.trusted, (netip.Addr{}); tt.address != "" {
			c.Address = netip.MustParseAddr(tt.address)
		}
		_, err := e.Check(e.ctx, v, c, vault.Get, "n")
		if tt.code == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		t.Log(tt.name)
		wants(t, err, problem.Denied, tt.code)
	}
	v := body("Enabled", "None", "Deny", "")
	_, err := e.Check(e.ctx, v, caller(), vault.Get, "n")
	if want := "Client address is not authorized and caller is not a trusted service.\r\nClient address: 20.1.2.3\r\nCaller: " + who +
		"\r\nVault: Kv-1;location=westeurope"; text(t, err) != want {
		t.Errorf("got %q", text(t, err))
	}
}

func TestOperationsNameTheirPermissions(t *testing.T) {
	seen := map[string]bool{}
	for op := vault.Get; op <= vault.Restore; op++ {
		if op.String() == "" || op.Permission() == "" || !strings.HasPrefix(op.Action(), "Microsoft.KeyVault/vaults/secrets/") {
			t.Error(int(op), op, op.Permission(), op.Action())
		}
		seen[op.Permission()] = true
	}
	if len(seen) != 8 { // get, list, set, delete, recover, backup, restore, purge
		t.Error(seen)
	}
	if vault.Delete.Action() != "Microsoft.KeyVault/vaults/secrets/delete" || vault.Set.Action() != "Microsoft.KeyVault/vaults/secrets/setSecret/action" || vault.Restore.AboutOne() || !vault.Purge.AboutOne() {
		t.Error("wrong table")
	}
}
