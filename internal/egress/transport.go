package egress

import (
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const dialTimeout = 30 * time.Second

// transport has two ways, since a connection to a proxy says nothing about where
// the request goes.
type transport struct {
	rule            Rule
	direct, proxied http.RoundTripper
	proxy           func(*http.Request) (*url.URL, error)
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if proxy, err := t.proxy(r); err == nil && proxy == nil {
		return t.direct.RoundTrip(r)
	}
	if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && !t.rule.Permits(ip) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, t.rule.refused(ip)
	}
	return t.proxied.RoundTrip(r)
}
