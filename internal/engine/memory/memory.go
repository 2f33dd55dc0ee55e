// Package memory owns the engine for tests of others: images are Go functions,
// containers are goroutines, and nothing outlives the process. It is the reference
// that enginetest measures other backends by.
//
// It knows nothing of images in registries beyond the names it was given, and it
// isolates nothing.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/output"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

// Process is what a Program sees of its container.
type Process struct {
	Start  engine.Start
	Args   []string          // command and arguments
	Env    map[string]string // all of it
	Files  map[string]string // contents of mounted secret volumes, by absolute path
	Stdout io.Writer
	// Address is where to listen for a port of the container: the memory engine has
	// no networks, so each port of a replica is a free one of this machine.
	Address func(port int) string
}

// Program is what an image does. It ends when ctx ends; what it gives is the exit
// code. A container that is killed gets code 137 whatever the program gives.
type Program func(ctx context.Context, p Process) int

// Forever is a program that runs until it is asked to end.
func Forever(ctx context.Context, _ Process) int { <-ctx.Done(); return 0 }

// Engine is an engine in memory. All methods are safe for concurrent use.
type Engine struct {
	*supervise.Engine
	m *Machine
}

// Machine is what containers run on; it outlives Engines on it, as a real one does.
type Machine struct {
	clock clock.Clock

	mu         sync.Mutex
	images     map[string]Program
	remote     map[string]remote
	containers map[string]*container // by id
	addresses  map[string]map[int]string
	down       error
	next       int
}

type remote struct {
	program Program
	err     error
	check   func(engine.Credential) error
}

type container struct {
	id      string
	unit    supervise.Unit
	where   string // the installation
	started time.Time
	cancel  context.CancelFunc
	done    chan struct{}
	exit    engine.Exit
	killed  bool
	log     output.Buffer
	program Program
	process Process
}

// NewMachine makes a machine that has images and nothing that runs.
func NewMachine(c clock.Clock, images map[string]Program) *Machine {
	return &Machine{clock: c, images: maps.Clone(images), remote: map[string]remote{}, containers: map[string]*container{}, addresses: map[string]map[int]string{}}
}

// New makes an engine on a machine.
func New(cfg engine.Config, m *Machine) *Engine {
	if m.images == nil {
		m.images = map[string]Program{}
	}
	return &Engine{Engine: supervise.New(cfg, &site{m: m, name: cfg.Installation}), m: m}
}

// Machine gives what the engine runs on.
func (e *Engine) Machine() *Machine { return e.m }

// Publish makes an image one that must be pulled; check may refuse a credential by
// returning an error, and may be nil.
func (m *Machine) Publish(image string, p Program, check func(engine.Credential) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remote[image] = remote{program: p, check: check}
}

// Unreachable makes pulling an image fail as if its registry were away.
func (m *Machine) Unreachable(image string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remote[image] = remote{err: engine.Fail(engine.ReasonImageNetwork, problem.New(problem.Unavailable, "the registry of image "+image+" cannot be reached"))}
}

// Down makes the machine answer nothing, as if its engine were away, until it is
// called with false. Containers go on.
func (m *Machine) Down(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = nil
	if away {
		m.down = engine.Fail(engine.ReasonEngine, problem.New(problem.Unavailable, "the engine in memory is away").WithNext("a test must let it come back"))
	}
}

// Kill kills a container as the kernel would; it reports whether one ran.
func (m *Machine) Kill(replica, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.containers {
		if c.unit.Replica == replica && c.unit.Container == name && c.runs() {
			c.killed = true
			c.cancel()
			return true
		}
	}
	return false
}

func (c *container) runs() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// site is one installation's view of a machine.
type site struct {
	m    *Machine
	name string
}

var _ supervise.Runtime = (*site)(nil)

func (s *site) String() string             { return "the engine in memory" }
func (s *site) Sidecar() *engine.Container { return nil }
func (s *site) Close() error               { return nil }
func (s *site) lock() (func(), error)      { s.m.mu.Lock(); return s.m.mu.Unlock, s.m.down }

func (s *site) Present(_ context.Context, image string) (bool, error) {
	unlock, err := s.lock()
	defer unlock()
	return s.m.images[image] != nil, err
}

func (s *site) Pull(_ context.Context, image string, with engine.Credential) error {
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return err
	}
	r, ok := s.m.remote[image]
	switch {
	case !ok:
		return engine.Fail(engine.ReasonImageName, problem.New(problem.NotFound, "there is no image "+image))
	case r.err != nil:
		return r.err
	case r.check != nil:
		if err := r.check(with); err != nil {
			return engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.Denied, "the registry refuses to give image "+image, err))
		}
	}
	s.m.images[image] = r.program
	return nil
}

