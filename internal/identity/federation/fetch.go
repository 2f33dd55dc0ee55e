package federation

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey/latchkey/internal/identity"
)

// minKey is the smallest RSA key that counts, in bits; maxKey the largest.
const (
	minKey = 2048
	maxKey = 8192
)

// newClient makes a client that speaks HTTPS only, goes where it is allowed to,
// without a proxy, which would go anywhere, and follows redirects within a host.
func newClient(cfg Config) *http.Client {
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: cfg.guard}
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			MaxIdleConns:           8,
			IdleConnTimeout:        30 * time.Second,
			ResponseHeaderTimeout:  fetchTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || r.URL.Scheme != "https" || !strings.EqualFold(r.URL.Host, via[0].URL.Host) {
				return errors.New("it redirects elsewhere")
			}
			return nil
		},
	}
}

// guard refuses addresses just before they are connected to, whatever name led
// there.
func (c Config) guard(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := ap.Addr().Unmap().WithZone(""); !c.mayReach(ip) {
		return fmt.Errorf("address %s is not public and not allowed", ip)
	}
	return nil
}

// special are networks that are not public although netip does not say so: shared
// address space, benchmarks, the addresses of translated and tunnelled IPv4, and
// the metadata services of some clouds.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"),
}

func (c Config) mayReach(ip netip.Addr) bool {
	for _, p := range c.Allow {
		if p.Contains(ip) {
			return true
		}
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// fetch reads an issuer's discovery document and keys.
func (s *Issuers) fetch(ctx context.Context, issuer string) ([]jose.JSONWebKey, error) {
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.read(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return nil, unavailable(issuer, err)
	}
	if about.Issuer != issuer {
		return nil, unavailable(issuer, errors.New("its discovery document is of another issuer"))
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.read(ctx, about.Keys, &set); err != nil {
		return nil, unavailable(issuer, err)
	}
	return usable(set.Keys), nil
}

func unavailable(issuer string, err error) error {
	return &identity.Refused{Reason: identity.IssuerUnavailable, Detail: fmt.Sprintf("issuer %q: %v", issuer, err)}
}

// usable gives the RSA keys for signatures and leaves out what is not understood:
// issuers publish other keys beside them.
func usable(texts []json.RawMessage) []jose.JSONWebKey {
	var keys []jose.JSONWebKey
	for _, text := range texts[:min(len(texts), maxKeys)] {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		if public, ok := k.Key.(*rsa.PublicKey); ok && public.N.BitLen() >= minKey && public.N.BitLen() <= maxKey {
			keys = append(keys, k)
		}
	}
	return keys
}

func (s *Issuers) read(ctx context.Context, address string, v any) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("a URL is not https")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", u.Host, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err != nil {
		return err
	}
	if len(body) > maxDocument {
		return fmt.Errorf("%s answers with more than %d bytes", u.Host, maxDocument)
	}
	if json.Unmarshal(body, v) != nil {
		return fmt.Errorf("%s does not answer with JSON of the right shape", u.Host)
	}
	return nil
}
