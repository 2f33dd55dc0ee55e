package pack_test

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/cli/pack"
	"github.com/latchkey/latchkey/internal/problem"
)

// folder makes a folder with files, by path.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func quiet(pack.Progress) {}

// packed gives the names in the package of a folder.
func packed(t *testing.T, dir string) []string {
	t.Helper()
	p, err := pack.Open(t.Context(), dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	z, err := zip.NewReader(p, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return names
}

func TestSecretsAndWhatIsIgnoredAreLeftOut(t *testing.T) {
	dir := folder(t, map[string]string{
		"host.json": "{}", "hello/function.json": "{}", "hello/notes.txt": "", "local.settings.json": "secret", "sub/local.settings.json": "secret",
		".git/config": "", ".latchkey/kek": "secret", "node_modules/x/index.js": "", "node_modules/x/y.md": "", "docs/a.md": "", "keep/docs/a.md": "", "main.go": "",
		"out.log": "", "sub/deep/out.log": "", "sub/deep/important.log": "", "tmp": "a file", "sub/tmp/x": "", "bin/handler": "x", "a b.txt": "", "#x": "",
		".funcignore": "# comment\n*.go\n*.log\n!important.log\n/docs\ntmp/\nnode_modules/**/*.md\nhello/*.txt\n\\#x\na\\ b.txt  \n\n!\n",
	})
	want := []string{"bin/handler", "hello/function.json", "host.json", "keep/docs/a.md", "node_modules/x/index.js", "sub/deep/important.log", "tmp"}
	if diff := cmp.Diff(want, packed(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestEqualFoldersMakeEqualPackages(t *testing.T) {
	files := map[string]string{"host.json": "{}", "b": strings.Repeat("x", 100_000), "a/c": "y"}
	var packages [][]byte
	for range 2 {
		p, err := pack.Open(t.Context(), folder(t, files), quiet)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, p.Size)
		if _, err := p.ReadAt(text, 0); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, text)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(p.Name()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the temporary package is still there: %v", err)
		}
	}
	if !slices.Equal(packages[0], packages[1]) {
		t.Error("the packages differ")
	}
}

func TestProgramsStayPrograms(t *testing.T) {
	dir := folder(t, map[string]string{"host.json": "{}", "handler": "x"})
	if err := os.Chmod(filepath.Join(dir, "handler"), 0o700); err != nil {
		t.Fatal(err)
	}
	var told pack.Progress
	p, err := pack.Open(t.Context(), dir, func(at pack.Progress) { told = at })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if want := (pack.Progress{Files: 2, Bytes: 3}); told != want || p.Progress != want {
		t.Errorf("told %+v, has %+v, want %+v", told, p.Progress, want)
	}
	z, err := zip.NewReader(p, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if isProgram := f.Mode()&0o100 != 0; isProgram != (f.Name == "handler") {
			t.Errorf("%s: mode %v", f.Name, f.Mode())
		}
	}
}

func TestWhatIsNoAppIsRefused(t *testing.T) {
	plain := folder(t, map[string]string{"text": "text"})
	linked := folder(t, map[string]string{"host.json": "{}"})
	if err := os.Symlink("/etc/passwd", filepath.Join(linked, "link")); err != nil {
		t.Fatal(err)
	}
	piped := folder(t, map[string]string{"host.json": "{}"})
	if err := syscall.Mkfifo(filepath.Join(piped, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path, says string
		kind             problem.Kind
	}{
		{"nothing", filepath.Join(plain, "nowhere"), "no app to deploy", problem.NotFound},
		{"folder without host.json", plain, "no host.json", problem.Invalid},
		{"plain file", filepath.Join(plain, "text"), "neither a folder nor a zip", problem.Invalid},
		{"link", linked, `"link" is a symbolic link`, problem.Invalid},
		{"pipe", piped, `"pipe" is no plain file`, problem.Invalid},
		{"host.json ignored", folder(t, map[string]string{"host.json": "{}", ".funcignore": "*.json"}), "leaves out host.json", problem.Invalid},
		{"zip of a folder", zipOf(t, "orders/host.json"), "no host.json at its top", problem.Invalid},
		{"zip of something else", zipOf(t, "x"), "no host.json at its top", problem.Invalid},
	} {
		p, err := pack.Open(t.Context(), tt.path, quiet)
		if p != nil {
			t.Errorf("%s: packed", tt.name)
		}
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// zipOf makes a zip with empty files.
func zipOf(t *testing.T, names ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "app.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, name := range names {
		if _, err := z.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestZipsAreTakenAsTheyAre(t *testing.T) {
	path := zipOf(t, "host.json", "a")
	p, err := pack.Open(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || p.Size != info.Size() || p.Files != 2 {
		t.Errorf("%d bytes, %d files; the zip has %d, %v", p.Size, p.Files, info.Size(), err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the zip is gone: %v", err)
	}
}

func TestInterruptedPackingLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	dir := folder(t, map[string]string{"a": "", "b": "", "host.json": "{}"})
	if _, err := pack.Open(ctx, dir, func(pack.Progress) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
