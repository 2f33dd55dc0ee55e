// Package localca owns the certificate authority of an installation: it makes
// it, and signs a certificate for each host name that clients ask for, as they
// ask. Where the authority's key is kept is for the caller to say; it knows
// nothing of what is served.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Lives of certificates. Clients refuse leaves of more than 398 days.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	backdate = time.Hour // for clients whose clock is behind
	leaves   = 1000      // kept; others are made again
)

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	clock clock.Clock
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	pem   []byte // certificate only
	leaf  *ecdsa.PrivateKey
	cache *lru.Cache[string, *tls.Certificate]
	// allowed decides which host names get a certificate.
	allowed func(host string) bool
}

// Generate makes a new authority and gives certificate and key as PEM, to be kept
// as a secret. The name is shown where people list the authorities they trust.
// The authority is good for hosts in the given domains and for loopback addresses
// only, so that a machine that trusts it does not trust its keeper with the rest
// of the web.
func Generate(name string, domains []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"Latchkey"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, // names are bounded below, but for other uses they say nothing
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: domains, PermittedIPRanges: loopback(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})...), nil
}

func loopback() []*net.IPNet {
	return []*net.IPNet{
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
		{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}

// Open reads an authority that Generate made. allowed decides which host names
// and addresses get a certificate. It returns problem.Undecryptable for text that
// is no authority.
func Open(text []byte, c clock.Clock, allowed func(host string) bool) (*Authority, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, problem.Wrap(problem.Undecryptable, "the certificate authority cannot be read", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, problem.New(problem.Undecryptable, "the certificate authority has no ECDSA key")
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[string, *tls.Certificate](leaves)
	if err != nil {
		return nil, err
	}
	return &Authority{
		clock: c, cert: pair.Leaf, key: key, leaf: leaf, cache: cache, allowed: allowed,
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
	}, nil
}

// PEM gives the authority's certificate, which is public.
func (a *Authority) PEM() []byte { return append([]byte(nil), a.pem...) }

// Fingerprint gives the SHA-256 of the authority's certificate in hex.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// TLS gives the configuration of a server that shows each client a certificate
// for the name it asks for.
func (a *Authority) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.certificate, NextProtos: []string{"h2", "http/1.1"}}
}

// certificate gives the certificate for a handshake. Clients that name no host
// reached us by address.
func (a *Authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if host == "" && hello.Conn != nil {
		host, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	return a.For(host)
}

// For gives a certificate for a host name or address, made anew when a third of
// its life is left. It returns problem.Denied for a host that is not allowed.
func (a *Authority) For(host string) (*tls.Certificate, error) {
	if len(host) > 253 || !a.allowed(host) {
		return nil, problem.New(problem.Denied, fmt.Sprintf("there is no certificate for %q", host))
	}
	now := a.clock.Now()
	if c, ok := a.cache.Get(host); ok && now.Before(c.Leaf.NotAfter.Add(-leafLife/3)) && now.After(c.Leaf.NotBefore) {
		return c, nil
	}
	c, err := a.sign(host, now)
	if err == nil {
		a.cache.Add(host, c)
	}
	return c, err
}

func (a *Authority) sign(host string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: clip(host)},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}, err
}

// clip keeps a common name within the 64 characters it may have.
func clip(host string) string {
	if len(host) > 64 {
		return host[:64]
	}
	return host
}
