package nodeapp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// probe is an app with a function that tries what it is asked for: it answers
// "done: " and what came of it, or "refused: " and why.
const probe = `
const { app } = require('@azure/functions');
const fs = require('fs');
const tries = {
  read: (on) => fs.readFileSync(on, 'utf8'),
  list: (on) => fs.readdirSync(on).join(' '),
  // Nothing is changed by what succeeds, but for a file that was not there.
  write: (on) => {
    if (process.getuid() === 0) throw new Error('not tried as root: there is no isolation');
    fs.closeSync(fs.openSync(on, 'a'));
  },
  variable: (on) => process.env[on],
  ids: () => [process.getuid(), process.geteuid(), process.getgid(), process.getegid()].join(' '),
  pid: () => process.pid,
  worker: () => process.argv[1],
  socket: (on) => fs.fstatSync(Number(on)).isSocket(),
  open: () => fs.readdirSync('/proc/self/fd').map((fd) => {
    try { return fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; }
  }).join('\n'),
};
app.http('try', {
  handler: async (request) => {
    const q = request.query;
    try {
      return { body: 'done: ' + tries[q.get('do')](q.get('on')) };
    } catch (e) {
      return { body: 'refused: ' + e.message };
    }
  },
});
`

// isolated is a node whose apps have users of their own.
type isolated struct {
	*platformtest.Platform
	keys map[string]string
}

func startIsolated(t *testing.T) *isolated {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start workers of other users")
	}
	othersRunNode(t)
	dir, err := os.MkdirTemp("", "isolated")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	p := platformtest.Start(t, platform.Config{
		DataDir: filepath.Join(dir, "data"), Workers: platform.WorkersConfig{Isolation: "required"},
		Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "USER=root"},
	})
	return &isolated{p, map[string]string{}}
}

// othersRunNode skips a test where other users cannot reach Node.js.
func othersRunNode(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), platformtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--version")
	cmd.Dir = "/"
	const nobody = isolation.DefaultFirst + isolation.Count // no app's
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("other users than root cannot run node: %v %s", err, out)
	}
}

// add creates an app of the probe and waits until it answers.
func (i *isolated) add(t *testing.T, name string, pkg []byte) {
	t.Helper()
	i.Do(t, http.MethodPut, i.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	i.Do(t, http.MethodPut, i.Site(name), map[string]any{
		"location": "local", "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "node"}, {"name": "PASSWORD", "value": "of-" + name},
		}}},
	}, nil)
	i.Deploy(t, name, pkg)
	platformtest.Until(t, name+" answers", func() bool {
		if i.keys[name] == "" {
			i.keys[name] = i.key(t, name)
		}
		status, _, err := i.TryCall(t.Context(), name, "/api/try?do=pid", i.keys[name])
		return err == nil && status == http.StatusOK
	})
}

// key gives the host key of an app, "" while the node cannot: a slow disk does not
// confirm new keys in time.
func (i *isolated) key(t *testing.T, name string) string {
	t.Helper()
	var keys struct{ FunctionKeys map[string]string }
	_ = i.Client.Do(t.Context(), http.MethodPost, i.Site(name)+"/host/default/listKeys", nil, &keys)
	return keys.FunctionKeys["default"]
}

func (i *isolated) try(t *testing.T, app, do, on string) (string, bool) {
	t.Helper()
	status, body := i.Call(t, app, "/api/try?"+url.Values{"do": {do}, "on": {on}}.Encode(), i.keys[app])
	if status != http.StatusOK {
		t.Fatalf("%s %s by %s: %d %s", do, on, app, status, body)
	}
	if text, ok := strings.CutPrefix(body, "done: "); ok {
		return text, true
	}
	return body, false
}

func (i *isolated) can(t *testing.T, app, do, on string) string {
	t.Helper()
	text, ok := i.try(t, app, do, on)
	if !ok {
		t.Errorf("%s cannot %s %s: %s", app, do, on, text)
	}
	return text
}

func (i *isolated) cannot(t *testing.T, app, do, on string) {
	t.Helper()
	if text, ok := i.try(t, app, do, on); ok || !strings.Contains(text, "EACCES") {
		t.Errorf("%s can %s %s: %.60q", app, do, on, text)
	}
}

