package process_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
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
	all := marked(o.Replica)
	if len(all) == 0 {
		t.Fatalf("no process of %+v", o)
	}
	pid, err := strconv.Atoi(all[0])
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatLeftItsProcessGroupEndsWithTheReplica(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("needs setsid: install Debian's package util-linux")
	}
	image := t.TempDir()
	if err := os.WriteFile(filepath.Join(image, "container.json"), []byte(`{"command":["sh","-c","setsid sleep 1000 & echo started; wait"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := process.Open(process.Config{Folder: t.TempDir(), Config: engine.Config{Installation: "orphans", Clock: clock.Real{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ref := engine.Ref{App: "app", Revision: "rev"}
	if err := e.Place(t.Context(), engine.Spec{Ref: ref, Replicas: 1, Grace: time.Second, Main: []engine.Container{{Name: "main", Image: image, CPU: 1, Memory: 1}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var st engine.Status
	left := func() int { return len(marked(st.Replicas[0].Name)) }
	st, err = engine.Await(ctx, clock.Real{}, e, ref, func(s engine.Status) bool { st = s; return s.Ready == 1 && left() >= 2 })
	if err != nil {
		t.Fatal(err, st)
	}
	if err := e.Remove(ctx, ref); err != nil {
		t.Fatal(err)
	}
	for left() > 0 {
		if err := clock.Sleep(ctx, clock.Real{}, 10*time.Millisecond); err != nil {
			t.Fatalf("%d processes are left", left())
		}
	}
}

// marked gives the processes of a replica.
func marked(replica string) []string {
	var out []string
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range paths {
		if env, _ := os.ReadFile(p); strings.Contains(string(env), "CONTAINER_APP_REPLICA_NAME="+replica+"\x00") {
			out = append(out, filepath.Base(filepath.Dir(p)))
		}
	}
	return out
}

// A replica that was being made when Latchkey was killed has a folder and perhaps a
// process, and no note that tells whose they are.
func TestWhatACrashLeftWithoutANoteIsSwept(t *testing.T) {
	state := t.TempDir()
	e, err := process.Open(process.Config{Config: engine.Config{Installation: "i", Clock: clock.Real{}}, Folder: state})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, replica := range []string{"bare", "torn"} {
		if err := os.MkdirAll(filepath.Join(state, "i", replica, "main"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "i", "torn", "main.json"), []byte(`{"Rev`), 0o600); err != nil {
		t.Fatal(err)
	}
	left := exec.CommandContext(t.Context(), "sleep", "1000")
	left.Env = []string{"PATH=" + os.Getenv("PATH"), "CONTAINER_APP_REPLICA_NAME=bare"}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	swept, err := e.Sweep(t.Context(), nil)
	if err != nil || len(swept) != 2 {
		t.Errorf("swept %v %v", swept, err)
	}
	if err := left.Wait(); err == nil {
		t.Error("a process was left") // it would have slept for long
	}
	if folders, _ := filepath.Glob(filepath.Join(state, "i", "*")); len(folders) != 0 {
		t.Errorf("left are %v", folders)
	}
}
