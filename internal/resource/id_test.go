package resource_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const (
	sub  = "/subscriptions/S-1"
	grp  = sub + "/resourceGroups/My-Group"
	site = grp + "/providers/Microsoft.Web/sites/Site"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text, id, typ, name, parent, subscription, group string
	}{
		{"/", "/", "Microsoft.Resources/tenants", "", "/", "", ""},
		{"", "/", "Microsoft.Resources/tenants", "", "/", "", ""},
		{sub, sub, "Microsoft.Resources/subscriptions", "S-1", "/", "S-1", ""},
		{"//SUBSCRIPTIONS/S-1/", sub, "Microsoft.Resources/subscriptions", "S-1", "/", "S-1", ""},
		{"/Subscriptions/S-1/resourcegroups/My-Group/", grp, "Microsoft.Resources/resourceGroups", "My-Group", sub, "S-1", "My-Group"},
		{grp + "/PROVIDERS/Microsoft.Web/sites/Site", site, "Microsoft.Web/sites", "Site", grp, "S-1", "My-Group"},
		{site + "/functions/f", site + "/functions/f", "Microsoft.Web/sites/functions", "f", site, "S-1", "My-Group"},
		{site + "/functions/f/keys/k", site + "/functions/f/keys/k", "Microsoft.Web/sites/functions/keys", "k", site + "/functions/f", "S-1", "My-Group"},
		{site + "/providers/A.B/c/d", site + "/providers/A.B/c/d", "A.B/c", "d", site, "S-1", "My-Group"},
		{sub + "/providers/A.B/c/d", sub + "/providers/A.B/c/d", "A.B/c", "d", sub, "S-1", ""},
		{"/providers/A.B/c/d", "/providers/A.B/c/d", "A.B/c", "d", "/", "", ""},
		{"/providers/A.B/c/d/providers/E.F/g/h", "/providers/A.B/c/d/providers/E.F/g/h", "E.F/g", "h", "/providers/A.B/c/d", "", ""},
		{"/providers/A.B/c/providers", "/providers/A.B/c/providers", "A.B/c", "providers", "/", "", ""},
		{"/subscriptions/providers", "/subscriptions/providers", "Microsoft.Resources/subscriptions", "providers", "/", "providers", ""},
		{sub + "/resourceGroups/providers", sub + "/resourceGroups/providers", "Microsoft.Resources/resourceGroups", "providers", sub, "S-1", "providers"},
		{"/subscriptions/resourceGroups/resourceGroups/resourceGroups", "/subscriptions/resourceGroups/resourceGroups/resourceGroups",
			"Microsoft.Resources/resourceGroups", "resourceGroups", "/subscriptions/resourceGroups", "resourceGroups", "resourceGroups"},
		{"/providers/A.B/resourceGroups/x", "/providers/A.B/resourceGroups/x", "A.B/resourceGroups", "x", "/", "", ""},
	} {
		id, err := resource.Parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		got := []string{id.String(), id.Type(), id.Name(), id.Parent().String(), id.Subscription(), id.Group()}
		if diff := cmp.Diff([]string{tt.id, tt.typ, tt.name, tt.parent, tt.subscription, tt.group}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"/a", "/subscriptions", "/subscriptions/a/b", "/subscriptions/a/resourceGroups", sub + "/resourceGroups/a/b", "/resourceGroups/a",
		"/providers", "/providers/A.B", "/providers/A.B/c", "/providers/A.B/c/d/e", grp + "/providers/A.B/c",
		"/x/providers/A.B/c/d", "/providers/A.B/providers/c", "/providers/A.B/c/d/providers/E.F",
		"/subscriptions/a\x00b", "/subscriptions/a\nb", "/subscriptions/\xff", "/providers/A.B/c/" + "\x7f",
		strings.Repeat("/a", 65), "/providers/A" + strings.Repeat("/a/b", 40),
	} {
		if id, err := resource.Parse(text); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q is %q, %v", text, id, err)
		}
	}
	if _, err := resource.Parse("/subscriptions/" + strings.Repeat("s", resource.MaxID)); !errors.Is(err, problem.TooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestBuild(t *testing.T) {
	web := resource.Group("s", "g").Child("Microsoft.Web", "sites", "x")
	for want, id := range map[string]resource.ID{
		"/":                                 resource.Root,
		"/subscriptions/s":                  resource.Subscription("s"),
		"/subscriptions/s/resourceGroups/g": resource.Group("s", "g"),
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x":                   web,
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x/functions/f":       web.Child("", "functions", "f"),
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x/providers/A.B/c/d": web.Child("A.B", "c", "d"),
		"/providers/A.B/c/d": resource.Root.Child("A.B", "c", "d"),
	} {
		parsed, err := resource.Parse(want)
		if err != nil || id.String() != want || !id.Equal(parsed) || !cmp.Equal(id.Names(), parsed.Names()) {
			t.Errorf("%s: built %s, parsed %s, %v", want, id, parsed, err)
		}
	}
}

func TestChildrenDoNotShareMemory(t *testing.T) {
	parent := resource.Root.Child("A.B", "c", "d").Child("", "e", "f")
	one, two := parent.Child("", "g", "1"), parent.Child("", "g", "2")
	if one.Name() != "1" || two.Name() != "2" {
		t.Errorf("%s and %s", one, two)
	}
	names := parent.Names()
	names[0] = "changed"
	if parent.Names()[0] != "d" {
		t.Error("the names given are the id's own")
	}
}

func TestContains(t *testing.T) {
	for _, tt := range []struct {
		scope, id string
		want      bool
	}{
		{"/", "/", true}, {"/", site, true}, {sub, "/", false}, {sub, sub, true}, {sub, grp, true}, {sub, site, true},
		{sub, "/subscriptions/S-10", false}, {sub, "/subscriptions/S-10/resourceGroups/g", false},
		{strings.ToUpper(grp), site, true}, {grp, grp + "2", false}, {grp, sub, false},
		{site, site + "/functions/f", true}, {site, site + "/providers/A.B/c/d", true}, {site, site + "s", false},
		{site, grp + "/providers/Microsoft.Web/sites/other", false}, {site + "/functions/f", site, false},
	} {
		scope, err := resource.Parse(tt.scope)
		id, err2 := resource.Parse(tt.id)
		if got := scope.Contains(id); got != tt.want || err != nil || err2 != nil {
			t.Errorf("%s contains %s: %v, %v, %v", tt.scope, tt.id, got, err, err2)
		}
	}
}

// FuzzParse holds what parses to the laws of ids.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "/", sub, grp, site, site + "/functions/f/keys/k", site + "/providers/A.B/c/d", "/providers/A.B/c/providers",
		"/subscriptions/resourceGroups/resourceGroups/x", "/providers/A.B/subscriptions/x/resourceGroups/y", "/providers/a/b/c/providers/providers/x/y",
		"/subscriptions/s/providers/providers/providers/providers", "/ſubscriptions/K", "/providers/İ/K/ǅ"} {
		f.Add(s, "/"+s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		a, err := resource.Parse(one)
		if err != nil {
			if kind := problem.KindOf(err); kind != problem.Invalid && kind != problem.TooLarge {
				t.Errorf("%q: %v", one, err)
			}
			return
		}
		wantLaws(t, a)
		b, err := resource.Parse(two)
		if err != nil {
			return
		}
		if keys := a.IsRoot() || a.Key() == b.Key() || strings.HasPrefix(b.Key(), a.Key()+"/"); a.Contains(b) != keys {
			t.Errorf("%q contains %q: %v, by their keys %v", a, b, !keys, keys)
		}
		if a.Contains(b) && b.Contains(a) != a.Equal(b) {
			t.Errorf("%q and %q contain each other and differ", a, b)
		}
		if a.Contains(b) && !a.Contains(b.Parent()) && !a.Equal(b) {
			t.Errorf("%q contains %q but not its parent %q", a, b, b.Parent())
		}
	})
}

