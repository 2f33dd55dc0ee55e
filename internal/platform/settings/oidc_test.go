package settings_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestTheIssuerOfThePortal(t *testing.T) {
	f, err := settings.Load(write(t, `portal:
  oidc:
    issuer: https://login.example.com/tenant/v2.0
    clientId: latchkey
    groupsClaim: groups
    groups: ["CN=Ops,OU=IT=operators", "readers = everybody"]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := f.Portal.OIDC
	if want := map[string]string{"CN=Ops,OU=IT": "operators", "readers": "everybody"}; !maps.Equal(o.GroupOf(), want) || o.Title() != "login.example.com" {
		t.Errorf("%v, %q", o.GroupOf(), o.Title())
	}
	for text, part := range map[string]string{
		"clientId: x": "portal.oidc.issuer",
		"issuer: http://x.example\n    clientId: x":                                          "https URL",
		"issuer: https://x.example":                                                          "portal.oidc.clientId",
		"issuer: https://x.example\n    clientId: x\n    groups: [a=b]":                      "groupsClaim",
		"issuer: https://x.example\n    clientId: x\n    groupsClaim: g\n    groups: [a]":    "groups[0]",
		"issuer: https://x.example\n    clientId: x\n    groupsClaim: g\n    groups: [=b]":   "groups[0]",
		"issuer: https://x.example\n    clientId: x\n    clientSecret: do not write it here": "unknown setting",
	} {
		_, err := settings.Load(write(t, "portal:\n  oidc:\n    "+text+"\n"), nil)
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "do not write") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
