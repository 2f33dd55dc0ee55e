package platform

import (
	"context"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/portal/console"
	"github.com/latchkey/latchkey/internal/web"
)

// portalRun is how the audit record names a function's run by the portal's console.
const portalRun = "Latchkey.Platform/portal/run/action"

// console gives the portal its way to the apps: connections within the process to the
// very server that strangers are served by, as clients at the browser's address.
func (n *Node) console() console.Config {
	return console.Config{
		Ran:  n.auditPortalRun,
		Dial: func(ctx context.Context, remote string) (net.Conn, error) { return n.inner.Dial(ctx, remote) },
	}
}

// serveApps serves the apps until ctx ends, on their own address and within the
// process.
func (n *Node) serveApps(ctx context.Context) error {
	group, failed := errgroup.WithContext(ctx)
	for l, serve := range map[net.Listener]http.HandlerFunc{n.functions: n.serveFunctions, n.inner: n.serveFromPortal} {
		group.Go(func() error { return web.NewServer(l, serve, n.log).Run(failed, n.cfg.Grace) })
	}
	return group.Wait()
}

// serveFromPortal serves what the portal asks of apps. It comes past whatever stands in
// front of them, so that nothing in it is believed of that.
func (n *Node) serveFromPortal(w http.ResponseWriter, r *http.Request) {
	console.AsStranger(r)
	n.serveFunctions(w, r)
}

// auditPortalRun records that somebody ran a function. How the app decided about it is
// recorded as for any caller.
func (n *Node) auditPortalRun(ctx context.Context, run console.Run) error {
	event := audit.Event{
		Category: audit.Write, Action: portalRun, Scope: run.Function, Outcome: "Succeeded", Status: run.Status, Source: run.Remote,
		Principal: audit.Principal{ObjectID: run.Who.ObjectID, AppID: run.Who.AppID, Name: run.Who.Name},
		Details:   map[string]string{"key": run.Key, "method": run.Method, "path": run.Path},
	}
	if run.Request != "" { // the refusal itself is found by this
		event.Outcome, event.Details["request"] = "Denied", run.Request
	}
	if run.Status == 0 {
		event.Outcome, event.Reason = "Failed", "no answer came"
	}
	return n.audit.Append(ctx, event)
}
