// Package localengine owns container engines for tests: Docker's and podman's,
// each started with everything of its own, given images that are made here, and
// ended without leaving anything. It does not know what the tests run on them.
package localengine

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Setting lets tests start container engines of their own, which takes root, a
// network of their own and minutes.
const Setting = "LATCHKEY_TEST_DOCKER"

// Patience bounds the start of an engine.
const Patience = 2 * time.Minute

// Daemon is a container engine of a test.
type Daemon struct {
	Host    string // such as unix:///tmp/…/docker.sock
	dir     string
	command func() *exec.Cmd
	running *exec.Cmd
	ended   chan struct{} // with running
	began   bool          // it ran once
	bridge  string        // "" for none of its own
}

// Gateway is the address at which containers of Docker find this machine.
func (d *Daemon) Gateway(t testing.TB) string {
	t.Helper()
	one, err := net.InterfaceByName(d.bridge)
	if err != nil {
		t.Fatal(err)
	}
	list, err := one.Addrs()
	if err != nil || len(list) == 0 {
		t.Fatalf("the bridge has no address: %v", err)
	}
	ip, _, err := net.ParseCIDR(list[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return ip.String()
}

// Wanted skips a test for which no engine may be started.
func Wanted(t testing.TB) {
	t.Helper()
	if os.Getenv(Setting) == "" {
		t.Skip("set " + Setting + "=1, or run make test-docker")
	}
}

// Start starts the engine, which must not run, and waits until it answers. A test on
// a machine where it does not start the first time is skipped.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	if err := d.launch(); err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.WithHost(d.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for {
		if _, err = cl.Ping(ctx, client.PingOptions{}); err == nil {
			d.began = true
			return
		}
		select {
		case <-ctx.Done():
			d.fail(t, err)
		case <-d.ended: // it found parts of itself that were just ending, after a kill
			if err := d.launch(); err != nil {
				t.Fatal(err)
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *Daemon) fail(t testing.TB, err error) {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	text = text[max(0, len(text)-4000):]
	if d.began {
		t.Fatalf("the container engine does not start again: %v\n%s", err, text)
	}
	t.Skipf("the container engine does not start here: %v\n%s", err, text)
}

func (d *Daemon) launch() error {
	d.running = d.command()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.running.Stdout, d.running.Stderr = log, log
	d.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.running.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait()
	}(d.running)
	return nil
}

// Stop ends the engine with a signal and waits for its end. Its containers may go on.
func (d *Daemon) Stop(with syscall.Signal) {
	if d.running == nil || d.running.Process == nil {
		return
	}
	_ = syscall.Kill(d.running.Process.Pid, with)
	<-d.ended
}

// end stops the engine and what it left behind: everything that has the test's own
// folder in its command line.
func (d *Daemon) end() {
	d.leaveNetworks()
	d.Stop(syscall.SIGTERM)
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
	if d.bridge != "" {
		_ = exec.Command("ip", "link", "del", d.bridge).Run()
	}
	_ = os.RemoveAll(d.dir)
}

// leaveNetworks removes the networks that installations made, which are bridges of the
// machine. Those with containers stay.
func (d *Daemon) leaveNetworks() {
	cl, err := client.New(client.WithHost(d.Host))
	if err != nil {
		return
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := cl.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return // it does not run
	}
	for _, n := range all.Items {
		if strings.HasPrefix(n.Name, "latchkey-") {
			_, _ = cl.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		}
	}
}

// bridge makes a network bridge that nobody else uses, as engines of several tests
// would give the same addresses otherwise.
func bridge(t testing.TB) string {
	t.Helper()
	for n := range 250 {
		name := "lk-test" + strconv.Itoa(n)
		if exec.Command("ip", "link", "add", name, "type", "bridge").Run() != nil {
			continue // somebody has it
		}
		err := exec.Command("ip", "addr", "add", "10.251."+strconv.Itoa(n+1)+".1/24", "dev", name).Run()
		if err == nil {
			err = exec.Command("ip", "link", "set", name, "up").Run()
		}
		if err != nil {
			_ = exec.Command("ip", "link", "del", name).Run()
			t.Skipf("no network for a container engine can be made here: %v", err)
		}
		return name
	}
	t.Skip("no network for a container engine can be made here: it takes Debian's package iproute2")
	return ""
}

// found gives where a program is.
func found(t testing.TB, program, packages string) string {
	t.Helper()
	Wanted(t)
	path, err := exec.LookPath(program)
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and " + program + ": install Debian's " + packages)
	}
	return path
}

// start starts a daemon until the test ends.
func (d *Daemon) start(t testing.TB, command func() *exec.Cmd) *Daemon {
	t.Helper()
	var err error
	if d.dir, err = os.MkdirTemp("", "lk-engine"); err != nil { // t.TempDir would be too long for containerd's sockets
		t.Fatal(err)
	}
	d.Host, d.command = "unix://"+d.dir+"/engine.sock", command
	t.Cleanup(d.end)
	d.Start(t)
	return d
}

// Docker starts Docker's engine with everything of its own.
func Docker(t testing.TB) *Daemon {
	t.Helper()
	path := found(t, "dockerd", "package docker.io")
	d := &Daemon{bridge: bridge(t)}
	return d.start(t, func() *exec.Cmd {
		return exec.Command(path, "--data-root", d.dir+"/data", "--exec-root", d.dir+"/exec", "--pidfile", d.dir+"/pid", "-H", d.Host, "--bridge", d.bridge,
			"--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false")
	})
}

// podmanSettings keep podman from raising limits, which a test's machine may not let
// it do, and from the machine's own firewall and events.
const podmanSettings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n[network]\nfirewall_driver = \"none\"\n"

// Podman starts podman's compatible service with everything of its own.
func Podman(t testing.TB) *Daemon {
	t.Helper()
	path, d := found(t, "podman", "packages podman and runc"), &Daemon{}
	return d.start(t, func() *exec.Cmd {
		conf := filepath.Join(d.dir, "containers.conf")
		_ = os.WriteFile(conf, []byte(podmanSettings), 0o600) // podman says what it misses
		cmd := exec.Command(path, "--root", d.dir+"/root", "--runroot", d.dir+"/run", "--tmpdir", d.dir+"/tmp", "system", "service", "--time=0", d.Host)
		cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+conf)
		return cmd
	})
}

