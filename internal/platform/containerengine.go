package platform

import (
	"context"
	"fmt"
	"os"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/metadata"
	"github.com/latchkey/latchkey/internal/engine/process"
	"github.com/latchkey/latchkey/internal/problem"
)

// openEngine opens the engine that the settings choose. problem.Unsupported says that
// trying again is of no use.
func (n *Node) openEngine(ctx context.Context, changed func(engine.Ref)) (engine.Engine, error) {
	if n.containers.noURL != nil {
		return nil, n.containers.noURL
	}
	cfg := engine.Config{
		Installation: n.installationLabel(), Identity: n.containers.endpoint, Registry: n.containers.registry, Changed: changed, Drain: n.drainReplica,
		Clock: n.outside(), Log: n.log,
	}
	switch n.cfg.Containers.Engine {
	case EngineProcess:
		return n.openProcessEngine(cfg)
	case EngineDocker, EngineAuto:
		return n.openDockerEngine(ctx, cfg)
	case EngineKubernetes:
		return n.openKubernetesEngine(ctx, cfg)
	case EngineNone:
		return nil, problem.New(problem.Unsupported, "container apps do not run here: containers.engine is none").
			WithNext("set containers.engine to docker, or to process, which runs folders instead of images and isolates nothing, and start Latchkey again")
	}
	return nil, problem.New(problem.Unsupported, fmt.Sprintf("container apps cannot run on the engine %q", n.cfg.Containers.Engine))
}

// errProcessAsRoot is why the engine of processes does not run on a node that is root.
var errProcessAsRoot = problem.New(problem.Unsupported, "container apps do not run here: Latchkey is root, and the engine process would run them as root too, so that whoever may write one had the machine").
	WithNext("run Latchkey as another user, or set containers.engine to docker; on a machine that is yours alone, set containers.processAsRoot to true (LATCHKEY_CONTAINERS_PROCESS_AS_ROOT=true)")

func (n *Node) openProcessEngine(cfg engine.Config) (engine.Engine, error) {
	if os.Geteuid() == 0 && !n.cfg.Containers.ProcessAsRoot {
		return nil, errProcessAsRoot
	}
	n.log.Warn("container apps run as processes of this user, which isolates nothing: use it for development only", "setting", "containers.engine")
	return process.Open(process.Config{Config: cfg, Folder: n.path("processes")})
}

func (n *Node) openDockerEngine(ctx context.Context, cfg engine.Config) (engine.Engine, error) {
	program := n.cfg.Containers.Sidecar
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, problem.Wrap(problem.Internal, "where this program is cannot be found out", err)
		}
	}
	files, err := n.containerTrust()
	if err != nil {
		return nil, err
	}
	return docker.Open(ctx, docker.Config{Config: cfg, Host: n.cfg.Containers.Host, Files: files, Sidecar: docker.Sidecar{
		Binary: program, Args: []string{SidecarCommand, "--" + SidecarDomainFlag, n.cfg.Domain}, Folders: map[string]string{sidecarFolder: n.path(identityFolder)}, Ready: metadata.Ready,
		Memory: sidecarMemory,
	}})
}

// How sidecars are called: the command of Latchkey that they run, and its flag for the
// domain whose names lead to the node.
const (
	SidecarCommand    = "container-sidecar"
	SidecarDomainFlag = "domain"
)

// sidecarMemory is for [SidecarTunnels], which need about 80 KiB each.
const sidecarMemory = 128 << 20
