package platform

import (
	"context"
	"net"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/trust/connect"
)

// lookupTime bounds finding out whether this machine resolves names of vaults.
const lookupTime = 2 * time.Second

// workerTunnels is how many connections the workers of all apps may have through
// the proxy. It is many times what a proxy of one person needs: an app that keeps
// hundreds open must not cut the others off.
const workerTunnels = 4096

// openProxy gives workers a way to the installation's own hosts where the machine
// resolves no names below the domain: code that is meant for the cloud calls a
// vault by its name. It must not need root, so it is a proxy on loopback, which
// workers are told of as programs usually are.
func (n *Node) openProxy(ctx context.Context) error {
	if n.resolves(ctx, "any.vault."+n.cfg.Domain) {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		n.log.Warn("workers get no proxy: names of vaults must be resolved by the machine", "reason", err, "next", "latchkey trust hosts --sync")
		return nil
	}
	p := connect.New(connect.Config{
		Domain: n.cfg.Domain, Node: dialable(n.management), Ports: []int{n.names.functions, n.names.management}, PassThrough: true,
		Tunnels: workerTunnels, Log: n.log,
	})
	n.proxy = (&url.URL{Scheme: "http", Host: l.Addr().String()}).String()
	n.beside(func(ctx context.Context) {
		if err := p.Serve(ctx, l, n.cfg.Grace); err != nil {
			n.log.Error("the proxy of the workers ended", "reason", err)
		}
	})
	return nil
}

// resolves reports whether a name is known to this machine.
func (n *Node) resolves(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	return err == nil && len(addresses) > 0
}

// dialable gives the address under which this machine reaches a listener.
func dialable(l net.Listener) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok || tcp.IP.IsUnspecified() {
		return "127.0.0.1"
	}
	return tcp.IP.String()
}
