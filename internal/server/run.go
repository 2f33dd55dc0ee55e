package server

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/web"
)

// Run serves until ctx ends, then drains: no new connections, requests in
// progress get the grace, then the worker is stopped. It returns an error only
// if serving failed.
func (n *Node) Run(ctx context.Context) error {
	group, failed := errgroup.WithContext(ctx)
	app, stopApp := context.WithCancel(context.WithoutCancel(ctx))
	defer stopApp()
	group.Go(func() error {
		n.hosted.Run(app)
		return nil
	})
	group.Go(func() error {
		<-failed.Done()
		n.hosted.Instance().Drain() // nothing new is started while requests end
		return nil
	})
	group.Go(func() error {
		defer stopApp() // the app ends after the last request has been answered
		return web.NewServer(n.listener, n.hosted.Handler(), n.log).Run(failed, n.cfg.Grace)
	})
	group.Go(func() error {
		n.tendKeys(failed)
		return nil
	})
	group.Go(func() error {
		n.followDeclared(failed)
		return nil
	})
	if n.ops != nil {
		group.Go(func() error {
			return web.NewServer(n.ops, telemetry.OpsHandler(n.metrics, &n.health), n.log).Run(failed, n.cfg.Grace)
		})
	}
	return group.Wait()
}
