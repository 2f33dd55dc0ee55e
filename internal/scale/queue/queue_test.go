package queue_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/scale/queue"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/storage"
	"github.com/latchkey/latchkey/test/azurite"
)

// fill puts messages into a queue and takes some of them out of sight.
func fill(t *testing.T, connection, name string, messages, hidden int, transport http.RoundTripper) {
	t.Helper()
	found, err := storage.Resolve(func(string) string { return connection }, "", storage.Queues())
	if err != nil {
		t.Fatal(err)
	}
	a, err := account.Open(account.Config{Account: found, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for range messages {
		if err := a.Queue(name).Send(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if hidden == 0 {
		return
	}
	if _, err := a.Queue(name).Receive(t.Context(), hidden, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestALengthByConnectionString(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	e := azurite.Start(t, azurite.Options{Queues: true})
	fill(t, e.ConnectionString(), "orders", 7, 2, nil)
	r := queue.New(queue.Config{})
	q := scale.Queue{Rule: "q", Name: "orders", Connection: e.ConnectionString()}
	if n, err := r.Length(t.Context(), q); err != nil || n != 7 {
		t.Errorf("%d %v", n, err)
	}
	q.Name = "others"
	if _, err := r.Length(t.Context(), q); !errors.Is(err, problem.NotFound) || !strings.Contains(err.Error(), "/others does not exist") {
		t.Error(err)
	}
	e.Kill()
	if _, err := r.Length(t.Context(), q); !errors.Is(err, problem.Unavailable) {
		t.Error(err)
	}
}

func TestALengthByIdentityOnAzurite(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	cert, key, transport := certificate(t)
	e := azurite.Start(t, azurite.Options{Queues: true, CertFile: cert, KeyFile: key})
	fill(t, e.ConnectionString(), "orders", 3, 0, transport)
	var asked []string
	r := queue.New(queue.Config{Transport: transport,
		Address: func(account string) string {
			return map[string]string{azurite.Account: e.ServiceURL()}[account]
		},
		Token: func(_ context.Context, app, identity, resource string) (string, time.Time, error) {
			asked = []string{app, identity, resource}
			if identity != "system" {
				return "", time.Time{}, problem.New(problem.Denied, "the identity is not assigned").WithNext("assign it")
			}
			return jwt(), time.Now().Add(time.Hour), nil
		}})
	q := scale.Queue{App: "/apps/one", Rule: "q", Account: azurite.Account, Name: "orders", Identity: "system"}
	if n, err := r.Length(t.Context(), q); err != nil || n != 3 || strings.Join(asked, " ") != "/apps/one system https://storage.azure.com" {
		t.Errorf("%d %v %q", n, err, asked)
	}
	q.Identity = "/another"
	if _, err := r.Length(t.Context(), q); !errors.Is(err, problem.Denied) || problem.NextOf(err) != "assign it" {
		t.Error(err, problem.NextOf(err))
	}
}

// jwt is a token as the emulator wants it; it checks no signature.
func jwt() string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	now := time.Now()
	claims := fmt.Sprintf(`{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/11111111-1111-1111-1111-111111111111/","nbf":%d,"iat":%d,"exp":%d}`,
		now.Add(-time.Minute).Unix(), now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix())
	return part(`{"alg":"RS256","typ":"JWT"}`) + "." + part(claims) + "." + part("signature")
}

// certificate makes one for this machine, and a transport that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, transport *http.Transport) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
}

// answers is a service that gives one answer and keeps what it was asked.
type answers struct {
	status int
	code   string
	seen   []*http.Request
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.seen = append(a.seen, r)
	h := http.Header{"Content-Type": {"application/xml"}, "X-Ms-Approximate-Messages-Count": {"42"}}
	if a.code != "" {
		h.Set("x-ms-error-code", a.code)
	}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func TestWhereIdentitiesAsk(t *testing.T) {
	service := &answers{status: 200}
	r := queue.New(queue.Config{Transport: service, Token: func(context.Context, string, string, string) (string, time.Time, error) {
		return "the-token", time.Now().Add(time.Hour), nil
	}})
	for suffix, want := range map[string]string{"": "https://orders.queue.core.windows.net/work", "queue.example.net": "https://orders.queue.example.net/work"} {
		n, err := r.Length(t.Context(), scale.Queue{Rule: "q", Account: "orders", Endpoint: suffix, Name: "work", Identity: "system"})
		last := service.seen[len(service.seen)-1]
		last.URL.RawQuery = ""
		if err != nil || n != 42 || last.URL.String() != want || last.Header.Get("Authorization") != "Bearer the-token" {
			t.Errorf("%d %v %s %v", n, err, last.URL, last.Header)
		}
	}
}

func TestRulesThatCannotWorkNameTheFieldAndNoSecret(t *testing.T) {
	service := &answers{status: 403, code: "AuthorizationPermissionMismatch"}
	token := func(context.Context, string, string, string) (string, time.Time, error) {
		return "the-token", time.Now().Add(time.Hour), nil
	}
	with, without := queue.New(queue.Config{Transport: service, Token: token}), queue.New(queue.Config{Transport: service})
	const secret = "very-secret"
	tests := map[string]struct {
		r    *queue.Reader
		q    scale.Queue
		kind error
		says string
	}{
		"no connection":    {with, scale.Queue{}, problem.Invalid, `connection string of scale rule "q" is empty`},
		"no such string":   {with, scale.Queue{Connection: secret}, problem.Invalid, `scale rule "q"`},
		"no account":       {with, scale.Queue{Identity: "system"}, problem.Invalid, "accountName"},
		"another account":  {with, scale.Queue{Identity: "system", Account: "evil.example.net/"}, problem.Invalid, "accountName"},
		"another suffix":   {with, scale.Queue{Identity: "system", Account: "orders", Endpoint: "x/?"}, problem.Invalid, "endpointSuffix"},
		"no identities":    {without, scale.Queue{Identity: "system", Account: "orders"}, problem.Unavailable, "identities open no queues"},
		"no role":          {with, scale.Queue{Identity: "system", Account: "orders"}, problem.Denied, "Storage Queue Data Reader"},
		"a poor signature": {with, scale.Queue{Connection: "QueueEndpoint=https://far.example.net;SharedAccessSignature=sv=1&sig=" + secret}, problem.Denied, "sp="},
	}
	for name, tt := range tests {
		tt.q.Rule, tt.q.Name = "q", "work"
		_, err := tt.r.Length(t.Context(), tt.q)
		text := fmt.Sprint(err, ": ", problem.NextOf(err))
		if !errors.Is(err, tt.kind) || !strings.Contains(text, tt.says) || strings.Contains(text, secret) {
			t.Errorf("%s: %s", name, text)
		}
	}
}
