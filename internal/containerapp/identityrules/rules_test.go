package identityrules_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/identity"
)

const user = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/One"

var (
	own   = identity.Assigned{System: true, ResourceID: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/containerApps/a", ObjectID: "o1", AppID: "c1"}
	given = identity.Assigned{ResourceID: user, ObjectID: "o2", AppID: "c2"}
)

func TestLifecyclesDecideWhichContainersGetTokens(t *testing.T) {
	tests := []struct {
		life       identityrules.Lifecycle
		init, main bool
	}{
		{identityrules.All, true, true},
		{identityrules.Init, true, false},
		{identityrules.Main, false, true},
		{identityrules.None, false, false},
		{"Typo", false, false},
	}
	spellings := map[string]identity.Assigned{"system": own, "System": own, user: given, strings.ToLower(user): given, user + "/": given}
	for _, tt := range tests {
		for spelled, who := range spellings {
			for _, noInit := range []bool{false, true} {
				rules := identityrules.New([]identityrules.Setting{{Identity: spelled, Lifecycle: tt.life}}, noInit)
				got := []bool{rules.Decide(who, identityrules.InitContainer).Allowed, rules.Decide(who, identityrules.MainContainer).Allowed, rules.Decide(who, "job").Allowed}
				if want := []bool{tt.init && !noInit, tt.main, false}; !slices.Equal(got, want) {
					t.Errorf("%s of %q, no identities for init containers: %v: init, main, other may: %v, want %v", tt.life, spelled, noInit, got, want)
				}
				for _, role := range []identityrules.Role{identityrules.InitContainer, identityrules.MainContainer} {
					d := rules.Decide(who, role)
					if d.Allowed == (d.Reason != "") {
						t.Errorf("%s, %s: %+v", tt.life, role, d)
					}
					if there := len(rules.Usable([]identity.Assigned{who}, role)) == 1; there != d.Allowed {
						t.Errorf("%s, %s: usable %v, allowed %v", tt.life, role, there, d.Allowed)
					}
				}
			}
		}
	}
}

func TestIdentitiesWithoutASettingAreForAllContainers(t *testing.T) {
	rules := identityrules.New([]identityrules.Setting{{Identity: user, Lifecycle: identityrules.None}}, false)
	for _, role := range []identityrules.Role{identityrules.InitContainer, identityrules.MainContainer} {
		if got := rules.Usable([]identity.Assigned{own, given}, role); len(got) != 1 || got[0] != own {
			t.Errorf("%s may use %+v", role, got)
		}
	}
	var none identityrules.Rules
	if got := none.Usable([]identity.Assigned{own, given}, identityrules.InitContainer); len(got) != 2 {
		t.Errorf("without settings: %+v", got)
	}
}

func TestLifecyclesAreReadWhateverTheirCase(t *testing.T) {
	for text, want := range map[string]identityrules.Lifecycle{"": identityrules.All, "all": identityrules.All, "INIT": identityrules.Init, "Main": identityrules.Main, "none": identityrules.None, "Mian": ""} {
		if got, ok := identityrules.ParseLifecycle(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}
