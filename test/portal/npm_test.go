package portal_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// installTime bounds the installation of packages.
const installTime = 5 * time.Minute

// packages gives the folder of the packages that package-lock.json pins, installed
// for this test alone from npm's cache or the registry. npm checks their digests. The
// test is skipped where they cannot be had.
func packages(t *testing.T) string {
	t.Helper()
	patient(t)
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join("npm", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv(require) != "" {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		t.Skipf("npm ci could not fetch the packages; install Debian's package npm, and give this machine access to a registry: %v\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules")
}

// TestHTMXIsAsItWasPublished compares the file that the binary carries with that of
// the package whose digest is pinned.
func TestHTMXIsAsItWasPublished(t *testing.T) {
	published := filepath.Join(packages(t), "htmx.org")
	for ours, theirs := range map[string]string{"htmx.min.js": "dist/htmx.min.js", "LICENSE": "LICENSE"} {
		have, err := os.ReadFile(filepath.Join("..", "..", "internal", "portal", "assets", "vendor", "htmx", ours))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(published, filepath.FromSlash(theirs)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s is not that of the package", ours)
		}
	}
}
