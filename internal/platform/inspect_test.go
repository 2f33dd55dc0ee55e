package platform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPackageWithoutItsProgramIsFaulty: whoever forgot to build the handler learns
// that when deploying, not with the first request.
func TestAPackageWithoutItsProgramIsFaulty(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	faulty := func() bool {
		t.Helper()
		_, faults, err := inspect(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(faults, "\n")
		if strings.Contains(all, dir) {
			t.Errorf("a fault names the node's folder: %s", all)
		}
		return strings.Contains(all, `"bin/handler"`)
	}
	put("host.json", `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"bin/handler"}}}`, 0o644)
	if !faulty() {
		t.Error("a missing program is no fault")
	}
	put("bin/handler", "#!/bin/sh\n", 0o755)
	if faulty() {
		t.Error("a program that is there is a fault")
	}
	put("host.json", `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"node"}}}`, 0o644)
	if faulty() {
		t.Error("a program of the machine is a fault")
	}
}
