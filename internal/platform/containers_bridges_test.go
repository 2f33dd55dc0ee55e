package platform

import (
	"net/netip"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

func TestNetworksOfContainersAreAskedForOnceInAWhile(t *testing.T) {
	c := clock.NewManual(time.Unix(1e6, 0))
	asked, b := 0, newBridges(c)
	network := netip.MustParsePrefix("172.17.0.0/16")
	b.list = func() []netip.Prefix {
		asked++
		return []netip.Prefix{network}
	}
	for caller, want := range map[string]bool{"172.17.3.4": true, "172.18.3.4": false, "fd00::1": false} {
		if b.inside(netip.MustParseAddr(caller)) != want {
			t.Errorf("%s is inside: %t", caller, !want)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	network = netip.MustParsePrefix("172.18.0.0/16")
	c.Advance(bridgesStand)
	if !b.inside(netip.MustParseAddr("172.18.3.4")) || asked != 2 {
		t.Errorf("a network that came is not known; asked %d times", asked)
	}
}
