package config_test

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
)

func TestACarriedWorkerIsUnpackedOnce(t *testing.T) {
	files := fstest.MapFS{"worker.config.json": {Data: []byte(simple + "}")}, "dist/index.js": {Data: []byte("1")}}
	base := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := config.Unpack(files, "node", base); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	dir, err := config.Unpack(files, "node", base)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := (&config.Place{Directories: []string{dir}}).Find("node"); err != nil || w.Directory != filepath.Join(dir, "node") {
		t.Errorf("%+v, %v", w, err)
	}
	files["dist/index.js"] = &fstest.MapFile{Data: []byte("2")}
	other, err := config.Unpack(files, "node", base)
	if err != nil || other == dir {
		t.Errorf("another version in %s, %v", other, err)
	}
	entries, err := os.ReadDir(filepath.Join(base, "workers"))
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// The workers of apps with users of their own are unpacked by a node whose umask
// leaves others nothing.
func TestACarriedWorkerCanBeReadByOthersWhateverTheUmask(t *testing.T) {
	files := fstest.MapFS{"worker.config.json": {Data: []byte(simple + "}")}, "dist/index.js": {Data: []byte("1")}}
	defer syscall.Umask(syscall.Umask(0o077))
	above := filepath.Join(t.TempDir(), "above")
	fresh, closed := filepath.Join(above, "fresh"), filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "workers"), 0o700); err != nil {
		t.Fatal(err)
	}
	for base, modes := range map[string]map[string]os.FileMode{
		fresh:  {above: 0o711, fresh: 0o711, filepath.Join(fresh, "workers"): 0o755},
		closed: {closed: 0o711, filepath.Join(closed, "workers"): 0o755},
	} {
		dir, err := config.Unpack(files, "node", base)
		if err != nil {
			t.Fatal(err)
		}
		modes[dir], modes[filepath.Join(dir, "node")] = 0o755, 0o755
		modes[filepath.Join(dir, "node/dist")], modes[filepath.Join(dir, "node/dist/index.js")] = 0o755, 0o644
		for path, mode := range modes {
			if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, mode)
			}
		}
	}
}

func TestACarriedWorkerThatCannotBeWritten(t *testing.T) {
	base := filepath.Join(t.TempDir(), "file")
	write(t, base, "")
	_, err := config.Unpack(fstest.MapFS{"worker.config.json": {}}, "node", base)
	if problem.KindOf(err) != problem.Unavailable || problem.NextOf(err) == "" {
		t.Errorf("error %v", err)
	}
}

func TestACarriedWorkerThatWasTamperedWithIsUnpackedAnew(t *testing.T) {
	files := fstest.MapFS{"worker.config.json": {Data: []byte(simple + "}")}, "dist/index.js": {Data: []byte("1")}}
	for name, tamper := range map[string]func(dir string) error{
		"content":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "dist/index.js"), []byte("2"), 0o600) },
		"mode":      func(dir string) error { return os.Chmod(filepath.Join(dir, "dist/index.js"), 0o666) },
		"directory": func(dir string) error { return os.Chmod(filepath.Join(dir, "dist"), 0o777) },
		"unread":    func(dir string) error { return os.Chmod(filepath.Join(dir, "dist/index.js"), 0o600) },
		"closed":    func(dir string) error { return os.Chmod(filepath.Join(dir, "dist"), 0o700) },
		"missing":   func(dir string) error { return os.Remove(filepath.Join(dir, "dist/index.js")) },
		"added": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "dist/package.json"), []byte("{}"), 0o600)
		},
		"link": func(dir string) error {
			moved := filepath.Join(dir, "..", "..", "moved")
			if err := os.Rename(filepath.Join(dir, "dist"), moved); err != nil {
				return err
			}
			return os.Symlink(moved, filepath.Join(dir, "dist"))
		},
		"above": func(dir string) error { return os.Chmod(filepath.Join(dir, "..", ".."), 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir, err := config.Unpack(files, "node", base)
			if err != nil {
				t.Fatal(err)
			}
			if err := tamper(filepath.Join(dir, "node")); err != nil {
				t.Fatal(err)
			}
			if again, err := config.Unpack(files, "node", base); err != nil || again != dir {
				t.Fatalf("%s, %v", again, err)
			}
			wantAsUnpacked(t, filepath.Join(dir, "node"))
		})
	}
}

// wantAsUnpacked checks what others may do with a worker of two files.
func wantAsUnpacked(t *testing.T, dir string) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{"": os.ModeDir | 0o755, "../..": os.ModeDir | 0o755, "dist": os.ModeDir | 0o755, "dist/index.js": 0o644} {
		if info, err := os.Lstat(filepath.Join(dir, path)); err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v", path, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "dist/index.js"))
	entries, _ := os.ReadDir(filepath.Join(dir, "dist"))
	if err != nil || string(text) != "1" || len(entries) != 1 {
		t.Errorf("%q, %v, %v", text, err, entries)
	}
}