// Build builds a program of this module, statically.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// Client gives a client of the engine until the test ends.
func (d *Daemon) Client(t testing.TB) *client.Client {
	t.Helper()
	cl, err := client.New(client.WithHost(d.Host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// Load gives the engine an image of nothing but a program, as its /program.
func (d *Daemon) Load(t testing.TB, program, image string) *client.Client {
	t.Helper()
	cl := d.Client(t)
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	_ = w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(binary)), Typeflag: tar.TypeReg})
	_, _ = w.Write(binary)
	_ = w.Close()
	res, err := cl.ImageImport(t.Context(), client.ImageImportSource{Source: &buf, SourceName: "-"}, image, client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/program"]`}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
	return cl
}

// Kill kills a container's process behind the engine's back. One that does not run
// any more stays as it is.
func Kill(t testing.TB, cl *client.Client, id string) {
	t.Helper()
	one, err := cl.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pid := one.Container.State.Pid; pid > 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}

// Container is what an engine tells of one.
type Container struct {
	ID     string
	Labels map[string]string
	Up     bool
}

// List gives all containers and the names of all volumes of the engine.
func List(ctx context.Context, cl *client.Client) (list []Container, volumes []string, err error) {
	containers, err := cl.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range containers.Items {
		list = append(list, Container{c.ID, c.Labels, c.State == container.StateRunning})
	}
	all, err := cl.VolumeList(ctx, client.VolumeListOptions{})
	for _, v := range all.Items {
		volumes = append(volumes, v.Name)
	}
	return list, volumes, err
}

// Pid gives the process of a container; 0 if it does not run.
func Pid(ctx context.Context, cl *client.Client, id string) (int, error) {
	one, err := cl.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return 0, err
	}
	return one.Container.State.Pid, nil
}

// Run starts a container of an image by nobody but the engine, and gives where its
// port is on this machine. It ends with the test.
func Run(t testing.TB, cl *client.Client, image string, args []string, port uint16) string {
	t.Helper()
	number, _ := network.PortFrom(port, network.TCP)
	made, err := cl.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Cmd: args, ExposedPorts: network.PortSet{number: {}}},
		HostConfig: &container.HostConfig{PortBindings: network.PortMap{number: {{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}}}})
	if err == nil {
		t.Cleanup(func() {
			_, _ = cl.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true})
		})
		_, err = cl.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	one, err := cl.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + one.Container.NetworkSettings.Ports[number][0].HostPort
}
