package witness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
)

// patience bounds every wait of a test here.
const patience = 60 * time.Second

// binary builds the program once, as a release is built.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "latchkey-witness")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "latchkey")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/latchkey")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return path, nil
})

// process is a running `latchkey up`.
type process struct {
	dir   string
	args  []string
	env   []string // besides the test's own
	cmd   *exec.Cmd
	ended chan struct{}
	log   *os.File

	Management string `json:"management"`
	Functions  string `json:"functions"`
	Metrics    string `json:"metrics"`
}

// up starts a node in a folder and waits until it is ready; args are further
// arguments.
func up(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	return upWith(t, dir, nil, args...)
}

// upWith is up with variables in the environment.
func upWith(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir, args: args, env: env}
	p.start(t)
	t.Cleanup(func() { p.kill() })
	return p
}

// upContained runs container apps as processes, also where the tests are root.
func upContained(t testing.TB) *process {
	t.Helper()
	return upWith(t, t.TempDir(), []string{"LATCHKEY_CONTAINERS_PROCESS_AS_ROOT=true"}, "--metrics-address", "", "--containers", "process")
}

func (p *process) start(t testing.TB) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"up", "--data-dir", p.dir, "--log-format", "json", "--functions-address", or(p.Functions, "127.0.0.1:0"),
		"--management-address", or(strings.Replace(strings.TrimPrefix(p.Management, "https://"), "localhost", "127.0.0.1", 1), "127.0.0.1:0")}
	p.cmd = exec.Command(path, append(args, p.args...)...)
	if p.log, err = os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr, p.cmd.Env = p.log, append(os.Environ(), p.env...)
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan error, 1)
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, p)
		}
		ready <- err
		_ = cmd.Wait()
	}(p.cmd, p.ended)
	select {
	case err = <-ready:
	case <-time.After(patience):
		err = context.DeadlineExceeded
	}
	if err != nil {
		p.kill()
		t.Fatalf("latchkey up did not get ready: %v\n%s", err, p.said())
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// kill ends the process as a power cut would, and waits for its end.
func (p *process) kill() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// stop ends the process as an operator would.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("latchkey up did not end\n%s", p.said())
	}
}

func (p *process) said() string {
	text, _ := os.ReadFile(p.log.Name())
	return string(text)
}

// credential reads the owner's credential that a first start made.
func (p *process) credential(t testing.TB) armclient.Credential {
	t.Helper()
	c, err := armclient.ReadCredential(filepath.Join(p.dir, "owner.json"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client gives a client with the owner's credential, made with another node's if
// this one has none.
func (p *process) client(t testing.TB, owner armclient.Credential) *armclient.Client {
	t.Helper()
	owner.Endpoint, owner.CAFile = p.Management, filepath.Join(p.dir, "ca.pem")
	c, err := armclient.New(owner)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call calls a function of an app.
func (p *process) call(ctx context.Context, app, path, key string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Functions+path, nil)
	if err != nil {
		return 0, err
	}
	req.Host = app + ".localhost"
	req.Header.Set("x-functions-key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// until waits until something is so.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) // between looks at another process
	}
}
