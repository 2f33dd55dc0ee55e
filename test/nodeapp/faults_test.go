package nodeapp

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/test/witness/node"
)

func TestAFileThatCannotBeLoadedLeavesTheOthers(t *testing.T) {
	for _, tc := range []struct{ name, code, want string }{
		{"throws", "\nthrow new Error('no configuration');", "bad.js:2"},
		{"is no JavaScript", "const = 1;", "bad.js:1"},
		{"needs a package that is not there", "require('no-such-package');", "npm install"},
		{"needs a file that is not there", "require('./no-such-file');", "no-such-file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := run(t, app{files: map[string]string{
				"package.json": `{"main":"src/*.js"}`, "src/bad.js": tc.code, "src/good.js": hello("", "good"),
			}})
			wantBody(t, h.Get(t, "/api/good", ""), "good")
			wantLog(t, h, tc.want, "src/bad.js")
		})
	}
}

func TestAnAppWithoutAFunctionLeftSaysWhy(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"throws", map[string]string{"package.json": `{"main":"index.js"}`, "index.js": "throw new Error('no configuration');"},
			[]string{"no configuration", "index.js:1"}},
		{"lacks its packages", map[string]string{"package.json": `{"main":"index.js"}`, "index.js": "require('express');"},
			[]string{"express", "npm install"}},
		{"main names nothing", map[string]string{"package.json": `{"main":"dist/*.js"}`}, []string{"dist/*.js", "no such file", "build"}},
		{"package.json is broken", map[string]string{"package.json": `{`}, []string{"package.json is not JSON"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := run(t, app{files: tc.files, mayFail: true})
			st := h.Node.Instance().Status()
			if st.State != instance.Error {
				t.Fatalf("state %s", st.State)
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.Join(st.Errors, "\n"), want) {
					t.Errorf("the errors %q lack %q", st.Errors, want)
				}
			}
		})
	}
}

const fragileCode = `
let waiting = 0;
app.http('waits', { authLevel: 'anonymous', handler: async () => { waiting++; await new Promise(() => {}); } });
app.http('throws', { authLevel: 'anonymous', handler: async (request) => {
  while (!waiting) await new Promise((done) => setTimeout(done, 5));
  if (new URL(request.url).searchParams.has('reject')) Promise.reject(new Error('nobody listens'));
  else setTimeout(() => { throw new Error('out of the blue'); });
  await new Promise(() => {});
} });
app.http('fine', { authLevel: 'anonymous', handler: async () => ({ body: 'fine' }) });
app.http('blocks', { authLevel: 'anonymous', handler: async () => { for (;;); } });
app.http('exits', { authLevel: 'anonymous', handler: async () => { process.exit(3); } });
`

func TestACrashFailsRequestsAtOnceAndTheAppIsBack(t *testing.T) {
	for name, want := range map[string]string{"throws": "out of the blue", "throws?reject=1": "nobody listens", "exits": "exit code 3"} {
		t.Run(name, func(t *testing.T) {
			h := run(t, v4(fragileCode))
			answers := make(chan testkit.Answer, 2)
			for _, path := range []string{"/api/" + name, "/api/waits"} {
				go func() {
					a, err := h.Try(t.Context(), testkit.Request{Path: path})
					if err != nil {
						a.Status = -1
					}
					answers <- a
				}()
				if name == "exits" {
					answers <- testkit.Answer{Status: 500} // there is nothing to wait with
					break
				}
			}
			for range 2 {
				if a := receive(t, answers); a.Status != 500 {
					t.Errorf("status %d %q", a.Status, a.Body)
				}
			}
			if !eventually(t.Context(), func() bool { return h.Get(t, "/api/fine", "").Body == "fine" }) {
				t.Error("the app is not back")
			}
			wantLog(t, h, want)
		})
	}
}

func TestABlockedProcessIsReplacedWhenTheFunctionsTimeIsUp(t *testing.T) {
	a := v4(fragileCode)
	a.host = `,"functionTimeout":"00:00:01"`
	h := run(t, a)
	h.Get(t, "/api/blocks", "").WantStatus(t, 500)
	if !eventually(t.Context(), func() bool { return h.Get(t, "/api/fine", "").Body == "fine" }) {
		t.Error("the app is not back")
	}
	wantLog(t, h, "function blocks did not end in time")
}

func TestARepairedFileIsLoaded(t *testing.T) {
	h := run(t, app{mayFail: true, files: map[string]string{"package.json": `{"main":"index.js"}`, "index.js": "throw new Error('early');"},
		adjust: func(cfg *server.Config) { cfg.Watch = true }})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h.WriteFile(t, "index.js", hello("", "one"))
	if st, err := h.Node.Instance().AwaitState(ctx, instance.Running); err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	wantBody(t, h.Get(t, "/api/one", ""), "one")
}

func TestAStartWithoutAFunctionEndsWithAnError(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"host.json": `{"version":"2.0"}`, "package.json": `{"main":"index.js"}`, "index.js": "throw new Error('no configuration');"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "latchkey")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/latchkey").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_ = node.Modules(t) // or the test is skipped
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "start", "--port", "0", dir)
	cmd.Env = append(os.Environ(), "FUNCTIONS_WORKER_RUNTIME=node")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ends with %v", err)
	}
	for _, want := range []string{"no configuration", "index.js:1", "no function of the app can be run"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}
