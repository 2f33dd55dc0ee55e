package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/problem"
)

const testImage = "latchkey-test-program:1"

// daemon is a container engine of the test.
type daemon struct {
	host    string
	dir     string
	command func(d daemon) *exec.Cmd
	running *exec.Cmd
}

// start starts the engine and waits until it answers.
func (d *daemon) start(t *testing.T) {
	t.Helper()
	d.running = d.command(*d)
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.running.Stdout, d.running.Stderr = log, log
	d.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.running.Start(); err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.WithHost(d.host))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, err = cl.Ping(ctx, client.PingOptions{}); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
			t.Skipf("the container engine does not start here: %v\n%s", err, text)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *daemon) stop(with syscall.Signal) {
	_ = syscall.Kill(d.running.Process.Pid, with)
	_ = d.running.Wait()
}

// end stops the engine and what it left behind: everything that has the test's own
// folder in its command line.
func (d *daemon) end() {
	d.stop(syscall.SIGTERM)
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		line, _ := os.ReadFile(p)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil && pid != os.Getpid() && bytes.Contains(line, []byte(d.dir+"/")) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, m := range strings.Split(string(mounts), "\n") {
		if at := strings.Fields(m + " . ."); strings.HasPrefix(at[1], d.dir+"/") {
			_ = syscall.Unmount(at[1], syscall.MNT_DETACH)
		}
	}
	_ = os.RemoveAll(d.dir)
}

// engineSetting lets the tests start container engines of their own, which takes
// root, a network of their own and minutes.
const engineSetting = "LATCHKEY_TEST_DOCKER"

func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv(engineSetting) == "" {
		t.Skip("set " + engineSetting + "=1, or run make test-docker")
	}
}

// dockerd starts Docker's engine with everything of its own.
func dockerd(t *testing.T) *daemon {
	t.Helper()
	wanted(t)
	path, err := exec.LookPath("dockerd")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and dockerd: install Debian's package docker.io")
	}
	dir, err := os.MkdirTemp("", "lk-docker") // t.TempDir would be too long for containerd's sockets
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{dir: dir, host: "unix://" + dir + "/docker.sock", command: func(d daemon) *exec.Cmd {
		return exec.Command(path, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "-H", d.host, "--bip", "10.251.7.1/24",
			"--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false")
	}}
	d.start(t)
	t.Cleanup(func() { d.end() })
	return d
}

// podman starts podman's compatible service with everything of its own.
func podman(t *testing.T) *daemon {
	t.Helper()
	wanted(t)
	path, err := exec.LookPath("podman")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and podman: install Debian's packages podman and runc")
	}
	dir, err := os.MkdirTemp("", "lk-podman")
	if err != nil {
		t.Fatal(err)
	}
	// A test's machine may not let podman raise its limits to podman's defaults.
	conf := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n[network]\nfirewall_driver = \"none\"\n"
	if err := os.WriteFile(dir+"/containers.conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{dir: dir, host: "unix://" + dir + "/podman.sock", command: func(d daemon) *exec.Cmd {
		cmd := exec.Command(path, "--root", dir+"/root", "--runroot", dir+"/run", "--tmpdir", dir+"/tmp", "system", "service", "--time=0", d.host)
		cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+dir+"/containers.conf")
		return cmd
	}}
	d.start(t)
	t.Cleanup(func() { d.end() })
	return d
}

// program builds the suite's program, statically.
func program(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "github.com/latchkey/latchkey/internal/engine/enginetest/program")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// load gives the engine the test's image.
func load(t *testing.T, d *daemon, program string) *client.Client {
	t.Helper()
	cl, err := client.New(client.WithHost(d.host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	_ = w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(binary)), Typeflag: tar.TypeReg})
	_, _ = w.Write(binary)
	_ = w.Close()
	res, err := cl.ImageImport(t.Context(), client.ImageImportSource{Source: &buf, SourceName: "-"}, testImage, client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/program"]`}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
	return cl
}

func backend(t *testing.T, d *daemon) enginetest.Backend {
	t.Helper()
	binary := program(t)
	cl := load(t, d, binary)
	return enginetest.Backend{
		Open: func(t *testing.T, cfg engine.Config) engine.Engine {
			e, err := docker.Open(context.WithoutCancel(t.Context()), docker.Config{Config: cfg, Host: d.host, Sidecar: docker.Sidecar{Binary: binary, Args: []string{"wait"}}})
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		Image: testImage, Missing: "localhost:1/none:1", Survives: true, Program: []string{"/program"},
		Kill: func(t *testing.T, o engine.Object) { kill(t, cl, o.ID) },
	}
}

// kill kills a container's process behind the engine's back.
func kill(t *testing.T, cl *client.Client, id string) {
	t.Helper()
	one, err := cl.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(one.Container.State.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestConformanceOfDocker(t *testing.T) {
	enginetest.Run(t, backend(t, dockerd(t)))
}

func TestConformanceOfPodman(t *testing.T) {
	enginetest.Run(t, backend(t, podman(t)))
}

func TestNobodyAnswersNamesTheSocketsTried(t *testing.T) {
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	_, err := docker.Open(t.Context(), docker.Config{Host: host, Sidecar: docker.Sidecar{Binary: "/bin/true"}})
	if engine.ReasonOf(err) != engine.ReasonEngine || problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), host) || !strings.Contains(problem.NextOf(err), `"process"`) {
		t.Errorf("%v\n%s", err, problem.NextOf(err))
	}
}
