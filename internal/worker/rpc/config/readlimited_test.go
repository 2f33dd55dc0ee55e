package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

// Settings of an app say where its worker is, so that a file there may be anything.
func TestWhatIsNoPlainFileIsNotRead(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a device without an end": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a pipe":                  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":                func(path string) error { return os.Mkdir(path, 0o700) },
		"a file without an end":   func(path string) error { return os.WriteFile(path, make([]byte, 2<<20), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := put(filepath.Join(dir, "worker.config.json")); err != nil {
				t.Fatal(err)
			}
			p, _ := place(t, `{}`, map[string]string{"languageWorkers__node__workerDirectory": dir, "languageWorkers__workersDirectory": t.TempDir()})
			w, err := p.Find("node")
			if w != nil || problem.KindOf(err) != problem.NotFound || !strings.Contains(err.Error(), "worker.config.json cannot be read") {
				t.Errorf("%v, %v", w, err)
			}
		})
	}
}

func TestAFileDoesNotLiftTheLimitOfProcesses(t *testing.T) {
	p, _ := place(t, `{"description":{"language":"node","extensions":[],"defaultExecutablePath":"node"},"processOptions":{"processCount":100000,"maxProcessCount":100000}}`, nil)
	w, err := p.Find("node")
	if w != nil || problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "maxProcessCount 1 to 256") {
		t.Errorf("%v, %v", w, err)
	}
}
