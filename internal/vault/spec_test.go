package vault_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

func TestSpecNamesWhatIsWrong(t *testing.T) {
	in := func(p string) string { return `{"properties":{` + p + `}}` }
	tests := []struct{ body, member string }{
		{`[]`, "the body must be an object"},
		{`{`, "the body is no valid JSON"},
		{`{"location":7}`, "location"},
		{`{"location":"<x>"}`, "location"},
		{`{"tags":{"a":{}}}`, "tags"},
		{`{"tags":{"<":"1"}}`, "tags"},
		{in(`"tenantId":"x"`), "properties.tenantId"},
		{in(`"sku":{"name":"huge"}`), "properties.sku.name"},
		{in(`"sku":{"family":"B","name":"standard"}`), "properties.sku.family"},
		{in(`"enableSoftDelete":false`), "properties.enableSoftDelete"},
		{in(`"enablePurgeProtection":false`), "properties.enablePurgeProtection"},
		{in(`"enableRbacAuthorization":"yes"`), "properties.enableRbacAuthorization"},
		{in(`"softDeleteRetentionInDays":6`), "properties.softDeleteRetentionInDays"},
		{in(`"softDeleteRetentionInDays":91`), "properties.softDeleteRetentionInDays"},
		{in(`"softDeleteRetentionInDays":7.5`), "properties.softDeleteRetentionInDays"},
		{in(`"publicNetworkAccess":"maybe"`), "properties.publicNetworkAccess"},
		{in(`"networkAcls":{"bypass":"all"}`), "properties.networkAcls.bypass"},
		{in(`"networkAcls":{"defaultAction":"all"}`), "properties.networkAcls.defaultAction"},
		{in(`"networkAcls":{"ipRules":[{"value":"1.2.3.4"},{"value":"1.2.3"}]}`), "properties.networkAcls.ipRules[1].value"},
		{in(`"networkAcls":{"virtualNetworkRules":[{}]}`), "properties.networkAcls.virtualNetworkRules[0].id"},
		{in(`"createMode":"again"`), "properties.createMode"},
		{in(`"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"x"}]`), "properties.accessPolicies[0].objectId"},
		{in(`"accessPolicies":[{"tenantId":"x","objectId":"` + alice + `"}]`), "properties.accessPolicies[0].tenantId"},
		{in(`"accessPolicies":[` + policy(alice, "", `"fly"`) + `]`), "properties.accessPolicies[0].permissions.secrets"},
		{in(`"accessPolicies":[` + policy(alice, "x", `"get"`) + `]`), "properties.accessPolicies[0].applicationId"},
	}
	for _, tt := range tests {
		_, err := vault.ParseSpec([]byte(tt.body))
		wants(t, err, problem.Invalid, "")
		mention(t, err, tt.member)
	}
	_, err := vault.ParseSpec([]byte(`"` + strings.Repeat("x", 600<<10) + `"`))
	wants(t, err, problem.TooLarge, "")
	_, err = vault.ParsePolicies([]byte(`{"properties":{}}`))
	wants(t, err, problem.Invalid, "")
}

func TestNewVaultMustSayEnough(t *testing.T) {
	e := newEnv(t)
	tests := []struct{ body, member string }{
		{`{"location":"x"}`, "properties.sku"},
		{`{"location":"x","properties":{"sku":{"name":"standard"}}}`, "properties.tenantId"},
		{`{"location":"x","properties":{"sku":{"name":"standard"},"tenantId":"` + tenant + `"}}`, "properties.accessPolicies"},
		{`{"properties":{"sku":{"name":"standard"},"tenantId":"` + tenant + `","accessPolicies":[]}}`, "location"},
	}
	for _, tt := range tests {
		_, _, err := e.Put(e.ctx, kv, by, spec(t, tt.body))
		wants(t, err, problem.Invalid, "")
		mention(t, err, tt.member)
	}
	_, _, err := e.Put(e.ctx, id("a--b"), by, spec(t, plain))
	wants(t, err, problem.Invalid, vault.NameInvalid)
}

func FuzzSpec(f *testing.F) {
	f.Add(plain)
	f.Add(`{"properties":{"createMode":"recover","networkAcls":{"ipRules":[{"value":"10.0.0.0/8"}]},"accessPolicies":[` + policy(alice, portal, `"get"`) + `]}}`)
	f.Add(`{"tags":{"a":null},"properties":{"accessPolicies":null,"sku":null}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if s, err := vault.ParseSpec([]byte(body)); err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Fatal(err)
			}
		} else if len(s.Tags) > 15 {
			t.Fatal("too many tags")
		}
		if _, err := vault.ParsePolicies([]byte(body)); err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Fatal(err)
			}
		}
	})
}
