package route

import (
	"testing"

	"github.com/latchkey/latchkey/internal/funcapp"
)

func TestPathsThatReadTwoWaysAreAmbiguous(t *testing.T) {
	table, _ := Build("api", []funcapp.Function{
		httpFunction("a", "{name}", funcapp.LevelAnonymous),
		httpFunction("b", "x/y", funcapp.LevelFunction),
		httpFunction("c", "z", funcapp.LevelFunction),
	})
	for path, want := range map[string]bool{
		"/api/x%2Fy": true, "/api/x%2fy": true, "/api/x;v=1%2Fy": true, "/api/q%2Fr": false, "/api/q;r": false, "/api/q": false, "/api/100%25": false,
	} {
		e, _ := table.Match("GET", path, nil)
		if e == nil {
			t.Fatalf("%s matches nothing", path)
		}
		if got := table.Ambiguous("GET", path, e); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
