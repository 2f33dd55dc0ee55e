package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/server"
)

func TestDoctorLooksAtTheLanguageWorker(t *testing.T) {
	fake := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(fake, "new", "node"), "#!/bin/sh\necho v22.1.0\n", 0o755)
	write(filepath.Join(fake, "old", "node"), "#!/bin/sh\necho v16.0.0\n", 0o755)
	write(filepath.Join(fake, "odd", "node"), "#!/bin/sh\necho hello\n", 0o755)
	for _, tc := range []struct {
		name, path, language, pkg, want, next string
		status                                server.CheckStatus
	}{
		{"fine", "new", "node", `{}`, "worker inside this program, run by", "", server.CheckOK},
		{"old", "old", "node", `{}`, "is Node.js v16.0.0", "install a later", server.CheckWarn},
		{"no Node.js", "odd", "node", `{}`, "does not tell its version", "install Node.js 20", server.CheckFailed},
		{"none", "nowhere", "node", `{}`, "which is not on PATH", "install it", server.CheckFailed},
		{"packages missing", "new", "node", `{"dependencies":{"zz-none":"1","no-such":"1"}}`, `depends on "no-such"`, "npm install", server.CheckFailed},
		{"no worker", "new", "cobol", `{}`, `"cobol"`, "workersDirectory", server.CheckFailed},
		{"no language", "new", "", `{}`, "FUNCTIONS_WORKER_RUNTIME is not set", "set FUNCTIONS_WORKER_RUNTIME", server.CheckFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(filepath.Join(dir, "host.json"), `{"version":"2.0"}`, 0o600)
			write(filepath.Join(dir, "package.json"), tc.pkg, 0o600)
			env := []string{"PATH=" + filepath.Join(fake, tc.path), "FUNCTIONS_WORKER_RUNTIME=" + tc.language}
			found := false
			for _, c := range server.Examine(t.Context(), server.Config{Dir: dir, Environ: env, Port: 0}) {
				found = found || c.Name == "runtime" && c.Status == tc.status && strings.Contains(c.Message, tc.want) && strings.Contains(c.Next, tc.next)
				if c.Name == "runtime" {
					t.Log(c)
				}
			}
			if !found {
				t.Errorf("no check says %s %q, %q", tc.status, tc.want, tc.next)
			}
		})
	}
}
