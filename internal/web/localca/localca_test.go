package localca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/localca"
)

func open(t *testing.T, c clock.Clock, allowed func(string) bool) *localca.Authority {
	t.Helper()
	text, err := localca.Generate("Latchkey test", []string{"localhost"}, c.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := localca.Open(text, c, allowed)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func anyHost(string) bool { return true }

func roots(t *testing.T, a *localca.Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.PEM()) || strings.Contains(string(a.PEM()), "PRIVATE") {
		t.Fatal("PEM is not just the certificate")
	}
	return pool
}

func TestClientsThatTrustTheAuthorityTrustItsHosts(t *testing.T) {
	a := open(t, clock.Real{}, anyHost)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	srv := web.NewTLSServer(l, http.NotFoundHandler(), a.TLS(), slog.New(slog.DiscardHandler))
	go func() { ended <- srv.Run(ctx, time.Second) }()
	defer func() { stop(); <-ended }()
	for host, good := range map[string]bool{
		"localhost": true, "shop.localhost": true, "kv.vault.localhost": true, "127.0.0.1": true,
		"example.com": false, "notlocalhost": false, "10.0.0.1": false, // the authority vouches for none of these
	} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: host, RootCAs: roots(t, a)})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestHostsThatAreNotAllowedGetNoCertificate(t *testing.T) {
	a := open(t, clock.Real{}, func(h string) bool { return h == "localhost" })
	for _, host := range []string{"evil.localhost", "", strings.Repeat("a", 300)} {
		if _, err := a.For(host); problem.KindOf(err) != problem.Denied {
			t.Errorf("%q: got %v", host, err)
		}
	}
}

func TestCertificatesAreKeptAndRenewedInTime(t *testing.T) {
	c := clock.NewManual(time.Now())
	a := open(t, c, anyHost)
	first, err := a.For("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := a.For("localhost"); again != first {
		t.Error("made anew at once")
	}
	c.Advance(61 * 24 * time.Hour)
	second, err := a.For("localhost")
	if err != nil || second == first || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("not renewed: %v", err)
	}
}

func TestDamagedAuthoritiesAreRefused(t *testing.T) {
	for _, text := range []string{"", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := localca.Open([]byte(text), clock.Real{}, anyHost); problem.KindOf(err) != problem.Undecryptable {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// Neither the authority nor what it signs is of use for signing mail or programs,
// for which the names in it say nothing.
func TestTheAuthorityIsForServersOnly(t *testing.T) {
	a := open(t, clock.Real{}, anyHost)
	leaf, err := a.For("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageClientAuth} {
		unmarked := *leaf.Leaf
		unmarked.ExtKeyUsage = nil // as one would make it who has the authority's key
		_, err := unmarked.Verify(x509.VerifyOptions{Roots: roots(t, a), KeyUsages: []x509.ExtKeyUsage{use}})
		if (err == nil) != (use == x509.ExtKeyUsageServerAuth) {
			t.Errorf("use %v: %v", use, err)
		}
	}
}
