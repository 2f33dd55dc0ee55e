package platform

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/web"
)

// Run serves until ctx ends, then drains: no new connections, requests in
// progress get the grace, then the apps are stopped. It returns an error only if
// serving failed.
func (n *Node) Run(ctx context.Context) error {
	group, failed := errgroup.WithContext(ctx)
	apps, stopApps := context.WithCancel(context.WithoutCancel(ctx))
	defer stopApps()
	group.Go(func() error {
		n.fleet.Run(apps)
		return nil
	})
	group.Go(func() error {
		n.runContainers(apps)
		return nil
	})
	group.Go(func() error {
		<-failed.Done()
		n.streams.Close()
		n.logs.Close()
		n.fleet.Drain() // nothing new is started while requests end
		if p := n.portal.Load(); p != nil {
			p.Drain()
		}
		return nil
	})
	group.Go(func() error {
		defer stopApps() // the apps end after the last request has been answered
		return n.serveApps(failed)
	})
	group.Go(func() error {
		return web.NewTLSServer(n.management, n.handler, n.tls, n.log).Run(failed, n.cfg.Grace)
	})
	if n.ops != nil {
		group.Go(func() error {
			return web.NewServer(n.ops, telemetry.OpsHandler(n.metrics, &n.health), n.log).Run(failed, n.cfg.Grace)
		})
	}
	return group.Wait()
}

// Ready waits until the node knows its apps and can serve them.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.fleet.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveFunctions serves the listener of the apps.
func (n *Node) serveFunctions(w http.ResponseWriter, r *http.Request) {
	answer := apart(w, r)
	defer answer.end()
	w = answer
	kind, name := n.names.kindOf(r.Host)
	if kind == hostApp && n.fleet.Serve(name, w, r) || n.serveContainer(w, r) {
		return
	}
	if n.serveLocal(w, r) {
		return
	}
	web.WriteText(w, http.StatusNotFound, "404 Site not found: no app has this host name. Apps are at http://<app>."+
		withPort(n.names.domain, n.names.functions, 80)+"/\n")
}