func (s *site) Start(_ context.Context, u supervise.Unit) (string, error) {
	if err := s.removeWhere(func(c *container) bool { return c.unit.Replica == u.Replica && c.unit.Container == u.Container }); err != nil {
		return "", err
	}
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return "", err
	}
	program := s.m.images[u.Spec.Image]
	if program == nil {
		return "", engine.Fail(engine.ReasonImageName, problem.New(problem.NotFound, "there is no image "+u.Spec.Image))
	}
	addrs, err := s.m.ports(u)
	if err != nil {
		return "", err
	}
	s.m.next++
	ctx, cancel := context.WithCancel(context.Background())
	c := &container{id: fmt.Sprintf("memory-%d", s.m.next), unit: u, where: s.name, started: s.m.clock.Now(), cancel: cancel, done: make(chan struct{}), program: program}
	c.process = Process{Start: u.Start, Args: slices.Concat(u.Spec.Command, u.Spec.Args), Env: map[string]string{}, Files: files(u), Stdout: &c.log, Address: func(p int) string { return addrs[p] }}
	for _, e := range u.Env {
		c.process.Env[e.Name] = e.Value
	}
	s.m.containers[c.id] = c
	go s.m.run(ctx, c)
	return c.id, nil
}

func (m *Machine) run(ctx context.Context, c *container) {
	code := c.program(ctx, c.process)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.killed {
		code = 137
	}
	c.exit = engine.Exit{Code: code, At: m.clock.Now()}
	c.cancel()
	close(c.done)
	c.log.End()
}

// files gives what the container sees of secret volumes.
func files(u supervise.Unit) map[string]string {
	out := map[string]string{}
	for _, mount := range u.Spec.Mounts {
		for _, v := range u.Volumes {
			for _, f := range v.Files {
				if v.Name == mount.Volume && (mount.SubPath == "" || mount.SubPath == f.Path) {
					out[strings.TrimSuffix(mount.Path+"/"+below(f.Path, mount.SubPath), "/")] = string(f.Data)
				}
			}
		}
	}
	return out
}

func below(path, sub string) string { return strings.TrimPrefix(strings.TrimPrefix(path, sub), "/") }

func (s *site) get(id string) (*container, error) {
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	if c := s.m.containers[id]; c != nil {
		return c, nil
	}
	return nil, problem.New(problem.NotFound, "there is no container "+id)
}

func (s *site) Wait(ctx context.Context, id string) (engine.Exit, error) {
	c, err := s.get(id)
	if err != nil {
		return engine.Exit{}, err
	}
	select {
	case <-c.done:
		return c.exit, nil
	case <-ctx.Done():
		return engine.Exit{}, ctx.Err()
	}
}

func (s *site) Stop(ctx context.Context, id string, _ time.Duration) error {
	c, err := s.get(id)
	if err != nil {
		if problem.KindOf(err) == problem.NotFound {
			return nil
		}
		return err
	}
	c.cancel()
	_, err = s.Wait(ctx, id)
	return err
}

func (s *site) Addresses(_ context.Context, replica string) (map[int]string, error) {
	unlock, err := s.lock()
	defer unlock()
	return maps.Clone(s.m.addresses[replica]), err
}

func (s *site) Environment(_ context.Context, id string) ([]engine.Env, error) {
	c, err := s.get(id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(c.unit.Env), nil
}

func (s *site) Remove(_ context.Context, replica string) error {
	err := s.removeWhere(func(c *container) bool { return c.unit.Replica == replica })
	if err == nil {
		s.m.mu.Lock()
		delete(s.m.addresses, replica)
		s.m.mu.Unlock()
	}
	return err
}

func (s *site) removeWhere(which func(*container) bool) error {
	unlock, err := s.lock()
	var ended []*container
	if err == nil {
		for id, c := range s.m.containers {
			if c.where == s.name && which(c) {
				c.cancel()
				delete(s.m.containers, id)
				ended = append(ended, c)
			}
		}
	}
	unlock()
	for _, c := range ended {
		<-c.done
	}
	return err
}

func (s *site) List(context.Context) ([]supervise.Found, error) {
	unlock, err := s.lock()
	defer unlock()
	var out []supervise.Found
	for _, c := range s.m.containers {
		if c.where != s.name || err != nil {
			continue
		}
		u := c.unit
		out = append(out, supervise.Found{Digest: u.Digest, Count: u.Count, Created: c.started, Started: c.started, Object: engine.Object{
			Revision: u.Revision, Replica: u.Replica, Container: u.Container, Role: u.Role, Kind: "container", ID: c.id, Running: c.runs()}})
	}
	slices.SortFunc(out, func(a, b supervise.Found) int { return cmp.Compare(a.ID, b.ID) })
	return out, err
}

func (s *site) Logs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error {
	c, err := s.get(id)
	if err != nil {
		return err
	}
	return c.log.Copy(ctx, opts, w)
}

// Exec runs the container's program with the command as its arguments: there are
// no other programs in memory.
func (s *site) Exec(ctx context.Context, id string, cmd engine.Exec) (int, error) {
	c, err := s.get(id)
	switch {
	case err != nil:
		return 0, err
	case !c.runs():
		return 0, problem.New(problem.Conflict, "the container does not run")
	}
	p := c.process
	p.Args = cmd.Command
	p.Stdout = cmd.Stdout
	if p.Stdout == nil {
		p.Stdout = io.Discard
	}
	return c.program(ctx, p), nil
}
