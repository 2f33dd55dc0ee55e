// Package node owns the JavaScript client libraries that Latchkey is tested with:
// it installs the pinned versions once per machine, outside the source tree, and
// runs scripts against them. It does not know what the scripts test.
package node

import (
	"context"
	"crypto/sha256"
	_ "embed" // for the files below
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

const (
	installTime = 5 * time.Minute
	scriptTime  = 2 * time.Minute
)

// Require is the environment variable that makes tests fail, not skip, where the
// libraries cannot be had.
const Require = "LATCHKEY_REQUIRE_WITNESSES"

// Run runs a script with the libraries and gives what it writes to its standard
// output. The test fails if the script does, with what it writes to standard error,
// and is skipped where Node or npm are missing or the packages cannot be fetched.
func Run(t testing.TB, script string, env ...string) []byte {
	t.Helper()
	modules := Modules(t)
	ctx, cancel := context.WithTimeout(t.Context(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Env = append(append(os.Environ(), "NODE_PATH="+modules, "NO_PROXY=*"), env...)
	var problems tail
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s\n%s", script, err, out, problems)
	}
	return out
}

// Modules gives the folder of the libraries, for programs that the test does not
// start itself: they find them through NODE_PATH. The test is skipped as by [Run].
func Modules(t testing.TB) string {
	t.Helper()
	return filepath.Join(installed(t), "node_modules")
}

// tail keeps what a process wrote.
type tail []byte

// Write keeps at most 64 KiB.
func (b *tail) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), 64<<10-min(len(*b), 64<<10))]...)
	return len(p), nil
}

// installed gives a folder with node_modules, installing it if it is the first time
// for this lock file.
func installed(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, program+" is not on the PATH; install Node.js 20 or later with npm to test with the JavaScript client libraries")
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		lacking(t, "there is no cache folder for the JavaScript client libraries ("+err.Error()+"); set HOME or XDG_CACHE_HOME")
	}
	sum := sha256.Sum256(append(append([]byte{}, packageJSON...), packageLock...))
	dir := filepath.Join(cache, "latchkey-test", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*installTime)
	defer cancel()
	unlock, err := atomicfile.NewLock(dir + ".lock").Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	install(t, dir)
	return dir
}

// install fetches into a folder beside the final one, which therefore only ever
// exists complete.
func install(t testing.TB, dir string) {
	t.Helper()
	t.Log("installing the JavaScript client libraries into " + dir)
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(part, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000") // without a network, soon know it
	cmd.Dir = part
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(part)
		lacking(t, "npm ci could not fetch the JavaScript client libraries; give this machine access to a package registry: "+err.Error()+"\n"+string(out))
	}
	if err := os.Rename(part, dir); err != nil {
		t.Fatal(err)
	}
}

// lacking ends the test for want of something on the machine.
func lacking(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(Require) != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
