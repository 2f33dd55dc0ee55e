package account

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

const contactTimeout = 15 * time.Second

// Authority is the certificate authority that vouches for an endpoint.
type Authority struct {
	Trusted     bool   // by this machine or by the file given
	PEM         []byte // its certificate; nil if it is the system's
	Fingerprint string // SHA-256 of the certificate, in hex
	Name        string // as the certificate has it: what it says of itself
}

// endpointURL checks an endpoint.
func endpointURL(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		return nil, problem.New(problem.Invalid, "the endpoint must be https://host:port").WithNext("for example --endpoint " + DefaultEndpoint)
	}
	return u, nil
}

// FindAuthority connects to an endpoint without sending anything and tells which
// authority vouches for it. An authority that is not trusted yet is for a person
// to judge, by its fingerprint. It returns problem.Unavailable if nothing answers,
// and problem.Denied if the certificate is not right for the endpoint whoever is
// trusted.
func FindAuthority(ctx context.Context, endpoint string) (Authority, error) {
	u, err := endpointURL(endpoint)
	if err != nil {
		return Authority{}, err
	}
	chain, err := handshake(ctx, u)
	if err != nil {
		return Authority{}, problem.Wrap(problem.Unavailable, "nothing answers over TLS at "+endpoint, err).
			WithNext("check the address; latchkey up prints it")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: u.Hostname(), Intermediates: between}); err == nil {
		return Authority{Trusted: true}, nil
	}
	root := chain[len(chain)-1]
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: u.Hostname(), Intermediates: between, Roots: pool}); err != nil || !root.IsCA {
		return Authority{}, problem.Wrap(problem.Denied, "the certificate of "+endpoint+" is not right for it", err).
			WithNext("check the address, and whether it is that of the installation")
	}
	return authorityOf(root), nil
}

func authorityOf(c *x509.Certificate) Authority {
	sum := sha256.Sum256(c.Raw)
	return Authority{
		PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), Fingerprint: hex.EncodeToString(sum[:]), Name: c.Subject.CommonName,
	}
}

// handshake gives the certificates that a server shows. They are not checked here:
// nothing is sent to whoever shows them.
func handshake(ctx context.Context, u *url.URL) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	d := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: u.Hostname(),
		InsecureSkipVerify: true, //nolint:gosec // FindAuthority verifies, or a person does
	}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates // what a tls.Dialer gives
	if len(chain) == 0 {
		return nil, errors.New("it shows no certificate")
	}
	return chain, nil
}

// SameFingerprint compares fingerprints as people copy them: with colons or
// spaces, in any case, with the name of the hash in front.
func SameFingerprint(a, b string) bool {
	clean := func(s string) string {
		s = strings.ToLower(strings.TrimSpace(s))
		s = strings.TrimPrefix(strings.TrimPrefix(s, "sha256:"), "sha-256:")
		return strings.NewReplacer(":", "", " ", "", "-", "").Replace(s)
	}
	return clean(a) == clean(b) && clean(a) != ""
}

// FindTenant asks an endpoint which tenant it serves, by calling it without a
// token. caFile vouches for it; "" is the system's.
func FindTenant(ctx context.Context, endpoint, caFile string) (string, error) {
	u, err := endpointURL(endpoint)
	if err != nil {
		return "", err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return "", problem.Wrap(problem.Invalid, "the authority's certificate cannot be read", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return "", problem.New(problem.Invalid, caFile+" has no certificate")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("subscriptions").String()+"?api-version=2022-12-01", nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := client.Do(req)
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "the management API at "+endpoint+" cannot be reached", err).
			WithNext("check the address and the authority's certificate")
	}
	defer resp.Body.Close()
	if tenant := tenantOf(resp.Header.Get("WWW-Authenticate")); tenant != "" {
		return tenant, nil
	}
	return "", problem.New(problem.Unavailable, endpoint+" does not say which tenant it serves").
		WithNext("check the address, or give the tenant with --tenant")
}

// tenantOf reads the tenant from the address in a challenge.
func tenantOf(challenge string) string {
	_, rest, ok := strings.Cut(challenge, `authorization_uri="`)
	if !ok {
		return ""
	}
	address, _, _ := strings.Cut(rest, `"`)
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	tenant := strings.Trim(u.Path, "/")
	if len(tenant) > 100 || strings.Contains(tenant, "/") {
		return ""
	}
	return tenant
}

// FingerprintOf gives the fingerprint of the first certificate in a PEM file.
func FingerprintOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", problem.Wrap(problem.Invalid, "the authority's certificate cannot be read", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", problem.New(problem.Invalid, file+" has no certificate")
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}
