package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

func (s *site) name(replica, name string) string {
	return "latchkey-" + s.installation + "-" + replica + "-" + name
}

// Start makes and starts a container; one of the same name is removed first.
func (s *site) Start(ctx context.Context, u supervise.Unit) (string, error) {
	name := s.name(u.Replica, u.Container)
	if err := s.removeOne(ctx, engine.Object{Kind: "container", ID: name}); err != nil {
		return "", err
	}
	opts, err := s.options(ctx, u)
	if err != nil {
		return "", err
	}
	opts.Name = name
	what := "container " + u.Container + " cannot be started"
	made, err := s.cl.ContainerCreate(ctx, opts)
	if gone(err) {
		return "", engine.Fail(engine.ReasonOther, problem.Wrap(problem.Unavailable, what+": its image or its network is gone", err))
	} else if err != nil {
		return "", fault(err, what)
	}
	if err := s.fill(ctx, made.ID, u); err != nil {
		return "", err
	}
	if _, err := s.cl.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return "", fault(err, what)
	}
	if u.Role == engine.RoleSidecar && s.sidecar.Ready != "" {
		if err := s.awaitSidecar(ctx, made.ID); err != nil {
			return "", err
		}
	}
	return made.ID, nil
}

func (s *site) options(ctx context.Context, u supervise.Unit) (client.ContainerCreateOptions, error) {
	c := &container.Config{Image: u.Spec.Image, Entrypoint: u.Spec.Command, Cmd: u.Spec.Args, WorkingDir: u.Spec.WorkingDir, Labels: s.labels(u)}
	for _, e := range u.Env {
		c.Env = append(c.Env, e.Name+"="+e.Value)
	}
	h := &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}}
	h.NanoCPUs, h.Memory = int64(u.Spec.CPU*1e9), u.Spec.Memory
	h.MemorySwap = h.Memory // no swap on top
	confine(h)
	if u.Role == engine.RoleSidecar {
		image, err := s.sidecarImage(ctx)
		if err != nil {
			return client.ContainerCreateOptions{}, err
		}
		c.Image, h.NanoCPUs = image, 0
		if h.NetworkMode, err = s.network(ctx, u.Revision.App); err != nil {
			return client.ContainerCreateOptions{}, err
		}
		publish(u, c, h)
		s.sidecar.confine(h)
	} else {
		h.NetworkMode = container.NetworkMode("container:" + s.name(u.Replica, sidecarName))
		var err error
		if h.Mounts, err = s.mounts(ctx, u); err != nil {
			return client.ContainerCreateOptions{}, err
		}
	}
	return client.ContainerCreateOptions{Config: c, HostConfig: h}, nil
}

// Limits of a container besides those of its spec: the machine has other tenants.
const (
	maxProcesses = 4096
	maxLogSize   = "10m"
	maxLogFiles  = "3"
)

// confine keeps a container from what no app needs: packets in the name of others on
// the network that all replicas are on, all process ids, and all of the disk for what
// it writes to its output.
func confine(h *container.HostConfig) {
	processes := int64(maxProcesses)
	h.CapDrop, h.PidsLimit = []string{"NET_RAW"}, &processes
	h.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": maxLogSize, "max-file": maxLogFiles}}
}

// confine keeps a sidecar from all but passing on. Sockets in its folders can be
// connected to all the same.
func (s Sidecar) confine(h *container.HostConfig) {
	h.CapDrop, h.ReadonlyRootfs = []string{"ALL"}, true
	h.SecurityOpt = []string{"no-new-privileges"} // what it gives up it cannot get back
	if s.Ready != "" {
		h.CapAdd = []string{"NET_ADMIN"}
	}
	for at, folder := range s.Folders {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: folder, Target: at, ReadOnly: true})
	}
}

// readyPatience is how long a sidecar may take to be ready.
const readyPatience = time.Minute

// awaitSidecar waits for the sidecar's line. One that ends without it is a failure,
// as its replica would have the way to the machine's identity.
func (s *site) awaitSidecar(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(s.Logs(ctx, id, engine.LogOptions{Follow: true}, w)) }()
	said := ""
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if lines.Text() == s.sidecar.Ready {
			return nil
		}
		said = lines.Text()
	}
	return engine.Fail(engine.ReasonOther, problem.New(problem.Unavailable, "the sidecar did not get ready: "+said).
		WithNext("let the container engine give it NET_ADMIN in the network of its replica"))
}

