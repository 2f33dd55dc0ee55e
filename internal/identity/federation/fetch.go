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
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey/latchkey/internal/egress"
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
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: egress.Rule{Allow: cfg.Allow, Setting: "federation.networks"}.Control}
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