func wantLaws(t *testing.T, id resource.ID) {
	t.Helper()
	for _, text := range []string{id.String(), id.String() + "/", id.Key()} {
		again, err := resource.Parse(text)
		if err != nil || !again.Equal(id) || text == id.String() && !cmp.Equal(again.String(), text) {
			t.Fatalf("%q is read back as %q, %v", text, again, err)
		}
		gotType, wantType := strings.ToLower(again.Type()), strings.ToLower(id.Type()) // not the same as folding: İ
		if gotType != wantType || again.IsGroup() != id.IsGroup() || again.IsSubscription() != id.IsSubscription() || again.IsResource() != id.IsResource() {
			t.Fatalf("%q is read back as another kind", text)
		}
	}
	kinds := 0
	for _, is := range []bool{id.IsRoot(), id.IsSubscription(), id.IsGroup(), id.IsResource()} {
		if is {
			kinds++
		}
	}
	if kinds != 1 || id.Group() != "" && id.Subscription() == "" {
		t.Errorf("%q is of %d kinds, in group %q of %q", id, kinds, id.Group(), id.Subscription())
	}
	for steps, at := 0, id; !at.IsRoot(); steps++ {
		up := at.Parent()
		if steps > 70 || !up.Contains(at) || at.Contains(up) || !strings.HasPrefix(at.Key(), strings.TrimSuffix(up.Key(), "/")) {
			t.Fatalf("the parent of %q is %q", at, up)
		}
		if again, err := resource.Parse(up.String()); err != nil || !again.Equal(up) {
			t.Fatalf("the parent %q of %q is read as %q, %v", up, at, again, err)
		}
		at = up
	}
	child, ext := id.Child("N.S", "t", "n"), id.Child("", "t", "n")
	if !child.Parent().Equal(id) || id.IsResource() && !ext.Parent().Equal(id) {
		t.Errorf("a child of %q has the parent %q or %q", id, child.Parent(), ext.Parent())
	}
}
