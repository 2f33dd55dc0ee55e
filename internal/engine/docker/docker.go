// Package docker owns the engine on the Docker Engine API, which podman's
// compatible socket speaks too: where a socket is found, how images are pulled,
// and how a replica becomes containers that share the network of a sidecar.
//
// Docker shows the environment of a container, and so secrets in it, to everybody
// who may use its socket; such people are root on its machine anyway. Labels and
// command lines carry no secrets, and secret volumes are copied into the container.
// It does not know order, restarts or probes (see supervise), nor what the sidecar
// says on localhost.
package docker

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/reach"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

// Config says where the engine is and what its replicas share.
type Config struct {
	engine.Config
	Host    string // such as unix:///run/docker.sock; empty: DOCKER_HOST, else the usual sockets
	Sidecar Sidecar
	Files   []engine.File // that every container is to have besides its sidecar, at absolute paths; no secrets
}

// Sidecar is the program that owns the network of each replica and runs as long
// as it. Its image is made of nothing but the program, and pulled from nowhere.
type Sidecar struct {
	Binary  string            // a static program on this machine
	Args    []string          // what it is called with
	Folders map[string]string // of the engine's machine, by where the sidecar sees them
	Memory  int64             // bytes; 0: 64 MiB
	// Ready is the line of its output that says that it has done what takes the right
	// to change the replica's network, and given that up. No other container of the
	// replica is started before. "": it has no such right, and nothing is waited for.
	Ready string
}

// Engine is an engine on Docker or podman. All methods are safe for concurrent use.
type Engine struct{ *supervise.Engine }

// Open finds the engine and makes sure that it answers. problem.Unavailable with
// engine.ReasonEngine names the sockets that were tried.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Sidecar.Binary == "" {
		return nil, problem.New(problem.Internal, "the docker engine needs a program for its sidecars")
	}
	cl, host, err := reach.Connect(ctx, cfg.Host, os.Getenv)
	if err != nil {
		return nil, engine.Fail(engine.ReasonEngine, problem.New(problem.Unavailable, err.Error()).
			WithNext("start Docker or podman, or name its socket in DOCKER_HOST; or use the engine \"process\", which runs folders instead of images and isolates nothing"))
	}
	s := &site{cl: cl, host: host, installation: cfg.Installation, sidecar: cfg.Sidecar, files: cfg.Files, log: cfg.Log}
	return &Engine{Engine: supervise.New(cfg.Config, s)}, nil
}

// site is one installation's view of a Docker engine.
type site struct {
	cl           *client.Client
	host         string
	installation string
	sidecar      Sidecar
	files        []engine.File

	log *slog.Logger // may be nil

	mu     sync.Mutex
	image  string // of the sidecar, once it was made
	podman *bool  // once it is known
	warned bool   // of containers that reach each other
}

var _ supervise.Runtime = (*site)(nil)

// String names the socket.
func (s *site) String() string { return "the container engine at " + s.host }

// Close leaves containers as they are.
func (s *site) Close() error { return s.cl.Close() }

// Sidecar gives the container that has the replica's network.
func (s *site) Sidecar() *engine.Container {
	return &engine.Container{Name: sidecarName, Image: sidecarName, Args: s.sidecar.Args, CPU: 1, Memory: cmp.Or(s.sidecar.Memory, defaultMemory)}
}

const (
	sidecarName   = "latchkey-sidecar"
	defaultMemory = 64 << 20
)
