package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/internal/trust"
)

// keeper is somebody who works with an installation at a terminal.
type keeper struct {
	p              *platformtest.Platform
	machine        trust.Machine
	typed          string
	stdout, stderr bytes.Buffer
}

const hostsBefore = "127.0.0.1 localhost\n"

// newKeeper starts an installation beside a machine whose files are fakes.
func newKeeper(t *testing.T) *keeper {
	t.Helper()
	root := t.TempDir()
	k := &keeper{p: platformtest.Start(t, platform.Config{})}
	k.machine = trust.Machine{Hosts: filepath.Join(root, "hosts"), Stores: trust.KnownStores(root), Root: true, Clock: clock.Real{}}
	store := k.machine.Stores[1] // as on Fedora
	err := errors.Join(os.MkdirAll(store.Folder, 0o755), os.MkdirAll(filepath.Dir(store.Bundle), 0o755), os.WriteFile(k.machine.Hosts, []byte(hostsBefore), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	k.machine.Run = func(context.Context, []string) ([]byte, error) {
		var bundle []byte
		files, err := filepath.Glob(filepath.Join(store.Folder, "*"))
		for _, f := range files {
			text, e := os.ReadFile(f)
			bundle, err = append(bundle, text...), errors.Join(err, e)
		}
		return nil, errors.Join(err, os.WriteFile(store.Bundle, bundle, 0o644))
	}
	return k
}

// run runs latchkey trust with the installation's data folder.
func (k *keeper) run(t *testing.T, args ...string) int {
	t.Helper()
	k.stdout.Reset()
	k.stderr.Reset()
	return Main(Env{
		Args: append(append([]string{"trust"}, args...), "--data-dir", k.p.Config.DataDir), Stdin: strings.NewReader(k.typed), Stdout: &k.stdout, Stderr: &k.stderr,
		Environ: os.Environ(), Prompt: k.typed != "", Context: t.Context(), Machine: &k.machine,
	})
}

func (k *keeper) must(t *testing.T, want int, args ...string) string {
	t.Helper()
	if code := k.run(t, args...); code != want {
		t.Fatalf("trust %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &k.stdout, &k.stderr)
	}
	return k.stdout.String()
}

func (k *keeper) hosts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(k.machine.Hosts)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (k *keeper) view(t *testing.T) trustView {
	t.Helper()
	var v trustView
	if err := json.Unmarshal([]byte(k.must(t, exitOK, "show", "--output", "json")), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTrustInstallsWhatTheAppsNeedAndUndoesIt(t *testing.T) {
	k := newKeeper(t)
	k.p.CreateApp(t, "shop", "http://127.0.0.1:1")
	const shop, mail = "127.0.0.1 shop.localhost shop.scm.localhost", "127.0.0.1 mail.localhost mail.scm.localhost"
	if out := k.must(t, exitOK, "install", "--dry-run"); !strings.Contains(out, "+ "+shop) || !strings.Contains(out, "update-ca-trust extract") {
		t.Errorf("what would be done:\n%s", out)
	}
	k.must(t, exitUsage, "install") // nobody can be asked
	k.typed = "n\n"
	k.must(t, exitFailed, "install")
	if v := k.view(t); v.Authority.Store != string(trust.Absent) || k.hosts(t) != hostsBefore || len(v.Hosts.Missing) != 1 || v.Hosts.Missing[0] != shop {
		t.Fatalf("before anybody said yes: %+v, hosts %q", v, k.hosts(t))
	}
	k.typed = "y\n"
	k.must(t, exitOK, "install")
	if v := k.view(t); v.Authority.Store != string(trust.Installed) || len(v.Hosts.Missing) != 0 || !v.Authority.Constrained {
		t.Errorf("after installing: %+v", v)
	}
	if out := k.must(t, exitOK, "install"); out != "Nothing to do.\n" {
		t.Errorf("installing again: %s", out)
	}
	k.p.CreateApp(t, "mail", "http://127.0.0.1:1")
	if out := k.must(t, exitOK, "hosts"); out != mail+"\n"+shop+"\n" || strings.Contains(k.hosts(t), mail) {
		t.Errorf("looking at the entries: %s, hosts %q", out, k.hosts(t))
	}
	if out := k.must(t, exitOK, "hosts", "--sync", "--yes"); !strings.Contains(out, "+ "+mail) || strings.Contains(out, shop) || !strings.Contains(k.hosts(t), mail) {
		t.Errorf("renewing the entries: %s, hosts %q", out, k.hosts(t))
	}
	k.must(t, exitOK, "uninstall", "--yes")
	if v := k.view(t); v.Authority.Store != string(trust.Absent) || k.hosts(t) != hostsBefore {
		t.Errorf("after uninstalling: %+v, hosts %q", v, k.hosts(t))
	}
}

func TestTrustSaysWhatItMayNotDo(t *testing.T) {
	k := newKeeper(t)
	k.machine.Root = false
	code := k.run(t, "install", "--yes")
	if text := k.stderr.String(); code != exitDenied || !strings.Contains(text, "next: run: sudo latchkey trust install --data-dir "+k.p.Config.DataDir) {
		t.Errorf("without rights: exit code %d, %s", code, text)
	}
	if err := os.WriteFile(k.machine.Hosts, []byte("x\n# <<< latchkey abc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code = k.run(t, "show")
	if text := k.stderr.String(); code != exitFailed || !strings.Contains(text, "at line 2") {
		t.Errorf("damaged marks: exit code %d, %s", code, text)
	}
	k.p.Config.DataDir = t.TempDir()
	k.must(t, exitNotFound, "show")
	k.must(t, exitNotFound, "uninstall")
	k.must(t, exitUsage, "nonsense")
}

func TestTrustWorksWhileThePlatformIsDown(t *testing.T) {
	k := newKeeper(t)
	k.p.CreateApp(t, "shop", "http://127.0.0.1:1")
	k.must(t, exitOK, "hosts", "--sync", "--yes")
	before := k.hosts(t)
	k.p.Stop(t)
	k.must(t, exitOK, "install", "--yes")
	if v := k.view(t); v.Authority.Store != string(trust.Installed) || v.Hosts.AppsKnown || k.hosts(t) != before {
		t.Errorf("installed without apps: %+v, hosts %q", v, k.hosts(t))
	}
	if !strings.Contains(k.stderr.String(), "cannot be reached") {
		t.Errorf("why the apps are not known: %s", &k.stderr)
	}
	k.must(t, exitFailed, "hosts", "--sync", "--yes")
	if k.hosts(t) != before {
		t.Errorf("hosts became %q", k.hosts(t))
	}
}

func TestTrustEnvHasSecretsOnlyWhenAskedFor(t *testing.T) {
	k := newKeeper(t)
	for _, args := range [][]string{{"env"}, {"show"}, {"show", "--output", "json"}, {"env", "--shell", "fish"}} {
		if out := k.must(t, exitOK, args...); strings.Contains(out, k.p.Cred.ClientSecret) || !strings.Contains(out, "ARM_METADATA_HOSTNAME") {
			t.Errorf("%q: %s", args, strings.ReplaceAll(out, k.p.Cred.ClientSecret, "<the secret>"))
		}
	}
	out := k.must(t, exitOK, "env", "--with-credentials")
	if !strings.Contains(out, "export ARM_CLIENT_SECRET='"+k.p.Cred.ClientSecret+"'\n") || !strings.Contains(k.stderr.String(), "warning: ") {
		t.Errorf("with credentials: %d bytes, %s", len(out), &k.stderr)
	}
	if err := os.Remove(filepath.Join(k.p.Config.DataDir, platform.OwnerFile)); err != nil {
		t.Fatal(err)
	}
	k.must(t, exitNotFound, "env", "--with-credentials")
	if out := k.must(t, exitOK, "env"); !strings.Contains(out, "SSL_CERT_FILE") || strings.Contains(out, "AZURE") {
		t.Errorf("without a credential: %s", out)
	}
}

func TestTrustKnowsTheInstallationOfALogin(t *testing.T) {
	k := newKeeper(t)
	k.p.CreateApp(t, "shop", "http://127.0.0.1:1")
	config := t.TempDir()
	login := k.p.Cred
	login.CAFile = filepath.Join(config, "latchkey", "login-ca.pem")
	text, err := os.ReadFile(k.p.Cred.CAFile)
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(login.CAFile), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(login.CAFile, text, 0o600), login.Write(filepath.Join(config, "latchkey", "login.json"))); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"hosts": "127.0.0.1 shop.localhost", "env": "NODE_EXTRA_CA_CERTS='" + login.CAFile} {
		var out, errs bytes.Buffer
		code := Main(Env{
			Args: []string{"trust", args}, Stdout: &out, Stderr: &errs, Context: t.Context(), Machine: &k.machine,
			Environ: []string{"HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + config},
		})
		if code != exitOK || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "SSL_CERT_FILE") {
			t.Errorf("%s: exit code %d\n%s%s", args, code, &out, &errs)
		}
	}
}

// output is what a command that runs on has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestTrustProxyLeadsToTheInstallation(t *testing.T) {
	k := newKeeper(t)
	k.p.CreateApp(t, "shop", "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs output
	ended := make(chan int, 1)
	go func() {
		ended <- Main(Env{
			Args:   []string{"trust", "proxy", "--address", "127.0.0.1:0", "--data-dir", k.p.Config.DataDir},
			Stdout: &out, Stderr: &errs, Environ: os.Environ(), Context: ctx, Machine: &k.machine,
		})
	}()
	var proxy string
	platformtest.Until(t, "the proxy says where it is", func() bool {
		if found := regexp.MustCompile(`HTTPS_PROXY=(\S+)`).FindStringSubmatch(out.String()); found != nil {
			proxy = found[1]
		}
		return proxy != ""
	})
	if _, err := exec.LookPath("curl"); err == nil {
		endpoint, _ := url.Parse(k.p.Cred.Endpoint)
		scm := "https://shop.scm.localhost:" + endpoint.Port() + "/api/settings"
		got, err := exec.CommandContext(ctx, "curl", "-sS", "--noproxy", "", "-x", proxy, "--cacert", k.p.Cred.CAFile, "-o", os.DevNull, "-w", "%{http_code}", scm).CombinedOutput()
		if err != nil || string(got) != "401" {
			t.Errorf("curl: %q, %v", got, err)
		}
	}
	at, _ := url.Parse(proxy)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at), DisableKeepAlives: true}}
	for target, want := range map[string]int{"http://shop.localhost:" + port(k.p.Node.FunctionsAddr()) + "/api/none": http.StatusNotFound, "http://example.com/": http.StatusForbidden} {
		resp, err := client.Get(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", target, resp.Status, want)
		}
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func TestTrustProxyIsNotOpenedToOthersByAccident(t *testing.T) {
	k := newKeeper(t)
	for _, args := range [][]string{
		{"--address", "0.0.0.0:0", "--pass-through"}, {"--address", "localhost:0"}, {"--address", ":7099"}, {"--address", "7099"},
		{"--functions-port", "70000"}, {"--node-address", "localhost"},
	} {
		if code := k.run(t, append([]string{"proxy"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit code %d, %s", args, code, &k.stderr)
		}
	}
	if text := fmt.Sprint(&k.stderr); !strings.Contains(text, "next: ") {
		t.Errorf("no advice: %s", text)
	}
}
