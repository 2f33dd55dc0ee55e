package config_test

import (
	"os"
	"path/filepath"
	"sync"
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

func TestACarriedWorkerThatCannotBeWritten(t *testing.T) {
	base := filepath.Join(t.TempDir(), "file")
	write(t, base, "")
	_, err := config.Unpack(fstest.MapFS{"worker.config.json": {}}, "node", base)
	if problem.KindOf(err) != problem.Unavailable || problem.NextOf(err) == "" {
		t.Errorf("error %v", err)
	}
}
