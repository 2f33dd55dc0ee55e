package platform

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/net/netutil"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/containerapp/runner"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/tokenapi/containerroles"
	"github.com/latchkey/latchkey/internal/tokenapi/msi"
	"github.com/latchkey/latchkey/internal/web"
)

// containerWorkload tells the identity endpoint what an app's containers may use, as
// of now.
func (n *Node) containerWorkload(ctx context.Context, s engine.Start) (w containerroles.Workload, err error) {
	id, err := resource.Parse(s.Revision.App)
	if err != nil {
		return w, err
	}
	a, err := n.containers.apps.Get(ctx, id)
	if err != nil {
		return w, err
	}
	if s.Generation != "" && !runner.Generates(a, s.Generation) {
		return w, problem.New(problem.NotFound, "the container is of an app that was deleted")
	}
	e, err := n.containers.apps.Environment(ctx, a.Environment())
	if err != nil {
		return w, err
	}
	w.Rules = a.Rules(!e.InitIdentities(a.Properties.WorkloadProfile))
	w.Identities, err = n.identities.Of(ctx, a.Resource.Identity, a.ID)
	return w, err
}

// containerIdentityURL tells containers where the endpoint is.
func (n *Node) containerIdentityURL(engine.Start) string {
	return n.containers.url
}

// auditContainer records the tokens that containers got and did not get. It does not
// wait; what repeats becomes one event.
func (n *Node) auditContainer(e containerroles.Event) {
	event := audit.Event{
		Time: e.Time, Category: audit.SignIn, Action: "workloadToken", Scope: e.Start.Revision.App, Outcome: "Succeeded", Status: e.Status,
		Source: e.Source, CorrelationID: e.CorrelationID,
		Principal: audit.Principal{ObjectID: e.Identity.ObjectID, AppID: e.Identity.AppID, Name: e.Identity.ResourceID},
		Details:   map[string]string{"audience": e.Resource},
	}
	for name, value := range map[string]string{
		"revision": e.Start.Revision.Revision, "replica": e.Start.Replica, "container": e.Start.Container, "role": string(e.Start.Role), "selector": e.Selector,
	} {
		if value != "" {
			event.Details[name] = value
		}
	}
	if !e.Granted {
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Reason
		if e.Denied != "" {
			event.Reason = e.Denied
		}
	}
	n.audit.Record(event)
}

// IdentityConns bounds connections of containers that wait for tokens, of all
// replicas. Each sidecar has a bound of its own.
const IdentityConns = 4096

// serveContainerIdentity serves the identity endpoint until the node is closed.
func (n *Node) serveContainerIdentity(l net.Listener) {
	server := web.NewServer(netutil.LimitListener(l, IdentityConns), n.containers.endpoint, n.log)
	n.beside(func(ctx context.Context) {
		if err := server.Run(ctx, n.cfg.Grace); err != nil {
			n.log.Error("the identity endpoint of containers failed", "reason", err)
		}
	})
}

// listenLoopback makes the endpoint that processes find.
func (n *Node) listenLoopback(ctx context.Context) error {
	l, err := web.Listen(ctx, "127.0.0.1", 0)
	if err != nil {
		return err
	}
	n.containers.url = "http://" + l.Addr().String() + msi.Path
	n.serveContainerIdentity(l)
	return nil
}

// Where a container finds its identity endpoint, and what its sidecar reaches it by.
const (
	SidecarAddress = "127.0.0.1:42356"
	sidecarFolder  = "/run/latchkey"
	identityFolder = "containers" // of the data folder, with the socket
	identitySocket = "identity.sock"
)

// SidecarSocket is where a sidecar finds the socket of the node.
const SidecarSocket = sidecarFolder + "/" + identitySocket

// socketPath is the longest path that a socket can have here.
const socketPath = 100

// listenSocket makes the endpoint that sidecars pass requests on to. Containers that
// outlive the node find it there again.
func (n *Node) listenSocket(ctx context.Context) error {
	folder := n.path(identityFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return problem.Wrap(problem.Unavailable, "the folder for the identity endpoint of containers cannot be made", err)
	}
	path := filepath.Join(folder, identitySocket)
	if len(path) > socketPath {
		return problem.New(problem.Unsupported, "the path of the data folder is too long for a socket in it: "+path).WithNext("choose a shorter one with --data-dir")
	}
	_ = os.Remove(path) // of the process before
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the identity endpoint of containers cannot be served at "+path, err)
	}
	_, port, _ := net.SplitHostPort(SidecarAddress)
	n.containers.url = "http://localhost:" + port + msi.Path
	// Sidecars have another user, without any capabilities. What a container must know
	// is its secret, as with the endpoint of processes.
	for at, mode := range map[string]os.FileMode{folder: 0o711, path: 0o666} {
		if err := os.Chmod(at, mode); err != nil {
			return problem.Wrap(problem.Unavailable, "the identity endpoint of containers cannot be opened to them", err)
		}
	}
	n.serveContainerIdentity(l)
	return n.openWay(ctx)
}

// installationLabel tells our containers from those of other installations.
func (n *Node) installationLabel() string { return "lk-" + strings.ToLower(n.install.TenantID) }
