package platform

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/ingress/feed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/web"
)

// openIngress makes the way of requests to container apps. There are none until
// they run.
func (n *Node) openIngress() {
	in := ingress.New(ingress.Config{
		Activate: n.activateContainer, Inside: newBridges(n.outside()).inside, Reserved: n.names.own, Listen: n.listenForContainers, Clock: n.outside(), Log: n.log,
	})
	n.containers.ingress = in
	n.containers.load = func(ref engine.Ref) scale.Load {
		l := in.Load(ref)
		return scale.Load{InFlight: l.InFlight, Total: l.Total}
	}
	n.onClose(in.Close)
}

// newFeed makes what tells the ingress of the apps that a runner runs.
func (n *Node) newFeed() *feed.Feed {
	return feed.New(feed.Config{
		Ingress: n.containers.ingress, Domain: n.containerDomain, Observe: n.observeContainers, Clock: n.outside(), Log: n.log,
	})
}

func (n *Node) containerDomain(ctx context.Context, a containerapp.App) (string, error) {
	e, err := n.containers.apps.Environment(ctx, a.Environment())
	if err != nil {
		return "", err
	}
	return e.Domain(n.names.domain), nil
}

// drainTime is how long requests under way keep a revision that is being ended.
const drainTime = 30 * time.Second

func (n *Node) drainContainers(ctx context.Context, ref engine.Ref) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	n.containers.ingress.Drain(ctx, ref)
}

// drainReplica is drainContainers for one of several replicas.
func (n *Node) drainReplica(ctx context.Context, ref engine.Ref, replica string) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	n.containers.ingress.Retire(ctx, ref, replica)
}

func (n *Node) observeContainers(ctx context.Context, ref engine.Ref) (engine.Status, error) {
	r := n.containers.runner.Load()
	if r == nil {
		return engine.Status{}, problem.New(problem.Unavailable, "container apps do not run on this node now")
	}
	return r.Observe(ctx, ref)
}

// serveContainer serves a request to a container app, and reports whether it was one.
// Where this node does not know the apps, as another one runs them or it only starts,
// none is said not to be there.
func (n *Node) serveContainer(w http.ResponseWriter, r *http.Request) bool {
	if n.containers.ingress.Serve(w, r) {
		return true
	}
	if !n.names.belowEnvironment(hostOnly(r.Host)) {
		return false
	}
	if run := n.containers.runner.Load(); run != nil && run.Told() {
		return false
	}
	w.Header().Set("Retry-After", "1")
	web.WriteText(w, http.StatusServiceUnavailable, "503 This node does not serve container apps now: another one does, or it is starting.\n")
	return true
}

// belowEnvironment reports whether a host name is one below an environment's domain.
func (n names) belowEnvironment(host string) bool {
	const digits = 8
	name, ok := strings.CutSuffix(host, "."+n.domain)
	dot := strings.LastIndexByte(name, '.')
	if mark := len(name) - digits - 1; !ok || dot < 1 || mark <= dot+1 || name[mark] != '-' {
		return false
	}
	_, err := hex.DecodeString(name[len(name)-digits:])
	return err == nil
}

// serveContainerTLS does so on the management listener, where only host names of
// environments are apps'.
func (n *Node) serveContainerTLS(w http.ResponseWriter, r *http.Request) bool {
	if !n.names.own(hostOnly(r.Host)) || !n.containers.ingress.Knows(r.Host) {
		return false
	}
	answer := apart(w, r)
	defer answer.end()
	return n.serveContainer(answer, r)
}

func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// own reports whether a host name is the installation's to give: no app may claim it
// as a domain of its own.
func (n names) own(host string) bool {
	return host == n.domain || strings.HasSuffix(host, "."+n.domain) || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// askForCertificates has the management listener ask clients for certificates where
// they connect to a container app that wants some. What they present is not checked
// here: the app sees it.
func (n *Node) askForCertificates(config *tls.Config) *tls.Config {
	asking := config.Clone()
	asking.ClientAuth = tls.RequestClientCert
	if !slices.Contains(asking.NextProtos, "http/1.1") {
		asking.NextProtos = append(asking.NextProtos, "h2", "http/1.1")
	}
	config = config.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if in := n.containers.ingress; in != nil && hello.ServerName != "" && in.WantsCertificate(hello.ServerName) {
			return asking, nil
		}
		return nil, nil // the usual one
	}
	return config
}

// listenForContainers opens a port of a container app where the apps' listener is.
func (n *Node) listenForContainers(ctx context.Context, port int) (net.Listener, error) {
	host, _, err := net.SplitHostPort(n.functions.Addr().String())
	if err != nil {
		return nil, err
	}
	return web.Listen(ctx, host, port)
}
