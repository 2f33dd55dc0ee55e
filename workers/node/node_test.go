package node

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWhatStandsInForThePlatformsObjectsDoesTheSame runs the tests that the
// worker's sources bring along.
func TestWhatStandsInForThePlatformsObjectsDoesTheSame(t *testing.T) {
	path, err := exec.LookPath("node")
	if err != nil {
		t.Skip("needs Node.js: the package nodejs brings it")
	}
	if out, err := exec.CommandContext(t.Context(), path, "--test", "src/light.test.js", "src/fields.test.js").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// sourceSum is what sum.js prints.
func sourceSum(t *testing.T) string {
	t.Helper()
	sources, err := filepath.Glob("src/*.js")
	if err != nil || len(sources) < 5 {
		t.Fatalf("sources %v, %v", sources, err)
	}
	sources = slices.DeleteFunc(sources, func(name string) bool { return name == "src/messages.js" })
	slices.Sort(sources)
	h := sha256.New()
	for _, name := range slices.Concat([]string{"package.json", "package-lock.json"}, sources, []string{"../../internal/worker/rpc/wire/wire.proto"}) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %d\n", name, len(text))
		h.Write(text)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestTheBuiltWorkerIsThatOfTheSources(t *testing.T) {
	built, err := os.ReadFile("dist/sources.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(built)) != sourceSum(t) {
		t.Error("dist/ was built from other sources; run make node-worker")
	}
}

func TestBuildingTheWorkerAnewGivesTheSame(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on the PATH; install Node.js with npm to build the worker anew")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "workers", "node")
	copyFiles(t, dir, "package.json", "package-lock.json", "sum.js", "src")
	const protocol = "internal/worker/rpc/wire"
	if err := os.CopyFS(filepath.Join(root, protocol), os.DirFS("../../"+protocol)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	ci := exec.CommandContext(t.Context(), "npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000")
	ci.Dir = dir
	if out, err := ci.CombinedOutput(); err != nil {
		t.Skipf("npm ci could not fetch what builds the worker; give this machine access to a package registry: %v\n%s", err, out)
	}
	build := exec.CommandContext(t.Context(), "npm", "run", "--silent", "build")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"dist/worker.js", "dist/sources.sha256"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the sources give (%v); run make node-worker", name, err)
		}
	}
}

// copyFiles copies files, and folders with what is directly in them.
func copyFiles(t *testing.T, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			if err := os.CopyFS(filepath.Join(to, name), os.DirFS(name)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.MkdirAll(to, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
