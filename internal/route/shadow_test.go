package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
)

func httpFunction(name, route string, level funcapp.AuthLevel, methods ...string) funcapp.Function {
	return funcapp.Function{Name: name, Directory: "/" + name, Bindings: []funcapp.Binding{{
		Name: "req", Type: "httpTrigger", HTTP: &funcapp.HTTPTrigger{Route: route, HasRoute: true, AuthLevel: level, Methods: methods},
	}}}
}

func TestRoutesHiddenByEarlierOnesAreFound(t *testing.T) {
	table, conflicts := Build("api", []funcapp.Function{
		httpFunction("a", "{*path}", funcapp.LevelAnonymous, "GET"),
		httpFunction("b", "secret/{id:int}", funcapp.LevelFunction, "GET"),
		httpFunction("c", "secret/{id:guid}/x", funcapp.LevelFunction, "POST"),
	})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	var got []string
	for _, s := range table.Shadows() {
		got = append(got, s.Hidden.Name+" by "+s.By.Name+" at "+s.Method+" "+s.Path)
	}
	if diff := cmp.Diff([]string{"b by a at GET /api/secret/7"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFaultyFunctionsHearOfTheirRouteToo(t *testing.T) {
	f := httpFunction("a", "admin/x", funcapp.LevelAnonymous)
	f.Faults = []funcapp.Fault{{Message: "something else"}}
	table, conflicts := Build("api", []funcapp.Function{f})
	if len(conflicts) != 1 || len(table.Entries()) != 0 {
		t.Errorf("%v, %d routes", conflicts, len(table.Entries()))
	}
}
