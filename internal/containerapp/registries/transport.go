package registries

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// NewTransport makes the transport that is used when none is given. It does not
// connect to addresses that no registry has, such as the metadata services of
// clouds: names of registries come from users.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: guard}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
}

// metadata are addresses of clouds' own services that do not look it.
var metadata = []netip.Addr{netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("fd00:ec2::254")}

// guard refuses addresses just before they are connected to, whatever name led
// there.
func guard(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap().WithZone("")
	bad := ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified()
	for _, m := range metadata {
		bad = bad || ip == m
	}
	if bad {
		return fmt.Errorf("address %s is not one that registries have", ip)
	}
	return nil
}
