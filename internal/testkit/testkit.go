// Package testkit owns a host for tests: a node that runs an app folder in this
// process, with a real custom handler process whose answers the test decides,
// and a client for it. It is for tests only and does not know what they check.
package testkit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server"
)

// Patience bounds every wait of a test.
const Patience = 30 * time.Second

// App describes a host to start. The zero value is an app without functions.
type App struct {
	Files    map[string]string // by path below the app folder; host.json is made if missing
	Settings map[string]string // the process environment of the node
	Mode     Mode              // of the generated host.json
	Host     string            // further members of the generated host.json, such as `"functionTimeout":"00:00:01"`
	// Handler answers what the handler process is asked. It runs in the test's
	// process; the handler process relays to it. nil answers 200 to everything.
	Handler http.Handler
	// Configure may change the node's configuration before it is opened.
	Configure func(*server.Config)
	// MayFail lets the app come up in state Error or Offline.
	MayFail bool
}

// Mode is how a custom handler gets its requests.
type Mode string

// Modes of custom handlers.
const (
	Default    Mode = ""
	Forwarding Mode = `"enableForwardingHttpRequest":true,`
	Proxying   Mode = `"enableProxyingHttpRequest":true,`
)

// Host is a running node.
type Host struct {
	Node *server.Node
	Dir  string // the app's folder
	Base string // http://127.0.0.1:port
	Log  *Log

	cancel context.CancelFunc
	ended  chan error
}

// Start runs an app until the test ends. The test binary must run its tests
// through [Main].
func Start(t testing.TB, app App) *Host {
	t.Helper()
	h := &Host{Dir: t.TempDir(), Log: &Log{}, ended: make(chan error, 1)}
	up := httptest.NewServer(app.handler())
	t.Cleanup(func() { up.CloseClientConnections(); up.Close() })
	h.write(t, app)
	cfg := server.Config{
		Dir: h.Dir, Environ: environ(app.Settings, up.URL), Host: "127.0.0.1", Version: "test",
		Log: h.Log, Grace: 5 * time.Second,
	}
	if app.Configure != nil {
		app.Configure(&cfg)
	}
	node, err := server.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Node, h.Base = node, "http://"+node.Addr()
	h.run(t, app.MayFail)
	if g, ok := app.Handler.(*Gate); ok {
		t.Cleanup(g.Open) // before the node waits for its requests
	}
	return h
}

func (a App) handler() http.Handler {
	if a.Handler != nil {
		return a.Handler
	}
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
}

func (h *Host) write(t testing.TB, app App) {
	t.Helper()
	if _, given := app.Files["host.json"]; !given {
		h.WriteFile(t, "host.json", HostJSON(app.Mode, app.Host))
	}
	for name, text := range app.Files {
		h.WriteFile(t, name, text)
	}
}

// WriteFile writes a file of the app, replacing it at once.
func (h *Host) WriteFile(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// HostJSON makes a host.json whose custom handler is this test binary.
func HostJSON(mode Mode, more string) string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if more != "" {
		more = "," + more
	}
	return `{"version":"2.0","customHandler":{` + string(mode) + `"description":{"defaultExecutablePath":"` + exe + `"}}` + more + `}`
}

// HTTPFunction makes a function.json with an HTTP trigger; more is added to the
// trigger, such as `"route":"x/{id}"`.
func HTTPFunction(level, more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"` + level + `"` + more + `},` +
		`{"type":"http","direction":"out","name":"res"}]}`
}

func environ(settings map[string]string, upstream string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), upstreamVariable + "=" + upstream}
	for name, value := range settings {
		env = append(env, name+"="+value)
	}
	return env
}

func (h *Host) run(t testing.TB, mayFail bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.ended <- h.Node.Run(ctx) }()
	t.Cleanup(func() { h.Stop(t) })
	states := []instance.State{instance.Running}
	if mayFail {
		states = append(states, instance.Error, instance.Offline)
	}
	h.Await(t, states...)
}

// Stop ends the node; the end of the test does so too.
func (h *Host) Stop(t testing.TB) {
	t.Helper()
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.cancel = nil
	if err := <-h.ended; err != nil {
		t.Errorf("the node failed: %v", err)
	}
	h.Node.Close()
	if t.Failed() {
		t.Logf("end of the host's log:\n%s", h.Log.tail(2000))
	}
}

// Await waits for the app to be in one of the states.
func (h *Host) Await(t testing.TB, states ...instance.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	st, err := h.Node.Instance().AwaitState(ctx, states...)
	if err != nil {
		t.Fatalf("the app is in state %s (%s), waited for %v\n%s", st.State, strings.Join(st.Errors, "; "), states, h.Log)
	}
}

// Master gives the master key.
func (h *Host) Master(t testing.TB) string {
	t.Helper()
	return h.key(t, keyring.MasterKey(), accesskey.MasterName)
}

// HostKey gives the default host function key.
func (h *Host) HostKey(t testing.TB) string {
	t.Helper()
	return h.key(t, keyring.HostKeys(), "default")
}

// FunctionKey gives the default key of a function.
func (h *Host) FunctionKey(t testing.TB, function string) string {
	t.Helper()
	return h.key(t, keyring.FunctionKeys(function), "default")
}

// SystemKey gives the system key of an extension, made if there is none.
func (h *Host) SystemKey(t testing.TB, extension string) string {
	t.Helper()
	k, _, err := h.Node.Keys().EnsureSystemKey(t.Context(), extension)
	if err != nil {
		t.Fatal(err)
	}
	return k.Value
}

func (h *Host) key(t testing.TB, sec keyring.Section, name string) string {
	t.Helper()
	k, err := h.Node.Keys().Get(t.Context(), sec, name)
	if err != nil {
		t.Fatal(err)
	}
	return k.Value
}
