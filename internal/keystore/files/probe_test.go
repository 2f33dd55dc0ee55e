package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

// TestWhetherAFolderCanBeWrittenIsKnownWithoutATrace also for one that is not there.
func TestWhetherAFolderCanBeWrittenIsKnownWithoutATrace(t *testing.T) {
	dir := t.TempDir()
	for _, at := range []string{dir, filepath.Join(dir, "a", "b")} {
		for _, p := range open(at, nil).Probe(t.Context()) {
			if p.Err != nil {
				t.Errorf("%s: %s: %v", at, p.What, p.Err)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	for _, p := range open("/proc/self/none", nil).Probe(t.Context()) { // nobody can, root included
		if os.Getuid() != 0 && !errors.Is(p.Err, problem.Denied) {
			t.Errorf("%s: %v", p.What, p.Err)
		}
	}
}
