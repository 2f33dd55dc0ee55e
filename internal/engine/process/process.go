// Package process owns the engine for development without any container engine: an
// image is a folder on this machine with a container.json in it, and a container is
// a process group. It isolates nothing: containers run as our own user, see all
// files, processes and networks of the machine, and may use as much of it as they
// like. It does not know order, restarts or probes (see supervise).
//
// What a container would see at its own root is below CONTAINER_ROOT. A program
// listens at 127.0.0.1, at the port that PORT says, or PORT_8080 for its port 8080,
// since all replicas share one network. Everything ends with Latchkey.
package process

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

// Config says where the engine keeps what it needs while containers run.
type Config struct {
	engine.Config
	Folder string // of our own; secrets of running containers are in it, readable by our user only
}

// Engine is an engine of processes. All methods are safe for concurrent use.
type Engine struct{ *supervise.Engine }

// Open makes an engine.
func Open(cfg Config) (*Engine, error) {
	dir, err := filepath.Abs(filepath.Join(cfg.Folder, cfg.Installation))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the folder of the process engine cannot be made", err)
	}
	return &Engine{Engine: supervise.New(cfg.Config, &site{dir: dir, cfg: cfg, running: map[string]*running{}, ports: map[string]map[int]string{}})}, nil
}

// imageFile says what an image's command is.
const imageFile = "container.json"

// image is the contents of container.json.
type image struct {
	Command    []string          `json:"command"` // a program with a slash is below the folder, others are searched in PATH
	Args       []string          `json:"args"`
	WorkingDir string            `json:"workingDir"` // below the folder
	Env        map[string]string `json:"env"`
}

func readImage(folder string) (image, error) {
	var i image
	f, err := os.Open(filepath.Join(folder, imageFile))
	if err != nil {
		return i, engine.Fail(engine.ReasonImageName, problem.Wrap(problem.NotFound, "image "+folder+" is no folder with a "+imageFile, err).
			WithNext("the process engine runs folders of this machine, not images of registries: name such a folder, or use Docker or podman"))
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		return i, engine.Fail(engine.ReasonImageInvalid, problem.Wrap(problem.Invalid, "the "+imageFile+" of image "+folder+" cannot be understood", err))
	}
	return i, nil
}

// site is one installation's processes.
type site struct {
	dir string // of the installation
	cfg Config

	mu      sync.Mutex
	next    int
	running map[string]*running       // by id, ended ones too
	ports   map[string]map[int]string // by replica
}

var _ supervise.Runtime = (*site)(nil)

// String says what the engine is.
func (s *site) String() string { return "processes of this machine, isolated by nothing" }

// Sidecar gives none: all replicas are on the machine's own network.
func (s *site) Sidecar() *engine.Container { return nil }

// Present tells whether an image can be run.
func (s *site) Present(_ context.Context, folder string) (bool, error) {
	_, err := readImage(folder)
	return err == nil, err
}

// Pull fails: Present has said why.
func (s *site) Pull(_ context.Context, folder string, _ engine.Credential) error {
	_, err := readImage(folder)
	return err
}

// Close ends all processes and forgets them.
func (s *site) Close() error {
	s.mu.Lock()
	replicas := map[string]bool{}
	for _, r := range s.running {
		replicas[r.found.Replica] = true
	}
	s.mu.Unlock()
	for name := range replicas {
		if err := s.Remove(context.Background(), name); err != nil {
			return err
		}
	}
	return nil
}
