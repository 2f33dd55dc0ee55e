// Package azurite owns the storage emulator that Latchkey is tested with: it
// installs the pinned version once per machine, outside the source tree, and runs
// its blob or queue service for a test. It does not know what is kept there.
package azurite

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed" // for the files below
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

const (
	installTime = 5 * time.Minute
	startTime   = time.Minute
)

// Account and Key are those of the emulator's one storage account, published in
// its documentation.
const (
	Account = "devstoreaccount1"
	Key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Require is the environment variable that makes tests fail, not skip, where the
// emulator cannot be had.
const Require = "LATCHKEY_REQUIRE_WITNESSES"

// Options say how the emulator runs. The zero value keeps blobs in memory and
// speaks http.
type Options struct {
	// Queues runs the queue service in place of that of blobs.
	Queues bool
	// Dir keeps what an emulator that is stopped in order has; "" is memory. One
	// that is killed loses the changes of its last seconds.
	Dir string
	// CertFile and KeyFile make it speak https and take bearer tokens, whose
	// signatures it does not check.
	CertFile string
	KeyFile  string
}

// Server is a running emulator. It is for one goroutine.
type Server struct {
	t       testing.TB
	options Options
	port    string
	cmd     *exec.Cmd
	ended   chan struct{}
}

// Start runs an emulator until the test ends. The test is skipped where Node or
// npm are missing or the package cannot be fetched.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	s := &Server{t: t, options: options, port: port}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// ServiceURL is the address of the storage account's service that runs.
func (s *Server) ServiceURL() string {
	scheme := "http"
	if s.options.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://127.0.0.1:" + s.port + "/" + Account
}

// ConnectionString is that of the storage account.
func (s *Server) ConnectionString() string {
	return "AccountName=" + Account + ";AccountKey=" + Key + ";" + s.options.endpoint() + "=" + s.ServiceURL()
}

func (o Options) endpoint() string {
	if o.Queues {
		return "QueueEndpoint"
	}
	return "BlobEndpoint"
}

func (o Options) service() string {
	if o.Queues {
		return "queue"
	}
	return "blob"
}

// Restart runs the emulator again, at the same address, after Kill or Stop.
func (s *Server) Restart() {
	s.t.Helper()
	if s.cmd != nil {
		s.t.Fatal("the emulator is still running")
	}
	cmd := exec.Command("node", s.arguments()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var said []string
	go func() {
		defer close(ended)
		lines, open := bufio.NewScanner(out), true
		for lines.Scan() {
			if open && strings.Contains(lines.Text(), "successfully listen") {
				open = false
				close(ready)
			} else if open {
				said = append(said, lines.Text())
			}
		}
		_ = cmd.Wait()
	}()
	s.cmd, s.ended = cmd, ended
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	select {
	case <-ready:
	case <-ended:
		s.t.Fatal("the emulator ended at once: " + strings.Join(said, "\n"))
	case <-timer.C:
		s.t.Fatal("the emulator does not listen")
	}
}

func (s *Server) arguments() []string {
	service := s.options.service()
	args := []string{
		filepath.Join(installed(s.t), "node_modules", "azurite", "dist", "src", service, "main.js"),
		"--silent", "--disableTelemetry", "--skipApiVersionCheck", "--" + service + "Host", "127.0.0.1", "--" + service + "Port", s.port,
	}
	if s.options.Dir == "" {
		args = append(args, "--inMemoryPersistence")
	} else {
		args = append(args, "--location", s.options.Dir)
	}
	if s.options.CertFile != "" {
		args = append(args, "--oauth", "basic", "--cert", s.options.CertFile, "--key", s.options.KeyFile)
	}
	return args
}

// Kill ends the emulator as a fault would. Ending it twice is harmless.
func (s *Server) Kill() { s.end(os.Kill) }

// Stop ends the emulator in order, so that it keeps what it has on disk.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	timer := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
	<-s.ended
	timer.Stop()
	s.cmd = nil
}

// installed gives a folder with node_modules, installing it if it is the first time
// for this lock file.
func installed(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, program+" is not on the PATH; install Node.js 20 or later with npm to test with the storage emulator")
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		lacking(t, "there is no cache folder for the storage emulator ("+err.Error()+"); set HOME or XDG_CACHE_HOME")
	}
	sum := sha256.Sum256(append(append([]byte{}, packageJSON...), packageLock...))
	dir := filepath.Join(cache, "latchkey-test", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*installTime)
	defer cancel()
	unlock, err := atomicfile.NewLock(dir + ".lock").Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	install(t, dir)
	return dir
}

// install fetches into a folder beside the final one, which therefore only ever
// exists complete.
func install(t testing.TB, dir string) {
	t.Helper()
	t.Log("installing the storage emulator into " + dir)
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(part, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000") // without a network, soon know it
	cmd.Dir = part
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(part)
		lacking(t, fmt.Sprintf("npm ci could not fetch the storage emulator; give this machine access to a package registry: %v\n%s", err, out))
	}
	if err := os.Rename(part, dir); err != nil {
		t.Fatal(err)
	}
}

// lacking ends the test for want of something on the machine.
func lacking(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(Require) != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}
