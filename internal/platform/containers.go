package platform

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/runner"
	"github.com/latchkey/latchkey/internal/containerapp/vaultsecrets"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/tokenapi/containerroles"
)

// Engines that container apps can run on.
const (
	EngineAuto       = "auto"       // Docker or podman if one answers, else none
	EngineDocker     = "docker"     // the Docker Engine API, also of podman
	EngineProcess    = "process"    // folders of this machine as processes, isolating nothing
	EngineKubernetes = "kubernetes" // the cluster that the node can reach
	EngineNone       = "none"       // container apps are kept, and do not run here
)

// ContainersConfig says how container apps run.
type ContainersConfig struct {
	Engine string // default EngineAuto
	Host   string // socket of the Docker Engine API; "" is DOCKER_HOST, else the usual ones
	// ProcessAsRoot lets the engine of processes run on a node that is root, which gives
	// the machine to whoever may write a container app.
	ProcessAsRoot bool
	// Sidecar is a static Latchkey for containers to reach their identity endpoint by;
	// "" is this program.
	Sidecar string
	// QueueServices are addresses of storage accounts' queues for scale rules with an
	// identity, as account=address; others are the public cloud's.
	QueueServices []string
	Kubernetes    KubernetesConfig
}

// containers is what runs container apps.
type containers struct {
	apps   *containerapp.Apps
	runner atomic.Pointer[runner.Runner] // nil while another node runs them
	scaler atomic.Pointer[scale.Scaler]  // as runner
	// ingress takes requests to the apps.
	ingress *ingress.Ingress
	// load tells what the ingress has to do for a revision; nil: there is none, and
	// revisions with an ingress are not scaled to zero.
	load func(engine.Ref) scale.Load
	// secrets gives the values of an app's secrets; nil: those that were set by value.
	secrets  func(context.Context, containerapp.App) (map[string]string, error)
	endpoint *containerroles.Endpoint
	vaults   *vaultsecrets.Secrets
	registry engine.Registry
	url      string // where containers find the endpoint
	noURL    error  // why there is none
	sidecars sidecars
}

// openContainers makes what keeps container apps. They run once the node does.
func (n *Node) openContainers(ctx context.Context) (err error) {
	n.containers.apps = containerapp.New(containerapp.Config{
		Inventory: n.inventory, Clock: n.cfg.Clock,
		OnDelete: []func(context.Context, containerapp.App) error{
			n.endContainers,
			func(ctx context.Context, a containerapp.App) error { return n.identities.Remove(ctx, a.ID) },
			func(ctx context.Context, a containerapp.App) error { return n.roles.UnassignBelow(ctx, a.ID) },
			func(ctx context.Context, a containerapp.App) error { return n.containers.vaults.Forget(ctx, a.UID) },
		},
	})
	n.openIngress()
	n.openContainerSecrets()
	n.openContainerRegistries()
	n.containers.endpoint, err = containerroles.New(containerroles.Config{
		Workload: n.containerWorkload, URL: n.containerIdentityURL, Issue: n.tokens.Get, OnEvent: n.auditContainer,
		Clock: n.cfg.Clock, Log: n.log,
	})
	if err != nil {
		return err
	}
	switch n.cfg.Containers.Engine {
	case EngineProcess:
		n.containers.noURL = n.listenLoopback(ctx)
	case EngineDocker, EngineAuto:
		n.containers.noURL = n.listenSocket(ctx)
	case EngineKubernetes:
		n.containers.noURL = n.listenForSidecars(ctx)
	}
	return nil
}

// containersLease is held by the node that runs container apps, where nodes share
// the state; it is how long the next one waits for a node that died.
const (
	containersLease    = "container-apps"
	containersLeaseTTL = 15 * time.Second
)

// runContainers runs container apps until ctx ends, on one node at a time: each has
// an engine of its own.
func (n *Node) runContainers(ctx context.Context) {
	if n.cfg.State.Kind == "bolt" { // there is no other
		n.runContainersHere(ctx)
		return
	}
	for ctx.Err() == nil {
		lease, err := n.store.Acquire(ctx, containersLease, containersLeaseTTL)
		if err != nil {
			if ctx.Err() == nil {
				n.log.Warn("which node runs container apps could not be agreed on; it is tried again", "reason", err)
			}
			_ = clock.Sleep(ctx, n.outside(), time.Second)
			continue
		}
		held, cancel := state.Held(ctx, lease)
		n.runContainersHere(held)
		cancel()
		_ = lease.Release(context.WithoutCancel(ctx)) // it ends by itself
	}
}