// publish makes the replica's ports reachable from this machine, and no other.
func publish(u supervise.Unit, c *container.Config, h *container.HostConfig) {
	c.ExposedPorts, h.PortBindings = network.PortSet{}, network.PortMap{}
	for _, p := range u.Ports {
		port, _ := network.PortFrom(uint16(p.Number), network.TCP)
		c.ExposedPorts[port] = struct{}{}
		host := ""
		if p.Host != 0 {
			host = strconv.Itoa(p.Host)
		}
		h.PortBindings[port] = []network.PortBinding{{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: host}}
	}
}

// mounts gives those of empty volumes, which are made if they are not there, and
// of folders; secret ones are copied.
func (s *site) mounts(ctx context.Context, u supervise.Unit) ([]mount.Mount, error) {
	var out []mount.Mount
	for _, m := range u.Spec.Mounts {
		v := volume(u, m.Volume)
		switch v.Kind {
		case engine.VolumeFolder:
			out = append(out, mount.Mount{Type: mount.TypeBind, Source: path.Join(v.Folder, m.SubPath), Target: m.Path, ReadOnly: m.ReadOnly})
		case engine.VolumeEmpty:
			if m.SubPath != "" {
				return nil, engine.Fail(engine.ReasonOther, problem.New(problem.Unsupported, "volume "+v.Name+" is mounted with a subPath, which the docker engine has for secret volumes and folders only"))
			}
			name := s.name(u.Replica, v.Name)
			if _, err := s.cl.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: s.volumeLabels(u)}); err != nil && !strings.Contains(err.Error(), "already exists") {
				return nil, fault(err, "volume "+v.Name+" cannot be made")
			}
			out = append(out, mount.Mount{Type: mount.TypeVolume, Source: name, Target: m.Path, ReadOnly: m.ReadOnly})
		}
	}
	return out, nil
}

func volume(u supervise.Unit, name string) engine.Volume {
	for _, v := range u.Volumes {
		if v.Name == name {
			return v
		}
	}
	return engine.Volume{}
}

// fill copies the files of secret volumes, and those that all containers get, into a
// container that was not started.
func (s *site) fill(ctx context.Context, id string, u supervise.Unit) error {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	files := 0
	put := func(at string, data []byte) {
		files++
		_ = t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(at, "/"), Mode: 0o444, Size: int64(len(data)), Typeflag: tar.TypeReg, ModTime: time.Now()})
		_, _ = t.Write(data) // memory cannot fail
	}
	if u.Role != engine.RoleSidecar {
		for _, f := range s.files {
			put(f.Path, f.Data)
		}
	}
	for _, m := range u.Spec.Mounts {
		for _, f := range volume(u, m.Volume).Files {
			if at, ok := placed(m, f.Path); ok {
				put(at, f.Data)
			}
		}
	}
	if _ = t.Close(); files == 0 {
		return nil
	}
	_, err := s.cl.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &buf})
	return fault(err, "files cannot be put into container "+u.Container)
}

// placed gives where a mount shows a file of its volume.
func placed(m engine.Mount, file string) (string, bool) {
	sub := strings.Trim(m.SubPath, "/")
	switch {
	case sub == "":
		return path.Join(m.Path, file), true
	case sub == file:
		return m.Path, true
	case strings.HasPrefix(file, sub+"/"):
		return path.Join(m.Path, strings.TrimPrefix(file, sub)), true
	}
	return "", false
}

// Wait returns when a container does not run.
func (s *site) Wait(ctx context.Context, id string) (engine.Exit, error) {
	wait := s.cl.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-wait.Error:
		if ctx.Err() != nil {
			return engine.Exit{}, ctx.Err()
		}
		return engine.Exit{}, fault(err, "container "+id+" cannot be watched")
	case end := <-wait.Result:
		exit := engine.Exit{Code: int(end.StatusCode), At: time.Now()}
		if one, err := s.cl.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); err == nil && one.Container.State != nil {
			exit.OOMKilled, exit.Code = one.Container.State.OOMKilled, one.Container.State.ExitCode
		}
		return exit, nil
	}
}

// Stop asks a container to end and kills it after grace.
func (s *site) Stop(ctx context.Context, id string, grace time.Duration) error {
	seconds := max(1, int(grace/time.Second))
	_, err := s.cl.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &seconds})
	if gone(err) {
		return nil
	}
	return fault(err, fmt.Sprintf("container %s cannot be stopped", id))
}

// Environment gives what a container was started with.
func (s *site) Environment(ctx context.Context, id string) ([]engine.Env, error) {
	one, err := s.cl.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, fault(err, "container "+id+" cannot be looked at")
	}
	var out []engine.Env
	for _, e := range one.Container.Config.Env {
		k, v, _ := strings.Cut(e, "=")
		out = append(out, engine.Env{Name: k, Value: v, Secret: true})
	}
	return out, nil
}
