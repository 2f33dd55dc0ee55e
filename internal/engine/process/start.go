package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/output"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// running is one process group, or one that ended.
type running struct {
	found supervise.Found
	cmd   child.Command
	env   []engine.Env
	proc  *child.Process
	log   output.Buffer
}

func (r *running) runs() bool {
	select {
	case <-r.proc.Done():
		return false
	default:
		return true
	}
}

// Start starts a process group; one of the same container is ended first.
func (s *site) Start(ctx context.Context, u supervise.Unit) (string, error) {
	if err := s.endContainer(ctx, u.Replica, u.Container); err != nil {
		return "", err
	}
	r, err := s.prepare(u)
	if err != nil {
		return "", err
	}
	r.proc, err = child.Start(r.cmd, func(_ child.Stream, line string) { _, _ = r.log.Write([]byte(line + "\n")) })
	if err != nil {
		return "", engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, "container "+u.Container+" cannot be started: its command cannot be executed", err).WithNext("check command, and the "+imageFile+" of its folder"))
	}
	go func() {
		<-r.proc.Done()
		r.proc.FinishOutput(s.cfg.Clock)
		r.log.End()
	}()
	s.mu.Lock()
	s.running[r.found.ID] = r
	s.mu.Unlock()
	return r.found.ID, s.remember(r.found)
}

// endContainer ends an earlier start of a container.
func (s *site) endContainer(ctx context.Context, replica, name string) error {
	for _, r := range s.of(replica) {
		if r.found.Container != name {
			continue
		}
		if err := s.Stop(ctx, r.found.ID, 0); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.running, r.found.ID)
		s.mu.Unlock()
	}
	return nil
}

func (s *site) of(replica string) []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*running
	for _, r := range s.running {
		if r.found.Replica == replica {
			out = append(out, r)
		}
	}
	return out
}

// prepare makes the container's files and says what to start.
func (s *site) prepare(u supervise.Unit) (*running, error) {
	img, err := readImage(u.Spec.Image)
	if err != nil {
		return nil, err
	}
	folder, err := filepath.Abs(u.Spec.Image)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "the image's folder has no absolute path", err)
	}
	addrs, err := s.addresses(u)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(s.dir, u.Replica, u.Container)
	if err := s.furnish(root, u); err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the volumes of container "+u.Container+" cannot be made", err)
	}
	line := slices.Clone(u.Spec.Command)
	if len(line) == 0 {
		line = img.Command
	}
	args := img.Args
	if len(u.Spec.Command) > 0 || len(u.Spec.Args) > 0 {
		args = u.Spec.Args
	}
	line = append(slices.Clone(line), args...)
	if len(line) == 0 {
		return nil, engine.Fail(engine.ReasonImageInvalid, problem.New(problem.Invalid, "image "+u.Spec.Image+" has no command, nor has the container"))
	}
	program, err := find(folder, line[0])
	if err != nil {
		return nil, engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, "container "+u.Container+" cannot be started: there is no program "+line[0], err))
	}
	s.mu.Lock()
	s.next++
	id := fmt.Sprintf("process-%d", s.next)
	s.mu.Unlock()
	dir := filepath.Join(folder, img.WorkingDir)
	if u.Spec.WorkingDir != "" {
		dir = filepath.Join(folder, u.Spec.WorkingDir)
	}
	now := s.cfg.Clock.Now()
	return &running{env: u.Env, cmd: child.Command{Path: program, Args: line[1:], Dir: dir, Env: environment(img, root, addrs, u)},
		found: supervise.Found{Digest: u.Digest, Count: u.Count, Created: now, Started: now, Object: engine.Object{
			Revision: u.Revision, Replica: u.Replica, Container: u.Container, Role: u.Role, Kind: "process", ID: id, Running: true}}}, nil
}

// find gives the absolute path of a program.
func find(folder, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return filepath.Join(folder, name), nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// marker is in the environment of every process of a replica, so that those that
// left their group are found.
const marker = "CONTAINER_APP_REPLICA_NAME"

func environment(img image, root string, addrs map[int]string, u supervise.Unit) []string {
	all := map[string]string{"PATH": os.Getenv("PATH"), "HOME": root}
	for k, v := range img.Env {
		all[k] = v
	}
	for _, p := range u.Ports {
		_, port, _ := net.SplitHostPort(addrs[p.Number])
		all["PORT_"+strconv.Itoa(p.Number)] = port
		if p.Number == u.Ports[0].Number {
			all["PORT"] = port
		}
	}
	for _, e := range u.Env {
		all[e.Name] = e.Value
	}
	all["CONTAINER_ROOT"], all[marker] = root, u.Replica
	var out []string
	for k, v := range all {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// furnish makes what the container sees below its root.
func (s *site) furnish(root string, u supervise.Unit) error {
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	for _, m := range u.Spec.Mounts {
		for _, v := range u.Volumes {
			if v.Name != m.Volume {
				continue
			}
			if err := s.mount(filepath.Join(root, filepath.Clean(m.Path)), m, v, u.Replica); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *site) mount(at string, m engine.Mount, v engine.Volume, replica string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	source := v.Folder
	if v.Kind != engine.VolumeFolder {
		source = filepath.Join(s.dir, replica, volumes, v.Name)
		if err := os.MkdirAll(filepath.Join(source, m.SubPath), 0o700); err != nil && !isFile(v, m.SubPath) {
			return err
		}
	}
	for _, f := range v.Files {
		path := filepath.Join(source, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := writeSecret(path, f.Data); err != nil {
			return err
		}
	}
	return os.Symlink(filepath.Join(source, m.SubPath), at)
}

// writeSecret writes a file anew: what is there may be read-only, or the folder
// that was made for a sub path that is a file.
func writeSecret(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, data, 0o400)
}

func isFile(v engine.Volume, sub string) bool {
	return slices.ContainsFunc(v.Files, func(f engine.File) bool { return f.Path == sub })
}

// volumes is the folder of a replica's volumes; no container has such a name.
const volumes = ".volumes"

// addresses gives each port of a replica a free one of this machine, the same for
// all its starts.
func (s *site) addresses(u supervise.Unit) (map[int]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addrs, ok := s.ports[u.Replica]; ok {
		return addrs, nil
	}
	addrs := map[int]string{}
	for _, p := range u.Ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.Host))
		if err != nil {
			return nil, engine.Fail(engine.ReasonPortTaken, problem.Wrap(problem.Conflict, fmt.Sprintf("port %d of this machine is used already", p.Host), err).
				WithNext("choose another one, or end what uses it"))
		}
		defer l.Close()
		addrs[p.Number] = l.Addr().String()
	}
	s.ports[u.Replica] = addrs
	return addrs, nil
}

// remember writes down what runs, so that the next Latchkey finds what is left.
func (s *site) remember(f supervise.Found) error {
	text, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, f.Replica, f.Container+noteSuffix), text, fs.FileMode(0o600))
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "container "+f.Container+" cannot be written down", err)
	}
	return nil
}

const noteSuffix = ".json"

// stopPatience is how long a killed process may take to be gone.
const stopPatience = 10 * time.Second