// user gives the id of the user that an app has according to its home.
func (i *isolated) user(t *testing.T, app string) uint32 {
	t.Helper()
	info, err := os.Stat(i.can(t, app, "variable", "HOME"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func TestWorkersRunAsTheUsersOfTheirApps(t *testing.T) {
	pkg := packed(t, map[string]string{
		"host.json": `{"version":"2.0"}`, "package.json": `{"name":"app","main":"index.js"}`, "index.js": probe,
	}, "@azure/functions")
	i := startIsolated(t)
	i.add(t, "app-a", pkg)
	i.add(t, "app-b", pkg)

	a, b := i.user(t, "app-a"), i.user(t, "app-b")
	if a < isolation.DefaultFirst || a == b {
		t.Errorf("the users are %d and %d", a, b)
	}
	for app, id := range map[string]uint32{"app-a": a, "app-b": b} {
		if got, want := i.can(t, app, "ids", ""), fmt.Sprint(id, id, id, id); got != want {
			t.Errorf("%s runs as %s, want %s", app, got, want)
		}
	}
	i.hasItsOwn(t, "app-a")
	i.cannotGetAtOthers(t, "app-a", "app-b")
	i.cannotChangeTheWorker(t, "app-a")
}

// hasItsOwn checks that an app's worker has the socket to the node, and nothing
// else that the node has open, and the folders of its own.
func (i *isolated) hasItsOwn(t *testing.T, app string) {
	t.Helper()
	if is := i.can(t, app, "socket", "3"); is != "true" {
		t.Errorf("the inherited socket: %s", is)
	}
	if open := i.can(t, app, "open", ""); strings.Contains(open, i.Config.DataDir) {
		t.Errorf("the worker has files of the node open:\n%s", open)
	}
	root := i.can(t, app, "variable", "FUNCTIONS_APPLICATION_DIRECTORY")
	i.can(t, app, "read", filepath.Join(root, "host.json"))
	i.cannot(t, app, "write", filepath.Join(root, "index.js"))
	i.cannot(t, app, "write", filepath.Join(root, "node_modules", "new"))
	for _, name := range []string{"HOME", "TMPDIR"} {
		i.can(t, app, "write", filepath.Join(i.can(t, app, "variable", name), "new"))
	}
	i.can(t, app, "read", i.can(t, app, "variable", "NODE_EXTRA_CA_CERTS"))
	if env := i.can(t, app, "read", "/proc/self/environ"); !strings.Contains(env, "/"+app+"/") {
		t.Errorf("the worker does not see its own environment: %q", env)
	}
}

func (i *isolated) cannotGetAtOthers(t *testing.T, app, other string) {
	t.Helper()
	data := i.Config.DataDir
	for _, name := range []string{"owner.json", "kek", "state.db"} {
		if _, err := os.Stat(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
		i.cannot(t, app, "read", filepath.Join(data, name))
	}
	for _, dir := range []string{data, filepath.Join(data, "apps"), filepath.Join(data, "homes")} {
		i.cannot(t, app, "list", dir)
		i.cannot(t, app, "write", filepath.Join(dir, "new"))
	}
	root := i.can(t, other, "variable", "FUNCTIONS_APPLICATION_DIRECTORY")
	i.cannot(t, app, "list", root)
	i.cannot(t, app, "read", filepath.Join(root, "index.js"))
	i.cannot(t, app, "list", i.can(t, other, "variable", "HOME"))
	i.cannot(t, app, "list", i.can(t, other, "variable", "TMPDIR"))
	for _, pid := range []string{strconv.Itoa(os.Getpid()), i.can(t, other, "pid", "")} {
		i.cannot(t, app, "read", "/proc/"+pid+"/environ")
		i.cannot(t, app, "list", "/proc/"+pid+"/fd")
	}
}

// cannotChangeTheWorker checks the program that the workers of all apps run.
func (i *isolated) cannotChangeTheWorker(t *testing.T, app string) {
	t.Helper()
	program := i.can(t, app, "worker", "")
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(program, home+"/") {
		t.Errorf("the worker is in the node's home: %s", program)
	}
	i.can(t, app, "read", program)
	i.cannot(t, app, "write", program)
	dir := program
	for range 5 { // up to the folder of all that latchkey unpacks
		dir = filepath.Dir(dir)
		i.cannot(t, app, "write", filepath.Join(dir, "new"))
	}
}
