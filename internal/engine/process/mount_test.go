package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
)

// A mount's path is the container's, wherever it says it leads: nothing is made
// outside of the replica's folder.
func TestMountsStayBelowTheRoot(t *testing.T) {
	for _, at := range []string{"/data", "/../../data", "/a/../../../data"} {
		dir := t.TempDir()
		s := &site{dir: filepath.Join(dir, "a", "b")}
		root := filepath.Join(s.dir, "replica", "main")
		u := supervise.Unit{Start: engine.Start{Replica: "replica", Container: "main"}, Volumes: []engine.Volume{{Name: "v", Kind: engine.VolumeEmpty}},
			Spec: engine.Container{Mounts: []engine.Mount{{Volume: "v", Path: at}}}}
		if err := s.furnish(root, u); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, "data")); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}
