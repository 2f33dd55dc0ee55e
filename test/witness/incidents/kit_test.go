// Package incidents replays what went wrong for people elsewhere, a test for each
// thread: against the program itself, in drill mode, through its commands, as
// docs/incidents.md tells people to. It does not know how anything works inside.
package incidents

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// patience bounds every wait of a test here.
const patience = 60 * time.Second

// TestMain runs the tests, or the worker of an app when this program was started
// as one.
func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		os.Exit(work())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "latchkey-incidents")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programDir = dir
	return m.Run()
}

// programDir is where the program is built to.
var programDir string

// program builds the program once, as a release is built.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "latchkey")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/latchkey")
	cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return path, nil
})

// installation is a running `latchkey up`, and a client with its owner's
// credential.
type installation struct {
	*platformtest.Platform
	dir   string // has latchkey.yaml and the data folder
	cmd   *exec.Cmd
	ended chan struct{}
	log   string

	Management string `json:"management"`
	Functions  string `json:"functions"`
}

// common is in every latchkey.yaml here. Workers run as the test's own user: others
// cannot get to its program.
const common = `
functions: {address: "127.0.0.1:0"}
management: {address: "127.0.0.1:0"}
metrics: {address: "127.0.0.1:0"}
workers: {isolation: "off"}
`

// up starts an installation in drill mode and waits until it is ready. settings are
// added to latchkey.yaml, env to the environment.
func up(t *testing.T, settings string, env ...string) *installation {
	t.Helper()
	path, err := program()
	must(t, err)
	dir := t.TempDir()
	in := &installation{dir: dir, ended: make(chan struct{}), log: filepath.Join(dir, "log")}
	must(t, os.WriteFile(filepath.Join(dir, "latchkey.yaml"), []byte(common+settings), 0o600))
	log, err := os.Create(in.log)
	must(t, err)
	defer log.Close()
	in.cmd = exec.Command(path, "up", "--drill", "--data-dir", in.data(), "--log-format", "json")
	in.cmd.Dir, in.cmd.Stderr, in.cmd.Env = dir, log, append(os.Environ(), env...)
	out, err := in.cmd.StdoutPipe()
	must(t, err)
	must(t, in.cmd.Start())
	t.Cleanup(func() { in.stop(t) })
	in.ready(t, out)
	in.connect(t)
	return in
}

func (in *installation) data() string { return filepath.Join(in.dir, "data") }

// ready reads where the installation listens, which it prints when it serves.
func (in *installation) ready(t *testing.T, out io.Reader) {
	t.Helper()
	first := make(chan error, 1)
	go func() {
		defer close(in.ended)
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, in)
		}
		first <- err
		_ = in.cmd.Wait()
	}()
	select {
	case err := <-first:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("latchkey up did not get ready")
	}
}

func (in *installation) connect(t *testing.T) {
	t.Helper()
	cred, err := armclient.ReadCredential(filepath.Join(in.data(), "owner.json"))
	must(t, err)
	cred.Endpoint, cred.CAFile = in.Management, filepath.Join(in.data(), "ca.pem")
	client, err := armclient.New(cred)
	must(t, err)
	in.Platform = &platformtest.Platform{Cred: cred, Client: client}
}

// stop ends the installation as an operator would, and shows its log if the test
// failed.
func (in *installation) stop(t *testing.T) {
	_ = in.cmd.Process.Signal(os.Interrupt)
	select {
	case <-in.ended:
	case <-time.After(patience):
		_ = in.cmd.Process.Kill()
		t.Error("latchkey up did not end")
	}
	if t.Failed() {
		text, _ := os.ReadFile(in.log)
		lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.Contains(line, `"msg":"request"`) })
		t.Logf("log of the installation:\n%s", strings.Join(lines, ""))
	}
}

// run runs a command about the installation and gives what it printed; input is
// its standard input.
func (in *installation) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := in.try(t, input, args...)
	if err != nil {
		t.Fatalf("latchkey %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for commands that may fail.
func (in *installation) try(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	path, err := program()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(args, "--data-dir", in.data())...)
	var out, complaint bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = in.dir, strings.NewReader(input), &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, complaint.String())
	}
	return out.String(), nil
}

// secret sets a secret of a vault.
func (in *installation) secret(t *testing.T, vault, name, value string, more ...string) {
	t.Helper()
	in.run(t, value, append([]string{"vault", "secret", "set", vault, name}, more...)...)
}

// shop makes the vault shop-kv with the secret db-password, which is "first", and
// the app shop that may read it through its own identity, and that refers to it in
// the setting DATABASE_PASSWORD. more are further settings, K=V.
func (in *installation) shop(t *testing.T, more ...string) {
	t.Helper()
	in.run(t, "", "vault", "create", "shop-kv")
	in.secret(t, "shop-kv", "db-password", "first")
	in.app(t, append(more, "DATABASE_PASSWORD="+reference("db-password"))...)
	in.run(t, "", "identity", "assign", "shop")
	in.run(t, "", "role", "assign", "Key Vault Secrets User", "--principal", "shop", "--scope", "vault/shop-kv")
	in.run(t, "", "references", "refresh", "shop")
}

// app makes the app shop and deploys the worker of this program to it.
func (in *installation) app(t *testing.T, settings ...string) {
	t.Helper()
	args := []string{"app", "create", "shop", "--setting", workerVariable + "=1", "--setting", "FUNCTIONS_WORKER_RUNTIME=custom"}
	for _, s := range settings {
		args = append(args, "--setting", s)
	}
	in.run(t, "", args...)
	in.Deploy(t, "shop", platformtest.Package(t, []string{"env", "secret"}, nil))
}

