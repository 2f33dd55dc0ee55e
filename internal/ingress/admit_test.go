package ingress_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/ingress/policy"
)

// from asks an ingress as a caller of an address would.
func from(in *ingress.Ingress, remote, host string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://"+host+"/path?q=1", nil)
	r.RemoteAddr = remote
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	in.ServeHTTP(w, r)
	return w
}

// inside is an ingress with an app, whose one replica answers.
func inside(t *testing.T, config func(*ingress.Config), app func(*ingress.App)) *ingress.Ingress {
	t.Helper()
	cfg := ingress.Config{Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)}
	if config != nil {
		config(&cfg)
	}
	in := ingress.New(cfg)
	t.Cleanup(in.Close)
	in.Put(shop(app))
	in.Replicas(ref("shop--one"), at(replica(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://apps-own.example")
		w.Header().Set("Vary", "Accept")
		_, _ = fmt.Fprint(w, "cert=", r.Header.Get("X-Forwarded-Client-Cert"))
	})))
	return in
}

func settings(t *testing.T, s policy.Settings) *policy.Policy {
	t.Helper()
	p, err := policy.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInternalAppsAreForCallersInside(t *testing.T) {
	in := inside(t, func(c *ingress.Config) {
		c.Inside = func(a netip.Addr) bool { return netip.MustParsePrefix("172.17.0.0/16").Contains(a) }
	}, func(a *ingress.App) { a.External, a.CustomDomains = false, []string{"www.shop.example"} })
	for _, tt := range []struct {
		remote, host string
		status       int
	}{
		{"127.0.0.1:1", "shop.internal." + domain, 200},
		{"[::1]:1", "shop.internal." + domain, 200},
		{"[::ffff:127.0.0.1]:1", "shop--one.internal." + domain, 200},
		{"172.17.0.9:1", "shop.internal." + domain, 200},
		{"192.0.2.7:1", "shop.internal." + domain, 404},
		{"not an address", "shop.internal." + domain, 404},
		{"127.0.0.1:1", "shop." + domain, 404},
		{"127.0.0.1:1", "www.shop.example", 404},
	} {
		if got := from(in, tt.remote, tt.host); got.Code != tt.status {
			t.Errorf("%s from %s: got %d, want %d", tt.host, tt.remote, got.Code, tt.status)
		}
	}
}

func TestAddressesAreRestricted(t *testing.T) {
	rules := func(action string, ranges ...string) json.RawMessage {
		var list []map[string]string
		for _, r := range ranges {
			list = append(list, map[string]string{"name": "n", "action": action, "ipAddressRange": r})
		}
		text, _ := json.Marshal(list)
		return text
	}
	for _, tt := range []struct {
		rules   json.RawMessage
		remote  string
		spoofed string
		status  int
	}{
		{rules("Allow", "192.0.2.0/24", "198.51.100.7"), "192.0.2.9:1", "", 200},
		{rules("Allow", "192.0.2.0/24", "198.51.100.7"), "198.51.100.7:1", "", 200},
		{rules("Allow", "192.0.2.0/24", "198.51.100.7"), "198.51.100.8:1", "", 403},
		{rules("Allow", "192.0.2.0/24"), "198.51.100.8:1", "192.0.2.9", 403},
		{rules("Allow", "192.0.2.0/24"), "[::ffff:192.0.2.1]:1", "", 200},
		{rules("Allow", "192.0.2.0/24"), "@", "", 403},
		{rules("Deny", "192.0.2.0/24"), "192.0.2.9:1", "", 403},
		{rules("deny", "192.0.2.0/24"), "198.51.100.8:1", "", 200},
		{rules("Deny", "::/0"), "[2001:db8::1]:1", "", 403},
		{json.RawMessage("[]"), "192.0.2.9:1", "", 200},
	} {
		in := inside(t, nil, func(a *ingress.App) { a.Policy = settings(t, policy.Settings{IPRestrictions: tt.rules}) })
		got := from(in, tt.remote, "shop."+domain, func(r *http.Request) {
			if tt.spoofed != "" {
				r.Header.Set("X-Forwarded-For", tt.spoofed)
			}
		})
		if got.Code != tt.status {
			t.Errorf("%s from %s: got %d, want %d", tt.rules, tt.remote, got.Code, tt.status)
		}
	}
}

func TestClosedAppsLetNobodyIn(t *testing.T) {
	in := inside(t, nil, func(a *ingress.App) { a.Closed = true })
	if got := from(in, "127.0.0.1:1", "shop."+domain); got.Code != 403 {
		t.Errorf("got %d", got.Code)
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for _, s := range []policy.Settings{
		{IPRestrictions: json.RawMessage(`{}`)},
		{IPRestrictions: json.RawMessage(`[{"action":"Allow","ipAddressRange":"10.0.0.0/40"}]`)},
		{IPRestrictions: json.RawMessage(`[{"action":"Maybe","ipAddressRange":"10.0.0.0/8"}]`)},
		{IPRestrictions: json.RawMessage(`[{"action":"Allow"}]`)},
		{CORS: json.RawMessage(`{"allowedOrigins":"*"}`)},
		{ClientCertificateMode: "perhaps"},
	} {
		if _, err := policy.New(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

func TestPagesOfOtherOrigins(t *testing.T) {
	in := inside(t, nil, func(a *ingress.App) {
		a.Policy = settings(t, policy.Settings{CORS: json.RawMessage(
			`{"allowedOrigins":["https://page.example"],"allowedMethods":["GET","PUT"],"allowedHeaders":["x-key"],"exposeHeaders":["X-Sum"],"maxAge":60,"allowCredentials":true}`)})
	})
	page := func(origin, method string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Origin", origin)
			if method != "" {
				r.Method = "OPTIONS"
				r.Header.Set("Access-Control-Request-Method", method)
				r.Header.Set("Access-Control-Request-Headers", "x-key")
			}
		}
	}
	for name, tt := range map[string]struct {
		page   func(*http.Request)
		served bool
		want   map[string]string
	}{
		"preflight": {page("https://page.example", "PUT"), false, map[string]string{
			"Access-Control-Allow-Origin": "https://page.example", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-key",
			"Access-Control-Max-Age": "60", "Access-Control-Allow-Credentials": "true"}},
		"preflight of a stranger": {page("https://evil.example", "PUT"), false, map[string]string{"Access-Control-Allow-Origin": ""}},
		"request": {page("https://page.example", ""), true, map[string]string{
			"Access-Control-Allow-Origin": "https://page.example", "Access-Control-Expose-Headers": "X-Sum", "Vary": "Accept,Origin"}},
		"request of a stranger": {page("https://evil.example", ""), true, map[string]string{"Access-Control-Allow-Origin": ""}},
	} {
		got := from(in, "192.0.2.1:1", "shop."+domain, tt.page)
		if got.Code != 200 || strings.Contains(got.Body.String(), "cert=") != tt.served {
			t.Errorf("%s: got %d %q", name, got.Code, got.Body)
		}
		for field, want := range tt.want {
			if have := strings.Join(got.Header()[field], ","); have != want {
				t.Errorf("%s: %s is %q, want %q", name, field, have, want)
			}
		}
	}
}

// clientCertificate makes a certificate that nobody vouches for.
func clientCertificate(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientCertificates(t *testing.T) {
	with := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{clientCertificate(t)}}
	for _, tt := range []struct {
		mode   string
		tls    *tls.ConnectionState
		status int
		seen   bool
	}{
		{"require", nil, 403, false},
		{"Require", &tls.ConnectionState{}, 403, false},
		{"require", with, 200, true},
		{"accept", nil, 200, false},
		{"accept", with, 200, true},
		{"ignore", with, 200, false},
		{"", with, 200, false},
	} {
		in := inside(t, nil, func(a *ingress.App) { a.Policy = settings(t, policy.Settings{ClientCertificateMode: tt.mode}) })
		got := from(in, "192.0.2.1:1", "shop."+domain, func(r *http.Request) {
			r.TLS = tt.tls
			r.Header.Set("X-Forwarded-Client-Cert", "Hash=made-up")
		})
		text, seen := strings.CutPrefix(got.Body.String(), "cert=Hash=")
		if got.Code != tt.status || seen != tt.seen || strings.Contains(text, "made-up") {
			t.Errorf("%q: got %d %q", tt.mode, got.Code, got.Body)
		}
		if plain, err := url.PathUnescape(text); tt.seen && (err != nil || !strings.Contains(plain, `;Cert="-----BEGIN CERTIFICATE-----`+"\n")) {
			t.Errorf("%q: the certificate is %q", tt.mode, text)
		}
	}
}

func TestRedirectToHTTPS(t *testing.T) {
	https := func(c *ingress.Config) { c.HTTPS = func(host string) string { return host + ":7443" } }
	for _, tt := range []struct {
		name     string
		config   func(*ingress.Config)
		insecure bool
		tls      *tls.ConnectionState
		location string
	}{
		{"by HTTP", https, false, nil, "https://shop." + domain + ":7443/path?q=1"},
		{"by HTTPS", https, false, &tls.ConnectionState{}, ""},
		{"allowed", https, true, nil, ""},
		{"without TLS", nil, false, nil, ""},
	} {
		in := inside(t, tt.config, func(a *ingress.App) { a.AllowInsecure = tt.insecure })
		got := from(in, "192.0.2.1:1", "shop."+domain, func(r *http.Request) { r.TLS = tt.tls })
		if location := got.Header().Get("Location"); location != tt.location || (location != "") != (got.Code == 301) {
			t.Errorf("%s: got %d %q", tt.name, got.Code, location)
		}
	}
}

func TestClientsStayWithTheirReplica(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(func(a *ingress.App) { a.Sticky = true }))
	list := at(replica(t, says("0")), replica(t, says("1")), replica(t, says("2")))
	w.Replicas(ref("shop--one"), list)
	for range 3 {
		first := w.get("shop." + domain)
		cookie := first.header.Get("Set-Cookie")
		if !strings.HasPrefix(cookie, `acaAffinity="`) || !strings.Contains(cookie, "HttpOnly") || strings.Contains(cookie, "r0") {
			t.Fatalf("the cookie is %q", cookie)
		}
		with := func(r *http.Request) { r.Header.Set("Cookie", "a=b; "+strings.Split(cookie, ";")[0]) }
		for range 5 {
			if got := w.get("shop."+domain, with); got.body != first.body || got.header.Get("Set-Cookie") != "" {
				t.Errorf("got %v, want to stay with %s", got, first.body)
			}
		}
		w.Replicas(ref("shop--one"), append([]ingress.Replica{}, without(list, "r"+first.body)...))
		if got := w.get("shop."+domain, with); got.status != 200 || got.body == first.body || got.header.Get("Set-Cookie") == "" {
			t.Errorf("after the replica is gone: %v", got)
		}
		w.Replicas(ref("shop--one"), list)
	}
}

func without(list []ingress.Replica, name string) (rest []ingress.Replica) {
	for _, r := range list {
		if r.Name != name {
			rest = append(rest, r)
		}
	}
	return rest
}

func FuzzHost(f *testing.F) {
	for _, host := range []string{
		"shop." + domain, "SHOP." + domain + ":80", "shop." + domain + ".", "shop." + domain + ":99999999", "[::1]:80", "[", "::", ":", ".", "",
		"shop." + domain + "\x00", "shop." + domain + "/", "shop." + domain + "@evil.example", "ſhop." + domain, strings.Repeat("a.", 4000), "shop.internal." + domain,
	} {
		f.Add(host)
	}
	in := ingress.New(ingress.Config{Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	in.Put(shop(func(a *ingress.App) { a.Revisions[0].Failed = true }))
	f.Fuzz(func(t *testing.T, host string) {
		r := &http.Request{Method: "GET", Host: host, URL: &url.URL{Path: "/"}, Header: http.Header{}, RemoteAddr: "192.0.2.1:1"}
		w := httptest.NewRecorder()
		served := in.Serve(w, r)
		name, port, _ := strings.Cut(strings.ToLower(host), ":")
		name = strings.TrimSuffix(name, ".")
		isShop := name == "shop."+domain || name == "shop--one."+domain || strings.HasSuffix(name, ".internal."+domain)
		if served && !isShop {
			t.Errorf("%q was served", host)
		}
		if served && strings.ContainsAny(port, ":/@ ") {
			t.Errorf("%q was served with its port", host)
		}
	})
}
