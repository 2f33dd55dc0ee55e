package isolation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// Variables that make this test binary something else.
const (
	probeSetting = "ISOLATION_PROBE" // an app's handler that tries what it is asked for
	nodeVariable = "ISOLATION_NODE"  // a node on the data folder it names
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(probeSetting) == "sleep":
		select {}
	case os.Getenv(probeSetting) != "":
		os.Exit(serveProbe())
	case os.Getenv(nodeVariable) != "":
		os.Exit(runNode(os.Getenv(nodeVariable)))
	}
	testkit.Main(m)
}

// serveProbe answers what a worker can do: "done: " and what came of it, or
// "refused: " and why.
func serveProbe() int {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		text, err := try(q.Get("do"), q.Get("on"))
		if err != nil {
			fmt.Fprintf(w, "refused: %v", err)
			return
		}
		fmt.Fprintf(w, "done: %s", text)
	})
	fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), nil))
	return 4
}

func try(do, on string) (string, error) {
	if harmful := do == "write" || do == "remove" || do == "mode" || do == "signal" || do == "escape"; harmful && os.Geteuid() == 0 {
		return "", errors.New("not tried as root: there is no isolation")
	}
	switch do {
	case "read":
		text, err := os.ReadFile(on)
		return string(text), err
	case "list":
		_, err := os.ReadDir(on)
		return "", err
	case "write":
		err := os.WriteFile(on, []byte("written"), 0o666)
		info, _ := os.Stat(on)
		return fmt.Sprint(info != nil && info.Mode().Perm() == 0o600), err
	case "remove":
		return "", os.Remove(on) // never what is in it, whoever we turn out to be
	case "mode":
		return "", os.Chmod(on, 0o777)
	case "signal":
		pid, _ := strconv.Atoi(on)
		return "", syscall.Kill(pid, 0) // whether it may, not what it does
	case "terminal":
		_, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		return "", err
	case "variable":
		return os.Getenv(on), nil
	case "pid":
		return strconv.Itoa(os.Getpid()), nil
	case "escape": // out of the group that ends with the handler
		cmd := exec.Command(os.Getenv("ISOLATION_BINARY"))
		cmd.Env = []string{probeSetting + "=sleep"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err := cmd.Start()
		if err != nil {
			return "", err
		}
		return strconv.Itoa(cmd.Process.Pid), nil
	}
	return "", fmt.Errorf("unknown: %s", do)
}

// runNode is a node in a process of its own, which says where its apps are.
func runNode(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, err := platform.Open(ctx, platform.Config{
		DataDir: dir, Functions: "127.0.0.1:0", Management: "127.0.0.1:0", Environ: os.Environ(), Log: os.Stderr,
		Workers: platform.WorkersConfig{Isolation: "required"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer n.Close()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	if n.Ready(ctx) == nil {
		fmt.Println(n.FunctionsAddr())
	}
	<-ended
	return 0
}

// place is a folder that other users can pass through, with this test binary in
// it.
func place(t *testing.T) (dir, binary string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start workers of other users")
	}
	dir, err := os.MkdirTemp("", "isolation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "probe")
	if err := os.WriteFile(binary, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(binary, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return dir, binary
}

// installation is a node with isolated apps of probes.
type installation struct {
	*platformtest.Platform
	binary string
	keys   map[string]string
}

func start(t *testing.T) *installation {
	t.Helper()
	dir, binary := place(t)
	p := platformtest.Start(t, platform.Config{
		DataDir: filepath.Join(dir, "data"), Workers: platform.WorkersConfig{Isolation: "required"},
		// What tests try must do no harm where isolation fails: the node's own
		// folders are decoys.
		Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "USER=root"},
	})
	return &installation{p, binary, map[string]string{}}
}

// add creates an app of probes and deploys it.
func (i *installation) add(t *testing.T, name string) {
	t.Helper()
	i.Do(t, http.MethodPut, i.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	i.Do(t, http.MethodPut, i.Site(name), map[string]any{
		"location": "local", "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": probeSetting, "value": "1"}, {"name": "ISOLATION_BINARY", "value": i.binary},
			{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"}, {"name": "PASSWORD", "value": "of-" + name},
		}}},
	}, nil)
	i.deploy(t, name, "first")
	_, i.keys[name] = i.HostKeys(t, name)
}

func (i *installation) deploy(t *testing.T, name, version string) {
	t.Helper()
	i.Deploy(t, name, platformtest.Package(t, []string{"f"}, map[string]string{
		"host.json":         `{"version":"2.0","customHandler":{"enableForwardingHttpRequest":true,"description":{"defaultExecutablePath":"bin/handler"}}}`,
		"bin/handler":       "#!/bin/sh\nexec " + i.binary + "\n",
		"data/" + "version": version,
	}))
}

// try asks an app's worker to do something.
func (i *installation) try(t *testing.T, app, do, on string) (string, bool) {
	t.Helper()
	status, body := i.Call(t, app, "/api/f?do="+do+"&on="+on, i.keys[app])
	if status != http.StatusOK {
		t.Fatalf("%s %s by %s: %d %s", do, on, app, status, body)
	}
	if text, ok := strings.CutPrefix(body, "done: "); ok {
		return text, true
	}
	return body, false
}

func (i *installation) can(t *testing.T, app, do, on string) string {
	t.Helper()
	text, ok := i.try(t, app, do, on)
	if !ok {
		t.Errorf("%s cannot %s %s: %s", app, do, on, text)
	}
	return text
}

func (i *installation) cannot(t *testing.T, app, do, on string) {
	t.Helper()
	if text, ok := i.try(t, app, do, on); ok || !strings.Contains(text, "permi") { // EACCES and EPERM
		t.Errorf("%s can %s %s: %.60q", app, do, on, text)
	}
}

// id gives the user id of an app's worker.
func (i *installation) id(t *testing.T, app string) string {
	t.Helper()
	return field(i.can(t, app, "read", "/proc/self/status"), "Uid")
}

// field gives the first value of a line of /proc/PID/status, or all if they
// differ.
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			fields := strings.Fields(value)
			for _, f := range fields {
				if f != fields[0] {
					return strings.Join(fields, " ")
				}
			}
			return strings.Join(fields[:min(1, len(fields))], "")
		}
	}
	return "no " + name
}

// alive reports whether a process runs.
func alive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(text), "Z (zombie)")
}
