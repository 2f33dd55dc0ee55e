package incidents

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestThePageNamesTheTests keeps docs/incidents.md and this package together.
func TestThePageNamesTheTests(t *testing.T) {
	page, err := os.ReadFile("../../../docs/incidents.md")
	must(t, err)
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	have := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		must(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllSubmatch(source, -1) {
			have[string(m[1])] = true
		}
	}
	delete(have, t.Name())
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(page), -1)
	names := map[string]bool{}
	for _, m := range named {
		names[m[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(names))); diff != "" {
		t.Errorf("the tests (-) and those the page names (+):\n%s", diff)
	}
}
