package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
)

// node is a running `latchkey up`.
type node struct {
	cmd     *exec.Cmd
	dir     string
	log     bytes.Buffer
	ready   time.Duration // from the start of the process until it said so
	started time.Time

	Functions  string `json:"functions"`
	Management string `json:"management"`
}

// startNode starts the platform in a data folder, with variables in the
// environment and further arguments, and waits until it is ready.
func startNode(ctx context.Context, binary, dir string, env []string, more ...string) (*node, error) {
	n := &node{dir: dir, started: time.Now()}
	args := []string{"up", "--data-dir", dir, "--log-format", "json", "--log-level", "error", "--metrics-address", "",
		"--functions-address", "127.0.0.1:0", "--management-address", "127.0.0.1:0"}
	n.cmd = exec.CommandContext(ctx, binary, append(args, more...)...)
	n.cmd.Stderr, n.cmd.Env = &n.log, append(os.Environ(), env...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.cmd.StdoutPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	n.ready = time.Since(n.started)
	if err == nil {
		err = json.Unmarshal(line, n)
	}
	if err != nil {
		n.stop()
		return nil, fmt.Errorf("latchkey up: %w: %s", err, n.log.String())
	}
	return n, nil
}

func (n *node) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
}

func (n *node) pid() int { return n.cmd.Process.Pid }

// credential gives the owner's.
func (n *node) credential() (armclient.Credential, error) {
	return armclient.ReadCredential(filepath.Join(n.dir, "owner.json"))
}

// client gives a client with a connection of its own, signed in as the owner.
func (n *node) client(ctx context.Context) (*armclient.Client, error) {
	c, err := n.credential()
	if err != nil {
		return nil, err
	}
	client, err := armclient.New(c)
	if err != nil {
		return nil, err
	}
	return client, client.SignIn(ctx)
}

// memory is what a process has in memory, in KiB.
type memory struct{ anonymous, file int }

func (m memory) total() int { return m.anonymous + m.file }

func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		into := map[string]*int{"RssAnon": &m.anonymous, "RssFile": &m.file}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
			return m, err
		}
	}
	if m.anonymous == 0 {
		return m, errors.New("the system does not say what memory is used")
	}
	return m, nil
}
