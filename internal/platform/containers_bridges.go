package platform

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// bridgeNames are what names of interfaces begin with that container engines make.
var bridgeNames = [...]string{"docker", "br-", "podman", "cni"}

// bridgesStand is how long the networks of container engines are taken to stay as
// they are: asking the kernel takes as long as a request.
const bridgesStand = time.Second

// bridges are the networks that container engines of this machine give to containers.
type bridges struct {
	clock clock.Clock
	list  func() []netip.Prefix

	mu    sync.Mutex
	known []netip.Prefix
	until time.Time
}

func newBridges(c clock.Clock) *bridges { return &bridges{clock: c, list: listBridges} }

// inside reports whether an address is one of a container.
func (b *bridges) inside(caller netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.clock.Now(); !now.Before(b.until) {
		b.known, b.until = b.list(), now.Add(bridgesStand)
	}
	return slices.ContainsFunc(b.known, func(p netip.Prefix) bool { return p.Contains(caller) })
}

// listBridges asks the kernel.
func listBridges() (found []netip.Prefix) {
	list, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, one := range list {
		if !slices.ContainsFunc(bridgeNames[:], func(b string) bool { return strings.HasPrefix(one.Name, b) }) {
			continue
		}
		addresses, err := one.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				found = append(found, p.Masked())
			}
		}
	}
	return found
}