func (n *Node) runContainersHere(ctx context.Context) {
	s, f := n.newScaler(), n.newFeed()
	r := runner.New(runner.Config{
		Apps: n.containers.apps, Store: n.store, Env: n.containerEnv, Clock: n.outside(), Log: n.log,
		Open: func(ctx context.Context, changed func(engine.Ref)) (engine.Engine, error) {
			return n.openEngine(ctx, func(ref engine.Ref) { changed(ref); f.Changed(ref) })
		},
		Secrets:  n.containers.secrets,
		Replicas: func(ref engine.Ref, _ containerapp.Scale) int { return s.Desired(ref) },
		Seen:     func(v runner.View) { n.scaleSeen(s, v); f.Seen(v.App, v.Revisions) },
		Gone:     func(app string) { s.Keep(app); f.Gone(app) },
		Drain:    n.drainContainers,
	})
	n.containers.runner.Store(r)
	defer n.containers.runner.Store(nil)
	defer n.containers.sidecars.answer.Store(nil)
	n.containers.scaler.Store(s)
	defer n.containers.scaler.Store(nil)
	var work sync.WaitGroup
	work.Go(func() { s.Run(ctx) })
	work.Go(func() { f.Run(ctx) })
	r.Run(ctx)
	work.Wait()
}

// endContainers ends what runs of an app that is being deleted. Where another node
// runs it, that one sees it.
func (n *Node) endContainers(ctx context.Context, a containerapp.App) error {
	if r := n.containers.runner.Load(); r != nil {
		return r.Remove(ctx, a)
	}
	return nil
}

// newContainerApps makes the operations of Microsoft.App.
func (n *Node) newContainerApps() (*containerapps.API, error) {
	return containerapps.New(containerapps.Config{
		Apps: n.containers.apps, Identities: n.identities, Authorize: n.roles,
		Domain: withPort(n.names.domain, n.names.functions, 80), Runtime: (*containerRuntime)(n), Secrets: n.containers.vaults,
		AuthToken: n.streamToken, Scaling: n.containerScaling,
	})
}

// containerRuntime tells the management API what runs.
type containerRuntime Node

// Replicas implements containerapps.Runtime.
func (c *containerRuntime) Replicas(ctx context.Context, a containerapp.App, revision string) ([]containerapps.Replica, error) {
	r := (*Node)(c).containers.runner.Load()
	if r == nil {
		return nil, nil
	}
	s, err := r.Observe(ctx, runner.Ref(a, revision))
	if errors.Is(err, problem.NotFound) || problem.KindOf(err) == problem.Unavailable || problem.KindOf(err) == problem.Unsupported {
		return nil, nil // none runs
	}
	var list []containerapps.Replica
	for _, one := range s.Replicas {
		if one.State != engine.ReplicaTerminating {
			list = append(list, shownReplica(one))
		}
	}
	return list, err
}

func shownReplica(r engine.Replica) containerapps.Replica {
	shown := containerapps.Replica{Name: r.Name, Created: r.Created, Running: "NotRunning", Details: r.Message}
	if r.State == engine.ReplicaRunning {
		shown.Running = "Running"
	}
	for _, c := range r.Containers {
		one := containerapps.ReplicaContainer{
			Name: c.Name, ID: r.Name + "/" + c.Name, Ready: c.Ready, Started: !c.Started.IsZero(), Restarts: c.Restarts,
			Running: map[engine.ContainerState]string{engine.ContainerRunning: "Running", engine.ContainerTerminated: "Terminated"}[c.State], Details: c.Message,
		}
		if one.Running == "" {
			one.Running = "Waiting"
		}
		switch c.Role {
		case engine.RoleInit:
			shown.Init = append(shown.Init, one)
		case engine.RoleMain:
			shown.Main = append(shown.Main, one)
		}
	}
	return shown
}

// containerEnv gives what the platform tells containers of themselves.
func (n *Node) containerEnv(ctx context.Context, a containerapp.App, r containerapp.Revision) ([]engine.Env, error) {
	e, err := n.containers.apps.Environment(ctx, a.Environment())
	if err != nil {
		return nil, err
	}
	suffix := e.Domain(n.names.domain)
	env := append(n.containerWay(), []engine.Env{
		{Name: "CONTAINER_APP_NAME", Value: a.Name}, {Name: "CONTAINER_APP_REVISION", Value: r.Name},
		{Name: "CONTAINER_APP_ENV_DNS_SUFFIX", Value: suffix},
	}...)
	if g := a.Properties.Configuration.Ingress; g != nil {
		name := strings.ToLower(r.Name)
		if !g.External {
			name += ".internal"
		}
		env = append(env, engine.Env{Name: "CONTAINER_APP_HOSTNAME", Value: name + "." + suffix})
	}
	return env, nil
}
