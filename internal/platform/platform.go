// Package platform owns putting together a node of `latchkey up`: state and its
// encryption, principals, tokens and roles, the management API over TLS, and the
// apps. It is where backends are chosen; what the parts do is theirs.
package platform

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/containerstream"
	"github.com/latchkey/latchkey/internal/drill"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/entra"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/identity/tokens"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/notify"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/portal"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/reference/keyvault"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/sealed"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/traffic"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/inner"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// Node is one node of an installation, ready to run.
type Node struct {
	cfg      Config
	log      *slog.Logger
	requests *telemetry.RequestLog
	metrics  *telemetry.Metrics
	health   telemetry.Health
	deployed chan struct{} // buffered by one: an app came to run, which may be new

	functions  net.Listener
	inner      *inner.Listener // for the portal
	management net.Listener
	ops        net.Listener // nil when there is none
	names      names

	raw        state.Store // as the backend keeps it
	store      *sealed.Store
	keyset     *keyset.Sealer
	siteKey    []byte // what keys of site tokens and of entity tags are derived from
	install    installed
	ca         *localca.Authority
	inventory  *inventory.Inventory
	directory  *identity.Directory
	authority  *token.Authority
	roles      *rbac.Roles
	audit      *audit.Log
	apps       *app.Apps
	groups     *groups.Groups
	identities *managed.Identities
	tokens     *tokens.Issuer
	upstream   *entra.Upstream
	vaults     *vault.Vaults
	secrets    *secrets.Store
	references *reference.Resolver
	webhook    *notify.Webhook // nil: nobody is told
	disclosed  *disclosed
	realVaults *keyvault.Source // nil: only our own vaults are asked
	releases   *release.Releases
	deployer   *release.Deployer
	portal     atomic.Pointer[portal.Portal] // nil: there is none, or not yet
	rings      *rings
	keyAlerts  *keyAlerts // nil: nobody is told
	fleet      *fleet.Fleet
	containers containers
	streams    *containerstream.Handler // of container apps
	logs       *applog.Logs             // of apps, on this node
	statuses   *statuses
	traffic    *traffic.Book // how many requests apps got
	concerns   *concern.Index
	presented  *presented       // keys that have ended
	proxy      string           // for workers; "" where names are resolved without
	drill      *drill.Drill     // nil outside of drill mode
	users      *isolation.Users // of workers; nil: they run as the node's user

	handler http.Handler // of the management listener
	tls     *tls.Config
	ownCert *certificateFile // nil: the authority's only

	closers []func() // run last to first
	closing sync.Once
}

// Open builds a node: the data folder is made, ports are taken, the state is
// opened and, in a new installation, set up. Nothing is served before Run. On
// error everything opened is closed again. It returns problem.Undecryptable if
// the state is sealed and its key is not at hand, problem.Unavailable if a port is
// taken or the state cannot be reached, problem.Invalid for a bad Config.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, deployed: make(chan struct{}, 1), inner: inner.Listen(), presented: newPresented()}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for _, step := range []func(context.Context) error{
		n.openLogs, n.openFolder, n.openPorts, n.openProxy, n.openState, n.openWorkers, n.openSeal, n.openDrill, n.openInstallation, n.openSiteKey, n.openAuthority,
		n.openServices, n.openOwner, n.openContainers, n.openApps, n.openConcerns, n.openManagement, n.openDeclared, n.openHealth,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) onClose(f func()) { n.closers = append(n.closers, f) }

// beside runs f until the node is closed, which waits for it.
func (n *Node) beside(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	n.onClose(func() {
		cancel()
		<-ended
	})
}

// Close gives back what Open took, last things first. It does nothing the second
// time.
func (n *Node) Close() {
	n.closing.Do(func() {
		for i := len(n.closers) - 1; i >= 0; i-- {
			n.closers[i]()
		}
	})
}

func (n *Node) openLogs(context.Context) error {
	t, err := hosted.OpenTelemetry(n.cfg.Log, n.cfg.LogFormat, n.cfg.LogLevel, n.cfg.Version, n.cfg.Clock)
	if err != nil {
		return err
	}
	n.logs = applog.New(n.outside())
	n.log, n.metrics, n.requests = slog.New(n.logs.Handler(t.Log.Handler())), t.Metrics, t.Requests
	n.onClose(func() { t.Close(n.cfg.Grace) })
	return nil
}

func (n *Node) openFolder(context.Context) error {
	if err := atomicfile.MakeDir(n.cfg.DataDir); err != nil {
		return problem.Wrap(problem.Unavailable, "the data folder "+n.cfg.DataDir+" cannot be made", err).
			WithNext("choose another with --data-dir, or run this as a user who may write there")
	}
	return nil
}

func (n *Node) openPorts(ctx context.Context) (err error) {
	if n.functions, err = n.listen(ctx, "functions", n.cfg.Functions); err != nil {
		return err
	}
	if n.management, err = n.listen(ctx, "management", n.cfg.Management); err != nil {
		return err
	}
	if n.cfg.Metrics != "" {
		if n.ops, err = n.listen(ctx, "metrics", n.cfg.Metrics); err != nil {
			return err
		}
	}
	n.names = names{domain: n.cfg.Domain, functions: portOf(n.functions), management: portOf(n.management)}
	return nil
}

func (n *Node) listen(ctx context.Context, what, address string) (net.Listener, error) {
	host, port, err := splitAddress(what, address)
	if err != nil {
		return nil, err
	}
	l, err := web.Listen(ctx, host, port)
	if err != nil {
		return nil, problem.Wrap(problem.KindOf(err), what+" cannot be served at "+address, err).
			WithNext("choose another address with --" + what + "-address")
	}
	n.onClose(func() { _ = l.Close() })
	return l, nil
}

func portOf(l net.Listener) int {
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// FunctionsAddr gives the address of the apps, as host:port.
func (n *Node) FunctionsAddr() string { return n.functions.Addr().String() }

// ManagementURL gives the base URL of the management API for clients on this
// machine.
func (n *Node) ManagementURL() string { return n.names.managementURL() }

// OpsAddr gives the address of metrics and health; "" when there is none.
func (n *Node) OpsAddr() string {
	if n.ops == nil {
		return ""
	}
	return n.ops.Addr().String()
}

// AppsURL shows people where apps are.
func (n *Node) AppsURL() string {
	return "http://<app>." + withPort(n.names.domain, n.names.functions, 80)
}
