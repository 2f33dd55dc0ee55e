package imagebuild

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestFilesThatAreIgnoredAreNotSent(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", "main.go", "secret.txt", "sub/secret.txt", "sub/keep.txt", "node_modules/a/b.js", "node_modules/keep.js", "deep/er/x.log", "x.log"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	ignore := "# comment\nsecret.txt\n/node_modules/\n!node_modules/keep.js\n**/*.log\nDockerfile\n"
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(ignore), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := pack(t.Context(), dir, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	if got, want := strings.Join(names, " "), ".dockerignore Dockerfile main.go node_modules/keep.js sub/keep.txt sub/secret.txt"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func FuzzIgnoreRules(f *testing.F) {
	f.Add("a/**/b\n![x]*\n", "a/x/b")
	f.Fuzz(func(t *testing.T, text, name string) {
		if r, err := readRules(text); err == nil {
			r.ignores(name)
		} else if !errors.Is(err, problem.Invalid) {
			t.Error(err)
		}
	})
}

func TestABuildThatFailsSaysWhy(t *testing.T) {
	var out strings.Builder
	err := follow(t.Context(), strings.NewReader(`{"stream":"Step 1/2\n"}{"status":"Pulling","id":"x"}{"error":"the command returned 1"}`), &out)
	if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "the command returned 1") || out.String() != "Step 1/2\n" {
		t.Errorf("%v %q", err, out.String())
	}
	if err := follow(t.Context(), strings.NewReader(`{"stream":"x`), &out); !errors.Is(err, problem.Unavailable) {
		t.Errorf("broken off: %v", err)
	}
}
