package authz

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/resource"
)

func scope(t testing.TB, text string) resource.ID {
	t.Helper()
	id, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var roles = []Role{
	{ID: "R-owner", Name: "Owner", Permissions: []Permission{{Actions: []string{"*"}}}},
	{ID: "r-reader", Name: "Reader", Permissions: []Permission{{Actions: []string{"*/read"}}}},
	{ID: "r-contributor", Name: "Contributor", Permissions: []Permission{{
		Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"},
	}}},
	{ID: "r-secrets", Name: "Secrets", Permissions: []Permission{{
		Actions: []string{"V/vaults/read"}, DataActions: []string{"V/vaults/secrets/*"}, NotDataActions: []string{"V/vaults/secrets/purge"},
	}}},
	{ID: "r-two", Name: "Two parts", Permissions: []Permission{
		{Actions: []string{"A/*"}, NotActions: []string{"A/b"}},
		{Actions: []string{"A/b"}},
		{Actions: []string{"C/*"}, NotActions: []string{"C/*"}},
	}},
	{ID: "r-nothing", Name: "Nothing"},
}

const (
	groupScope = "/subscriptions/S/resourceGroups/G"
	siteScope  = groupScope + "/providers/Microsoft.Web/sites/x"
)

func TestAllow(t *testing.T) {
	at := func(id, who, role, where string) Assignment { return Assignment{id, who, role, scope(t, where)} }
	p := NewPolicy(roles, []Assignment{
		at("1", "Olga", "r-OWNER", "/"),
		at("2", "rita", "r-reader", groupScope),
		at("3", "carl", "r-contributor", siteScope),
		at("4", "sam", "r-secrets", "/subscriptions/S"),
		at("5", "tom", "r-two", "/subscriptions/s"),
		at("6", "staff", "r-reader", "/subscriptions/S"),
		at("7", "nora", "r-nothing", "/"),
		at("8", "gone", "r-deleted", "/"),
		at("9", "", "r-owner", "/"),
		at("10", "two", "r-nothing", "/"), at("11", "two", "r-reader", siteScope),
	})
	for _, tt := range []struct {
		name, who, groups, action, scope string
		data                             bool
		allowed                          bool
		assignment                       string
	}{
		{name: "an owner of the root does anything anywhere", who: "olga", action: "Any/thing/delete", scope: siteScope, allowed: true, assignment: "1"},
		{name: "an owner does nothing with data", who: "olga", action: "Any/thing", scope: siteScope, data: true},
		{name: "a reader reads below the scope", who: "RITA", action: "Microsoft.Web/sites/READ", scope: siteScope, allowed: true, assignment: "2"},
		{name: "and at the scope in another case", who: "rita", action: "a/read", scope: strings.ToUpper(groupScope), allowed: true, assignment: "2"},
		{name: "but not above it", who: "rita", action: "a/read", scope: "/subscriptions/S"},
		{name: "nor at the root", who: "rita", action: "a/read", scope: "/"},
		{name: "nor beside it", who: "rita", action: "a/read", scope: groupScope + "2"},
		{name: "and does not write", who: "rita", action: "Microsoft.Web/sites/write", scope: siteScope},
		{name: "read must be the last part", who: "rita", action: "a/read/b", scope: siteScope},
		{name: "and a part of its own", who: "rita", action: "read", scope: siteScope},
		{name: "a contributor writes", who: "carl", action: "Microsoft.Web/sites/write", scope: siteScope, allowed: true, assignment: "3"},
		{name: "but gives no roles", who: "carl", action: "microsoft.authorization/roleAssignments/write", scope: siteScope},
		{name: "and reads them", who: "carl", action: "Microsoft.Authorization/roleAssignments/read", scope: siteScope, allowed: true, assignment: "3"},
		{name: "data actions are of their own", who: "sam", action: "V/vaults/secrets/get", scope: siteScope, data: true, allowed: true, assignment: "4"},
		{name: "and are taken away by their own", who: "sam", action: "V/vaults/secrets/purge", scope: siteScope, data: true},
		{name: "and do not count as actions", who: "sam", action: "V/vaults/secrets/get", scope: siteScope},
		{name: "nor actions as data actions", who: "sam", action: "V/vaults/read", scope: siteScope, data: true},
		{name: "what one part takes away another gives", who: "tom", action: "A/b", scope: siteScope, allowed: true, assignment: "5"},
		{name: "a part can take away all it gives", who: "tom", action: "C/x", scope: siteScope},
		{name: "groups count", who: "x", groups: "other,staff", action: "a/read", scope: siteScope, allowed: true, assignment: "6"},
		{name: "without the group nothing does", who: "x", action: "a/read", scope: siteScope},
		{name: "a role without permissions allows nothing", who: "nora", action: "a/read", scope: siteScope},
		{name: "an unknown role allows nothing", who: "gone", action: "a/read", scope: siteScope},
		{name: "an assignment to nobody is nobody's", who: "", action: "a/read", scope: siteScope},
		{name: "an empty group is nobody's", who: "x", groups: ",", action: "a/read", scope: siteScope},
		{name: "a second assignment can allow", who: "two", action: "a/read", scope: siteScope, allowed: true, assignment: "11"},
		{name: "no action is an action", who: "rita", action: "", scope: siteScope},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Principal: tt.who, Action: tt.action, Data: tt.data, Scope: scope(t, tt.scope)}
			if tt.groups != "" {
				r.Groups = strings.Split(tt.groups, ",")
			}
			d := p.Allow(r)
			if d.Allowed != tt.allowed || d.Assignment != tt.assignment || d.Reason == "" || d.Allowed != (d.Role != "") {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestReasonsTellWhatIsMissing(t *testing.T) {
	p := NewPolicy(roles, []Assignment{{"1", "rita", "r-reader", scope(t, groupScope)}})
	allowed := p.Allow(Request{Principal: "rita", Action: "a/read", Scope: scope(t, siteScope)}).Reason
	if !strings.Contains(allowed, "Reader") || !strings.Contains(allowed, groupScope) {
		t.Errorf("allowed because %s", allowed)
	}
	action := p.Allow(Request{Principal: "rita", Action: "a/write", Scope: scope(t, siteScope)}).Reason
	place := p.Allow(Request{Principal: "rita", Action: "a/read", Scope: resource.Root}).Reason
	if action == place {
		t.Errorf("denied for the action and for the scope with the same reason: %s", action)
	}
}

func TestPolicyShowsWhatAPrincipalHas(t *testing.T) {
	p := NewPolicy(roles, []Assignment{
		{"1", "Rita", "R-READER", scope(t, groupScope)}, {"2", "rita", "r-owner", scope(t, siteScope)}, {"3", "x", "r-owner", resource.Root},
	})
	list := p.AssignmentsOf("RITA")
	if len(list) != 2 || list[0].ID != "1" {
		t.Errorf("got %+v", list)
	}
	list[0].ID = "changed"
	if p.AssignmentsOf("rita")[0].ID != "1" {
		t.Error("the list given is the policy's own")
	}
	if diff := cmp.Diff(roles[1].Permissions, p.Permissions("rita", scope(t, groupScope))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(p.Permissions("rita", scope(t, siteScope))); n != 2 {
		t.Errorf("%d permissions at the site", n)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b/c", true}, {"**", "x", true},
		{"a/read", "a/read", true}, {"a/read", "a/reads", false}, {"a/read", "xa/read", false},
		{"*/read", "a/b/read", true}, {"*/read", "/read", true}, {"*/read", "read", false}, {"*/read", "a/read/x", false},
		{"a/*", "a/", true}, {"a/*", "a", false}, {"a/*/c", "a/b/b/c", true}, {"a/*/c", "a/c", false}, {"a/*/c", "a//c", true},
		{"ab*ba", "aba", false}, {"ab*ba", "abba", true}, {"*a*a", "a", false}, {"*a*a", "aa", true}, {"*ab*ab", "abxab", true},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-c-b", false}, {"a.b", "axb", false}, {"a?b", "axb", false},
	} {
		if got := match(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.text, got)
		}
	}
}

// FuzzMatch compares match with a regular expression.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"*/read", "a/b/read"}, {"ab*ba", "aba"}, {"*a*a*", "banana"}, {"**", "\n"}, {"a.*", "a."}, {"", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 500 {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		oracle := regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		if got, want := match(pattern, text), oracle.MatchString(text); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, text, got, want)
		}
	})
}
