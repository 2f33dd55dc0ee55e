package process_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/process"
)

// folder makes an image of the suite's program.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "program"), "github.com/latchkey/latchkey/internal/engine/enginetest/program")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text, _ := json.Marshal(map[string]any{"command": []string{"./program"}})
	if err := os.WriteFile(filepath.Join(dir, "container.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestConformance(t *testing.T) {
	image, state := folder(t), t.TempDir()
	enginetest.Run(t, enginetest.Backend{
		Open: func(t *testing.T, cfg engine.Config) engine.Engine {
			e, err := process.Open(process.Config{Config: cfg, Folder: state})
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		Image: image, Missing: filepath.Join(state, "none"), Program: []string{"./program"},
		Kill: func(t *testing.T, o engine.Object) { kill(t, o) },
	})
}

// kill kills the process of a container, found by its mark.
func kill(t *testing.T, o engine.Object) {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range paths {
		env, _ := os.ReadFile(p)
		if !strings.Contains(string(env), "CONTAINER_APP_REPLICA_NAME="+o.Replica+"\x00") {
			continue
		}
		var pid int
		if err := json.Unmarshal([]byte(filepath.Base(filepath.Dir(p))), &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process of %+v", o)
}
