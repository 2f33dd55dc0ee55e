package containerapps_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// node is a running `latchkey up`, which can be killed and started again.
type node struct {
	binary, dir string
	args        []string
	cmd         *exec.Cmd
	ended       chan struct{}

	Management string `json:"management"`
	Functions  string `json:"functions"`
}

// startNode starts a node until the test ends; args are further arguments.
func startNode(t testing.TB, binary, dir string, args ...string) *node {
	t.Helper()
	n := &node{binary: binary, dir: dir, args: args}
	t.Cleanup(func() {
		if n.cmd != nil {
			n.kill()
		}
		if text, err := os.ReadFile(n.log()); t.Failed() && err == nil {
			t.Logf("the end of the node's log:\n%s", text[max(0, len(text)-20000):])
		}
	})
	n.start(t)
	return n
}

func (n *node) log() string { return filepath.Join(n.dir, "test.log") }

// start starts the node at the addresses that it had, and waits until it is ready.
func (n *node) start(t testing.TB) {
	t.Helper()
	functions, management := "127.0.0.1:0", "127.0.0.1:0"
	if n.Functions != "" {
		functions, management = n.Functions, strings.Replace(strings.TrimPrefix(n.Management, "https://"), "localhost", "127.0.0.1", 1)
	}
	n.cmd = exec.Command(n.binary, append([]string{"up", "--data-dir", n.dir, "--log-format", "json", "--metrics-address", "",
		"--functions-address", functions, "--management-address", management}, n.args...)...)
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stderr = log
	out, err := n.cmd.StdoutPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan error, 1), make(chan struct{})
	n.ended = ended
	first := n.Functions == "" // later it is asked for the same addresses, which others read meanwhile
	go func(cmd *exec.Cmd) {
		defer close(ended)
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil && first {
			err = json.Unmarshal(line, n)
		}
		ready <- err
		_ = cmd.Wait()
	}(n.cmd)
	select {
	case err = <-ready:
	case <-time.After(platformtest.Patience):
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		n.kill()
		t.Fatalf("latchkey up did not get ready: %v", err)
	}
}

// kill ends the node as a power cut would.
func (n *node) kill() {
	if n.cmd.Process != nil {
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
}

// owner gives the management API as the owner.
func (n *node) owner(t testing.TB) arm {
	t.Helper()
	cred, err := armclient.ReadCredential(filepath.Join(n.dir, "owner.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := armclient.New(cred)
	if err != nil {
		t.Fatal(err)
	}
	return armOf(c, cred)
}
