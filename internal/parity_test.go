package internal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	claimedTest   = regexp.MustCompile("`([a-z]+)\\.(Test[A-Za-z0-9_]+)`")
	claimedScript = regexp.MustCompile("script `([a-z]+)`")
	testFunction  = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(t \*testing\.T\)`)
)

// TestParityNamesRealTests keeps docs/parity.md honest: every test and script it
// names as proof must exist.
func TestParityNamesRealTests(t *testing.T) {
	text, err := os.ReadFile("../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	claims := claimedTest.FindAllStringSubmatch(string(text), -1)
	if len(claims) < 50 {
		t.Fatalf("found only %d claims; did the form of the page change?", len(claims))
	}
	for _, c := range claims {
		if !tests[c[1]+"."+c[2]] {
			t.Errorf("parity.md names %s.%s, which is no test", c[1], c[2])
		}
	}
	for _, c := range claimedScript.FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat("cli/testdata/script/" + c[1] + ".txtar"); err != nil {
			t.Errorf("parity.md names script %s: %v", c[1], err)
		}
	}
}

// testNames gives all tests as folder.TestName.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder := filepath.Base(filepath.Dir(path))
		for _, m := range testFunction.FindAllStringSubmatch(string(source), -1) {
			names[folder+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
