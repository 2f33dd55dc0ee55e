package keyref_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keyref"
)

func TestReferencesAreRead(t *testing.T) {
	const version = "0123456789abcdef0123456789abcdef"
	byURI := keyref.Ref{Host: "shop-kv.vault.azure.net", Vault: "shop-kv", Secret: "db-Password"}
	byName := keyref.Ref{Vault: "shop-kv", Secret: "db-Password"}
	pinned := func(r keyref.Ref) keyref.Ref { r.Version = version; return r }
	local := byURI
	local.Host = "shop-kv.vault.localhost:7443"
	for value, want := range map[string]keyref.Ref{
		"@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.azure.net/secrets/db-Password)":                  byURI,
		"@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.azure.net/secrets/db-Password/)":                 byURI,
		"@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.azure.net/secrets/db-Password/" + version + ")":  pinned(byURI),
		"@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.azure.net/secrets/db-Password/" + version + "/)": pinned(byURI),
		"@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.localhost:7443/secrets/db-Password)":             local,
		"@microsoft.keyvault( secreturi = HTTPS://shop-kv.Vault.Azure.NET/Secrets/db-Password ; )":            byURI,
		"@Microsoft.KeyVault(VaultName=shop-kv;SecretName=db-Password)":                                       byName,
		"@Microsoft.KeyVault(SecretName=db-Password;VaultName=shop-kv)":                                       byName,
		"@Microsoft.KeyVault(VaultName=shop-kv; SecretName=db-Password; SecretVersion=" + version + ")":       pinned(byName),
		"@MICROSOFT.KEYVAULT(VAULTNAME=shop-kv;secretname=db-Password;secretVERSION=" + version + ";)":        pinned(byName),
		"@Microsoft.KeyVault(VaultName=shop-kv;SecretName=db-Password;SecretVersion=)":                        byName,
		"@Microsoft.KeyVault(\n\tVaultName = shop-kv ;\n\tSecretName = db-Password\n)":                        byName,
	} {
		want.Text = value
		got, is, err := keyref.Parse(value)
		if !is || err != nil {
			t.Errorf("%s: %v, %v", value, is, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", value, diff)
		}
		if got.Pinned() != (want.Version != "") {
			t.Errorf("%s is pinned: %v", value, got.Pinned())
		}
	}
}

func TestOtherValuesAreNoReferences(t *testing.T) {
	for _, value := range []string{
		"", "plain", "@Microsoft.KeyVault", "@Microsoft.KeyVault(", "@Microsoft.KeyVault(VaultName=shop;SecretName=s",
		"x@Microsoft.KeyVault(VaultName=shop;SecretName=s)", "@Microsoft.KeyVault(VaultName=shop;SecretName=s)x",
		" @Microsoft.KeyVault(VaultName=shop;SecretName=s)", "@Microsoft.AppConfiguration(Endpoint=https://x)",
		"@Microsoft.KeyVault (VaultName=shop;SecretName=s)", "@Microsoft.KeyVaultX(VaultName=shop;SecretName=s)",
	} {
		if ref, is, err := keyref.Parse(value); is || err != nil || ref != (keyref.Ref{}) {
			t.Errorf("%q: %+v, %v, %v", value, ref, is, err)
		}
	}
}

// TestFaultsAreShown has values in which › stands before what is wrong.
func TestFaultsAreShown(t *testing.T) {
	for value, want := range map[string]string{
		"@Microsoft.KeyVault(›)":                                                             "nothing between",
		"@Microsoft.KeyVault( ›;)":                                                           "a part is empty",
		"@Microsoft.KeyVault(VaultName=shop;›;SecretName=s)":                                 "a part is empty",
		"@Microsoft.KeyVault(VaultName=shop›)":                                               "SecretName is missing",
		"@Microsoft.KeyVault(SecretName=s›)":                                                 "VaultName is missing",
		"@Microsoft.KeyVault(VaultName=shop;SecretVersion=1›)":                               "SecretName is missing",
		"@Microsoft.KeyVault(VaultName=shop; ›Secret=s)":                                     `unknown part "Secret"`,
		"@Microsoft.KeyVault(›shop)":                                                         "no equals sign",
		"@Microsoft.KeyVault(VaultName=shop;SecretName=a;›secretname=b)":                     "SecretName is given twice",
		"@Microsoft.KeyVault(VaultName=›;SecretName=s)":                                      "1 to 24",
		"@Microsoft.KeyVault(VaultName=›a234567890123456789012345;SecretName=s)":             "1 to 24",
		"@Microsoft.KeyVault(VaultName=›1shop;SecretName=s)":                                 "begin with a letter",
		"@Microsoft.KeyVault(VaultName=sh›--op;SecretName=s)":                                "two hyphens",
		"@Microsoft.KeyVault(VaultName=shop›-;SecretName=s)":                                 "end with a hyphen",
		"@Microsoft.KeyVault(VaultName=sh›.op;SecretName=s)":                                 "letters, digits",
		"@Microsoft.KeyVault(VaultName=shop;SecretName=›)":                                   "1 to 127",
		"@Microsoft.KeyVault(VaultName=shop;SecretName=a›_b)":                                "letters, digits",
		"@Microsoft.KeyVault(VaultName=shop;SecretName=s;SecretVersion=a›/b)":                "letters, digits",
		"@Microsoft.KeyVault(SecretUri=›)":                                                   "empty",
		"@Microsoft.KeyVault(SecretUri=›http://shop.vault.azure.net/secrets/s)":              "must begin with https",
		"@Microsoft.KeyVault(SecretUri=https://›/secrets/s)":                                 "1 to 24",
		"@Microsoft.KeyVault(SecretUri=https://›shop/secrets/s)":                             "followed by a domain",
		"@Microsoft.KeyVault(SecretUri=https://shop.›_x.net/secrets/s)":                      "not a host name",
		"@Microsoft.KeyVault(SecretUri=https://shop.›.net/secrets/s)":                        "not a host name",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net:›0/secrets/s)":           "port",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net:›x/secrets/s)":           "port",
		"@Microsoft.KeyVault(SecretUri=https://me›@shop.vault.azure.net/secrets/s)":          "character",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s›?x=1)":         "character",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s›%20)":          "character",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/›keys/s)":                "begin with /secrets/",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net›)":                       "begin with /secrets/",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets›/)":              "name of the secret is missing",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/›/v)":            "1 to 127",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s/›/)":           "version in SecretUri is empty",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s/v›/more)":      "more than a name",
		"@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s;›VaultName=x)": "together with SecretUri",
	} {
		before, after, _ := strings.Cut(value, "›")
		ref, is, err := keyref.Parse(before + after)
		if !is || err == nil || !strings.Contains(err.Error(), want) || ref.Text != before+after {
			t.Errorf("%s: %+v, %v, %v", value, ref, is, err)
			continue
		}
		slack := 0
		if want == "begin with /secrets/" && after == ")" { // nothing follows the host
			slack = 1
		}
		if at := err.Position - slack; at != len(before) {
			t.Errorf("%s: %v, not position %d", value, err, len(before)+1)
		}
	}
	_, _, err := keyref.Parse("@Microsoft.KeyVault(Vault=kv)")
	if diff := cmp.Diff(`unknown part "Vault" at position 21`, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/s/v)")
	f.Add("@Microsoft.KeyVault(VaultName=shop;SecretName=s;SecretVersion=v)")
	f.Add("@Microsoft.KeyVault(;=)")
	f.Fuzz(func(t *testing.T, value string) {
		ref, is, err := keyref.Parse(value)
		switch {
		case !is && (err != nil || ref != (keyref.Ref{})):
			t.Errorf("%q is no reference and gives %+v, %v", value, ref, err)
		case is && ref.Text != value:
			t.Errorf("%q became %q", value, ref.Text)
		case is && err != nil && (err.Position < 0 || err.Position > len(value) || err.Problem == ""):
			t.Errorf("%q: %+v", value, err)
		case is && err == nil:
			again := "@Microsoft.KeyVault(VaultName=" + ref.Vault + ";SecretName=" + ref.Secret + ";SecretVersion=" + ref.Version + ")"
			other, is, err := keyref.Parse(again)
			if !is || err != nil || other.Vault != ref.Vault || other.Secret != ref.Secret || other.Version != ref.Version {
				t.Errorf("%q gives %+v, written anew %+v, %v", value, ref, other, err)
			}
		}
	})
}
