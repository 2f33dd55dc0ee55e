// Package platformtest owns a platform for tests: a node in this process with
// apps whose handler is the test itself, and a client with the owner's
// credential. It is for tests only and does not know what they check.
package platformtest

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
)

// Patience bounds every wait of a test.
const Patience = 60 * time.Second

// Config is [platform.Config], for tests of packages that must not know platform.
type Config = platform.Config

// Platform is a running node with its client.
type Platform struct {
	Node   *platform.Node
	Config platform.Config
	Log    *testkit.Log
	Client *armclient.Client
	Cred   armclient.Credential

	cancel context.CancelFunc
	ended  chan error
}

// Start runs a node until the test ends. The zero fields of cfg get what suits a
// test: free ports, a temporary folder, a log that is shown when the test fails.
func Start(t testing.TB, cfg platform.Config) *Platform {
	t.Helper()
	p := &Platform{Log: &testkit.Log{}}
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	for _, address := range []*string{&cfg.Functions, &cfg.Management} {
		if *address == "" {
			*address = "127.0.0.1:0"
		}
	}
	if cfg.Workers.Isolation == "" {
		cfg.Workers.Isolation = "off" // other users cannot get to a test's folders, nor to its program
	}
	if cfg.Containers.Engine == "" {
		cfg.Containers.Engine = platform.EngineNone
	}
	if cfg.Log == nil {
		cfg.Log = p.Log
	}
	if cfg.Grace == 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.Environ == nil {
		cfg.Environ = os.Environ()
	}
	p.Config = cfg
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the node:\n%s", p.Log)
		}
	})
	p.Restart(t)
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Restart starts the node, after Stop.
func (p *Platform) Restart(t testing.TB) {
	t.Helper()
	node, err := platform.Open(t.Context(), p.Config)
	if err != nil {
		t.Fatalf("the platform does not open: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.Node, p.cancel, p.ended = node, cancel, make(chan error, 1)
	go func(ended chan error) { ended <- node.Run(ctx) }(p.ended)
	ready, stop := context.WithTimeout(t.Context(), Patience)
	defer stop()
	if err := node.Ready(ready); err != nil {
		t.Fatalf("the platform is not ready: %v", err)
	}
	path := filepath.Join(p.Config.DataDir, platform.OwnerFile)
	if _, err := os.Stat(path); err != nil {
		return // a further node of an installation
	}
	if p.Cred, err = armclient.ReadCredential(path); err != nil {
		t.Fatal(err)
	}
	if p.Client, err = armclient.New(p.Cred); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the node; the end of the test does so too.
func (p *Platform) Stop(t testing.TB) {
	t.Helper()
	if p.cancel == nil {
		return
	}
	p.cancel()
	p.cancel = nil
	if err := <-p.ended; err != nil {
		t.Errorf("the node failed: %v", err)
	}
	p.Node.Close()
}

// Subscription gives the id of the subscription.
func (p *Platform) Subscription() string { return "/subscriptions/" + p.Cred.SubscriptionID }

// Site gives the id of an app in the resource group "rg".
func (p *Platform) Site(name string) string {
	return p.Subscription() + "/resourceGroups/rg/providers/Microsoft.Web/sites/" + name
}

// Do calls the management API and fails the test on an error.
func (p *Platform) Do(t testing.TB, method, path string, in, out any) {
	t.Helper()
	if err := p.Client.Do(t.Context(), method, path, in, out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// Upstream serves what apps of the test relay to until the test ends.
func Upstream(t testing.TB, h http.Handler) string {
	t.Helper()
	up := httptest.NewServer(h)
	t.Cleanup(up.Close)
	return up.URL
}

// CreateApp creates an app in the resource group "rg", whose handler relays to an
// upstream.
func (p *Platform) CreateApp(t testing.TB, name, upstream string) {
	t.Helper()
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, p.Site(name), map[string]any{
		"location": "local", "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": testkit.UpstreamSetting, "value": upstream}, {"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"},
		}}},
	}, nil)
}

// Package makes a zip of an app with functions of level function; more are
// further files.
func Package(t testing.TB, functions []string, more map[string]string) []byte {
	t.Helper()
	files := map[string]string{"host.json": testkit.HostJSON(testkit.Forwarding, "")}
	for _, f := range functions {
		files[f+"/function.json"] = testkit.HTTPFunction("function", "")
	}
	for name, text := range more {
		files[name] = text
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Deploy deploys a zip through the app's deployment endpoint.
func (p *Platform) Deploy(t testing.TB, app string, zip []byte) {
	t.Helper()
	var out bytes.Buffer
	url := strings.Replace(p.Cred.Endpoint, "://", "://"+app+".scm.", 1) + "/api/zipdeploy"
	if err := p.Client.Stream(t.Context(), http.MethodPost, url, "application/zip", bytes.NewReader(zip), &out); err != nil {
		t.Fatalf("deploying %s: %v", app, err)
	}
}

// HostKeys lists the keys of an app's host.
func (p *Platform) HostKeys(t testing.TB, app string) (master, host string) {
	t.Helper()
	var keys struct {
		MasterKey    string            `json:"masterKey"`
		FunctionKeys map[string]string `json:"functionKeys"`
	}
	p.Do(t, http.MethodPost, p.Site(app)+"/host/default/listKeys", nil, &keys)
	return keys.MasterKey, keys.FunctionKeys["default"]
}

var client = sync.OnceValue(func() *http.Client { return &http.Client{Timeout: Patience} })

// Call calls a function of an app with a key and gives the answer's status and
// body.
func (p *Platform) Call(t testing.TB, app, path, key string) (int, string) {
	t.Helper()
	status, body, err := p.TryCall(t.Context(), app, path, key)
	if err != nil {
		t.Fatalf("%s%s: %v", app, path, err)
	}
	return status, body
}

// TryCall is Call for tests in which a call may fail.
func (p *Platform) TryCall(ctx context.Context, app, path, key string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Node.FunctionsAddr()+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = app + ".localhost"
	if key != "" {
		req.Header.Set("x-functions-key", key)
	}
	resp, err := client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Until waits until something is so.
func Until(t testing.TB, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", Patience, what)
		}
		time.Sleep(5 * time.Millisecond) // between looks at another program's state
	}
}
