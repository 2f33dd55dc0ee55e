// Package nodeapp tests that Node.js apps, as their authors write them, run on
// Latchkey's own worker. It needs node and npm.
package nodeapp

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/test/witness/node"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// app is the files of an app, by path, with its settings.
type app struct {
	files    map[string]string
	settings map[string]string
	host     string // further members of host.json
	mayFail  bool
	bare     bool // without @azure/functions
	adjust   func(*server.Config)
}

// run starts the app and waits until it runs.
func run(t *testing.T, a app) *testkit.Host {
	t.Helper()
	modules := node.Modules(t)
	files := map[string]string{"host.json": `{"version":"2.0"` + a.host + `}`}
	for name, text := range a.files {
		files[name] = text
	}
	settings := map[string]string{"FUNCTIONS_WORKER_RUNTIME": "node"}
	for name, value := range a.settings {
		settings[name] = value
	}
	return testkit.Start(t, testkit.App{
		Files: files, Settings: settings, MayFail: a.mayFail,
		Configure: func(cfg *server.Config) {
			if !a.bare {
				link(t, modules, cfg.Dir)
			}
			if a.adjust != nil {
				a.adjust(cfg)
			}
		},
	})
}

// link gives the app the library of the programming model, and nothing else.
func link(t *testing.T, modules, dir string) {
	t.Helper()
	scope := filepath.Join(dir, "node_modules", "@azure")
	if err := os.MkdirAll(scope, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(modules, "@azure", "functions"), filepath.Join(scope, "functions")); err != nil {
		t.Fatal(err)
	}
}

// v4 is an app of one file that has the library as functions, and what it
// registers with it.
func v4(code string) app {
	return app{files: map[string]string{
		"package.json": `{"name":"app","main":"index.js"}`,
		"index.js":     "const { app, HttpResponse, input, output, trigger } = require('@azure/functions');\n" + code,
	}}
}

// wantLog waits until the log has all of the texts.
func wantLog(t *testing.T, h *testkit.Host, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !eventually(t.Context(), func() bool { return strings.Contains(h.Log.String(), text) }) {
			t.Errorf("the log lacks %q:\n%s", text, h.Log)
		}
	}
}

// eventually asks until the answer is yes; false when patience ends.
func eventually(ctx context.Context, yes func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, testkit.Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func wantBody(t *testing.T, a testkit.Answer, want string) {
	t.Helper()
	if a.Body != want {
		t.Errorf("status %d, body %q, want %q", a.Status, a.Body, want)
	}
}

// receive takes a value from a channel, or finds it closed; it does not wait for ever.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