// site is the id of the app shop.
func (in *installation) site() string {
	return in.Subscription() + "/resourceGroups/apps/providers/Microsoft.Web/sites/shop"
}

// reference is a setting that refers to a secret of the vault shop-kv.
func reference(secret string) string {
	return "@Microsoft.KeyVault(VaultName=shop-kv;SecretName=" + secret + ")"
}

// call calls a function of the app shop.
func (in *installation) call(ctx context.Context, path, key string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+in.Functions+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = "shop.localhost"
	req.Header.Set("x-functions-key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// key shows a key of the app shop.
func (in *installation) key(t *testing.T, name string, which ...string) string {
	t.Helper()
	var key struct{ Value string }
	parse(t, in.run(t, "", append([]string{"keys", "show", name, "--app", "shop", "--show", "--output", "json"}, which...)...), &key)
	return key.Value
}

// has gives the value that the running worker of the app shop has in a setting.
func (in *installation) has(t *testing.T, setting string) string {
	t.Helper()
	status, body, err := in.call(t.Context(), "/api/env?name="+setting, in.key(t, "default"))
	if err != nil || status != http.StatusOK {
		t.Fatalf("the app answers %d %s, %v", status, body, err)
	}
	return body
}

// awaitHas waits until the worker has a value.
func (in *installation) awaitHas(t *testing.T, setting, value string) {
	t.Helper()
	key := in.key(t, "default")
	until(t, "the worker has "+value, func() bool {
		status, body, err := in.call(t.Context(), "/api/env?name="+setting, key)
		must(t, err)
		if status != http.StatusOK {
			t.Fatalf("the app answers %d %s", status, body)
		}
		return body == value
	})
}

// standing is a reference as the commands show it.
type standing struct {
	Setting, Status, Why, InnerCode, Version string
	Stale                                    bool
	LastAttempt                              time.Time
}

// references tells how the references of the app shop stand.
func (in *installation) references(t *testing.T) map[string]standing {
	t.Helper()
	out, err := in.try(t, "", "references", "list", "shop", "--output", "json") // fails when one is not resolved
	var list []standing
	if bad := json.Unmarshal([]byte(out), &list); bad != nil {
		t.Fatalf("references: %v, %v: %s", bad, err, out)
	}
	all := map[string]standing{}
	for _, r := range list {
		all[r.Setting] = r
	}
	return all
}

// awaitStanding waits until a reference is as wanted.
func (in *installation) awaitStanding(t *testing.T, setting, what string, as func(standing) bool) standing {
	t.Helper()
	var now standing
	until(t, setting+" is "+what, func() bool {
		now = in.references(t)[setting]
		return as(now)
	})
	return now
}

// advance moves the clock by ten minutes or more and waits until the references
// were fetched after that.
func (in *installation) advance(t *testing.T, by string) {
	t.Helper()
	var clock struct{ Now time.Time }
	parse(t, in.run(t, "", "clock", "advance", by, "--output", "json"), &clock)
	moved := clock.Now.Add(-5 * time.Minute) // it is told a moment after the move
	for setting := range in.references(t) {
		in.awaitStanding(t, setting, "fetched after "+by, func(s standing) bool { return s.LastAttempt.After(moved) })
	}
}

// asker gives what asks the management API with a token of now, and gives answers
// as they are.
func (in *installation) asker(t *testing.T) func(t *testing.T, method, path string) (int, string) {
	t.Helper()
	token := strings.TrimSpace(in.run(t, "", "token", "get"))
	authority, err := os.ReadFile(filepath.Join(in.data(), "ca.pem"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	return func(t *testing.T, method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, in.Management+path+"?api-version=2023-12-01", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, string(body)
	}
}

// load calls the app shop from several sides until it is told to stop, and counts.
type load struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
	mu     sync.Mutex
	good   int
	bad    int
	first  string // that failed
}

// press begins to call; every answer must be one of those wanted.
func (in *installation) press(t *testing.T, path string, wanted ...string) *load {
	t.Helper()
	l := &load{}
	key := in.key(t, "default")
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	for range 4 {
		l.work.Go(func() {
			for ctx.Err() == nil {
				status, body, err := in.call(t.Context(), path, key)
				l.count(status, body, err, wanted)
			}
		})
	}
	t.Cleanup(func() { l.cancel(); l.work.Wait() })
	return l
}

func (l *load) count(status int, body string, err error, wanted []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range wanted {
		if err == nil && status == http.StatusOK && body == w {
			l.good++
			return
		}
	}
	if l.bad++; l.bad == 1 {
		l.first = fmt.Sprintf("%d %.200s, %v", status, body, err)
	}
}

func (l *load) so() (good, bad int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good, l.bad
}

// more waits until so many further calls were answered.
func (l *load) more(t *testing.T, calls int) {
	t.Helper()
	before, _ := l.so()
	until(t, "more calls are answered", func() bool {
		good, bad := l.so()
		return good >= before+calls || bad > 0
	})
}

// end stops calling; nothing may have failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.work.Wait()
	if good, bad := l.so(); good == 0 || bad > 0 {
		t.Errorf("%d calls succeeded and %d failed, first with %s", good, bad, l.first)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, text string, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond) // between looks at another process
	}
}
