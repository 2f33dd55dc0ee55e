// Package egress owns where a node may connect to on behalf of somebody who is
// not its operator: the addresses of issuers, of storage accounts and the like are
// written by owners of apps. It does not know who asks, nor what for.
package egress

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
)

// Rule says which addresses may be reached. The zero value permits public ones.
// Whatever it says, addresses of the node itself, of its link, of metadata services
// and those that hide another address are refused unless Allow has them. It does
// not change after it is made.
type Rule struct {
	Private bool           // private networks may be reached too
	Allow   []netip.Prefix // networks that may be reached besides
	Setting string         // where the operator says Allow, for messages; may be empty
}

// inner are networks that only who runs the node may permit, although netip does
// not say so: metadata services of some clouds, and translated or tunnelled IPv4.
var inner = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"),
}

// shared are networks that are private although netip does not say so: shared
// address space and benchmarks.
var shared = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15")}

// Permits reports whether an address may be reached. IPv4 written as IPv6 is what
// it is, and zones do not count.
func (r Rule) Permits(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	switch {
	case within(r.Allow, ip):
		return true
	case within(inner, ip) || !ip.IsGlobalUnicast():
		return false
	}
	return r.Private || !ip.IsPrivate() && !within(shared, ip)
}

func within(networks []netip.Prefix, ip netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Control is a [net.Dialer]'s: it refuses addresses just before they are connected
// to, whatever name led there. Its errors are problem.Denied.
func (r Rule) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !r.Permits(ap.Addr()) {
		return r.refused(ap.Addr())
	}
	return nil
}

func (r Rule) refused(ip netip.Addr) error {
	next := "use another address; only who runs the installation can allow this one"
	if r.Setting != "" {
		next += ", by " + r.Setting
	}
	return problem.New(problem.Denied, fmt.Sprintf("address %s is not public and not allowed", ip)).WithNext(next)
}

// Transport sends requests where the rule permits it. Where the environment names
// a proxy for a request, the proxy decides about names; addresses are checked all
// the same. Each has connections of its own.
func (r Rule) Transport(idle int) http.RoundTripper {
	direct, proxied := pool(idle), pool(idle)
	direct.Proxy = nil
	direct.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: r.Control}).DialContext
	return &transport{rule: r, direct: direct, proxied: proxied, proxy: http.ProxyFromEnvironment}
}

func pool(idle int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = idle
	return t
}
