package egress

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestAddressesByRule(t *testing.T) {
	const public, private, never = "public", "private", "never"
	some := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for address, kind := range map[string]string{
		"8.8.8.8": public, "2606:4700::1": public, "::ffff:8.8.8.8": public,
		"10.1.2.3": private, "172.16.0.1": private, "192.168.0.1": private, "100.64.0.1": private, "198.18.0.1": private,
		"fd00::1": private, "::ffff:10.1.2.3": private,
		"127.0.0.1": never, "::1": never, "::ffff:127.0.0.1": never, "169.254.169.254": never, "fe80::1": never, "fe80::1%eth0": never,
		"168.63.129.16": never, "100.100.100.200": never, "192.0.0.192": never, "fd00:ec2::254": never, "0.0.0.0": never, "0.1.2.3": never, "::": never,
		"255.255.255.255": never, "240.0.0.1": never, "224.0.0.1": never, "ff02::1": never,
		"64:ff9b::a9fe:a9fe": never, "2002:7f00:1::": never, "2001::1": never,
	} {
		ip := netip.MustParseAddr(address)
		if got := (Rule{}).Permits(ip); got != (kind == public) {
			t.Errorf("%s, public only: %v", address, got)
		}
		if got := (Rule{Private: true}).Permits(ip); got != (kind != never) {
			t.Errorf("%s, with private ones: %v", address, got)
		}
		allowed := some[0].Contains(ip.Unmap()) || some[1].Contains(ip.Unmap())
		if got := (Rule{Allow: some}).Permits(ip); got != (allowed || kind == public) {
			t.Errorf("%s, with some allowed: %v", address, got)
		}
	}
}

func TestConnectionsFollowTheRuleWhateverNameLeadsThere(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	at, _ := url.Parse(s.URL)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		for _, r := range []Rule{{}, {Private: true}} {
			resp, err := (&http.Client{Transport: r.Transport(1)}).Get("http://" + host + ":" + at.Port())
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, problem.Denied) || asked != 0 {
				t.Errorf("%s: %v, asked %d times", host, err, asked)
			}
		}
	}
	r := Rule{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	resp, err := (&http.Client{Transport: r.Transport(1)}).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestAProxyDecidesAboutNamesButNotAboutAddresses(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Host) }))
	defer proxy.Close()
	at, _ := url.Parse(proxy.URL)
	rt := Rule{Private: true}.Transport(1).(*transport)
	through := rt.proxied.(*http.Transport)
	through.Proxy = http.ProxyURL(at)
	rt.proxy = through.Proxy
	for host, want := range map[string]bool{"orders.queue.example": true, "10.0.0.1": true, "169.254.169.254": false, "[::1]": false} {
		asked = nil
		r, err := http.NewRequest(http.MethodPost, "http://"+host+"/", io.NopCloser(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != want || (len(asked) == 1) != want || !want && !errors.Is(err, problem.Denied) {
			t.Errorf("%s: %v, the proxy was asked for %v", host, err, asked)
		}
	}
}
