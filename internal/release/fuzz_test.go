package release

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

// Whatever the bytes are, nothing is written beside the folder, nothing but plain
// files and folders in it, never more than the limits, and faults are the caller's.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte("PK"))
	for _, names := range [][]string{{"host.json", "a/b"}, {"host.json", "../x"}, {"host.json", "a", "A"}, {"host.json", "/x", `a\b`}} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, name := range names {
			out, err := w.Create(name)
			if err != nil {
				f.Fatal(err)
			}
			_, _ = out.Write([]byte("text of " + name))
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	limits := Config{Limits: Limits{Unpacked: 1 << 16, Files: 50, Path: 100, Depth: 5}}.withDefaults().Limits
	f.Fuzz(func(t *testing.T, body []byte) {
		parent := t.TempDir()
		u := unpacked{dir: filepath.Join(parent, "in")}
		if err := os.Mkdir(u.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(bytes.NewReader(body), int64(len(body)), limits)
		if err == nil {
			err = p.extract(t.Context(), &u)
		}
		if k := problem.KindOf(err); err != nil && k != problem.Invalid && k != problem.TooLarge {
			t.Errorf("kind %v: %v", k, err)
		}
		checkTree(t, parent, limits, err != nil)
	})
}

func checkTree(t *testing.T, parent string, limits Limits, cutOff bool) {
	t.Helper()
	beside, err := os.ReadDir(parent)
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the folder: %v, %v", beside, err)
	}
	var total, count int64
	err = filepath.WalkDir(filepath.Join(parent, "in"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		count++
		switch mode := info.Mode(); {
		case mode.IsDir() && mode == fs.ModeDir|folderMode:
		case mode == 0o400 || mode == 0o500 || mode == 0o600 && cutOff:
			total += info.Size()
		default:
			t.Errorf("%s has mode %v", path, mode)
		}
		return nil
	})
	if err != nil || total > limits.Unpacked+1 || count > int64(limits.Files)+1 {
		t.Errorf("%d bytes in %d files, %v", total, count, err)
	}
}
