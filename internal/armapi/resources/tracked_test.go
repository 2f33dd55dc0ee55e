package resources

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/resources/query"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
)

// TestNothingIsRefusedByItsIDThatWouldBeChosen tries conditions on resources and
// on what their ids say of them.
func TestNothingIsRefusedByItsIDThatWouldBeChosen(t *testing.T) {
	s := &Service{cfg: Config{TenantID: "tenant"}}
	group := resource.Group(testSub, "Mine")
	var all []inventory.Resource
	for _, name := range []string{"Shop", "shop", "Other"} {
		id := group.Child("Microsoft.Web", "sites", name)
		all = append(all,
			inventory.Resource{ID: id.String(), Location: "local", Kind: "functionapp"},
			inventory.Resource{ID: id.Child("", "slots", name).String(), Location: "west", Tags: map[string]string{"team": name}})
	}
	for _, condition := range []string{
		"name == 'Shop'", "name != 'Shop'", "not (name == 'Shop')", "name =~ 'SHOP'", "name !~ 'SHOP'", "name in ('Shop')", "name in~ ('SHOP')",
		"id contains 'Shop'", "id == '" + all[0].ID + "'", "type == 'microsoft.web/sites'", "type =~ 'Microsoft.Web/sites' and name =~ 'Shop'",
		"location =~ 'local' and name =~ 'shop'", "not (location =~ 'local') or name =~ 'other'", "resourceGroup == 'mine'", "resourceGroup == 'Mine'",
		"subscriptionId == '" + testSub + "'", "tags.team == 'Shop'", "kind == '' and Name startswith 'sh'", "tenantId == 'tenant'",
	} {
		q, err := query.ParseGraph("where "+condition, isGraphField)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		for _, r := range all {
			chosen := q.Where(func(field string) string { return text(s.graphValue(r, field)) })
			if maybe := possible(q.Where, entryGraphValue(entryOf(t, r), q)); chosen && !maybe {
				t.Errorf("%s: %s is refused by its id", condition, r.ID)
			}
		}
	}
	for _, text := range []string{
		"name eq 'SHOP'", "name ne 'shop'", "not (name eq 'shop')", "resourceType eq 'Microsoft.Web/sites'", "substringof('OP',name)",
		"tagName eq 'team' and tagValue eq 'Shop'", "tagName eq 'team' or name eq 'shop'", "location eq 'local' and name eq 'shop'", "resourceGroup eq 'MINE'",
	} {
		f, err := query.ParseFilter(text, filterFields...)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, r := range all {
			match := func(fields query.Fields) bool { return f.Match(fields, nil) }
			if f.Match(filterValue(r), r.Tags) && !possible(match, filterName(entryOf(t, r).ID)) {
				t.Errorf("%s: %s is refused by its id", text, r.ID)
			}
		}
	}
}

// entryOf gives the entry of a resource as the inventory has it.
func entryOf(t *testing.T, r inventory.Resource) inventory.Entry {
	t.Helper()
	id, err := resource.Parse(strings.ToLower(r.ID))
	if err != nil {
		t.Fatal(err)
	}
	return inventory.Entry{ID: id, Type: r.ResourceID().Type()}
}

func TestIDsRefuseWhatTheyCan(t *testing.T) {
	q, err := query.ParseGraph("where type =~ 'Microsoft.Web/sites' | where name =~ 'shop' | where location =~ 'local'", isGraphField)
	if err != nil {
		t.Fatal(err)
	}
	group := resource.Group(testSub, "g")
	for name, want := range map[string]bool{"Shop": true, "other": false} {
		e := entryOf(t, inventory.Resource{ID: group.Child("Microsoft.Web", "sites", name).String()})
		if got := possible(q.Where, entryGraphValue(e, q)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestListsLongerThanOneRead has pages that take several reads, of two types whose
// ids alternate, one of which has members that are not tracked.
func TestListsLongerThanOneRead(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", sub+"/resourcegroups/g", `{"location":"local"}`, 201)
	var want []string
	for i := range 2*readTogether + readSingly/2 {
		r := inventory.Resource{Location: "local"}
		id := resource.Group(testSub, "g").Child("Microsoft.Web", []string{"sites", "serverfarms"}[i%2], fmt.Sprintf("App-%04d", i))
		if i%5 == 0 {
			r.Location = ""
		} else {
			want = append(want, id.String())
		}
		f.put(id, r)
	}
	for _, top := range []int{3, readTogether - 1, readTogether, 1000} {
		var got []string
		for next := fmt.Sprintf("%s/resources?%%24top=%d", sub, top); next != ""; {
			page := f.do("GET", next, "", 200)
			for _, item := range page["value"].([]any) {
				got = append(got, item.(map[string]any)["id"].(string))
			}
			link, _ := page["nextLink"].(string)
			if next = ""; link != "" {
				u, err := url.Parse(link)
				if err != nil {
					t.Fatal(err)
				}
				next = u.RequestURI()
			}
			if top == 3 && len(got) > 30 {
				break
			}
		}
		slices.SortFunc(want, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		if diff := cmp.Diff(want[:min(len(got), len(want))], got); diff != "" || top > 3 && len(got) != len(want) {
			t.Errorf("pages of %d: %d of %d (-want +got):\n%s", top, len(got), len(want), diff)
		}
	}
}
