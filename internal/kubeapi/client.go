// Package kubeapi owns the way to a Kubernetes API server: where it is, how to log
// in to it, and one call with its refusals. It keeps no types of Kubernetes, caches
// nothing and tries nothing again: who calls knows what may be repeated.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	// Patience is how long to wait for the beginning of an answer.
	Patience = 10 * time.Second
	maxSmall = 1 << 20 // bytes of a certificate or token file
)

// Client makes the calls to an API server. It is safe for concurrent use.
type Client struct {
	access Access
	given  http.RoundTripper

	mu        sync.Mutex
	transport http.RoundTripper
	made      string // what transport was made from
}

// New gives a client of an API server. Transport sends the requests; nil is one of
// the client's own that trusts the authorities and shows the certificate that
// Access has.
func New(access Access, transport http.RoundTripper) *Client {
	return &Client{access: access, given: transport}
}

// Request is one call.
type Request struct {
	Method string
	Path   string // from the server's root, such as /api/v1/namespaces/a/pods
	Query  url.Values
	Form   string // media type of the body
	Accept string // "" is application/json
	Body   []byte
}

// Send makes one call. The caller closes the body of the response; answers that
// are no success are errors, *Status among them.
func (c *Client) Send(ctx context.Context, r Request) (*http.Response, error) {
	req, rt, err := c.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := rt.RoundTrip(req) // not a client: redirects would take the token elsewhere
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, readStatus(resp)
}

func (c *Client) prepare(ctx context.Context, r Request) (*http.Request, http.RoundTripper, error) {
	rt, err := c.current()
	if err != nil {
		return nil, nil, err
	}
	address := strings.TrimRight(c.access.Server, "/") + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, address, bytes.NewReader(r.Body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.Accept != "" {
		req.Header.Set("Accept", r.Accept)
	}
	req.Header.Set("User-Agent", "latchkey")
	if r.Form != "" {
		req.Header.Set("Content-Type", r.Form)
	}
	token, err := fromFile(c.access.TokenFile, c.access.Token)
	if err != nil {
		return nil, nil, err
	}
	if token = strings.TrimSpace(token); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, rt, nil
}

// Upgrade makes a call that turns into a connection on which a WebSocket is spoken, and
// gives the protocol in it that the server chose. The caller closes the connection.
func (c *Client) Upgrade(ctx context.Context, r Request, protocols []string) (io.ReadWriteCloser, string, error) {
	req, rt, err := c.prepare(ctx, r)
	if err != nil {
		return nil, "", err
	}
	own, ok := rt.(*http.Transport)
	if !ok {
		return nil, "", problem.New(problem.Unsupported, "this transport makes no connections")
	}
	own = own.Clone()
	own.ForceAttemptHTTP2, own.DisableKeepAlives, own.TLSNextProto, own.HTTP2 = false, true, map[string]func(string, *tls.Conn) http.RoundTripper{}, nil
	own.TLSClientConfig.NextProtos = []string{"http/1.1"}
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": base64.StdEncoding.EncodeToString(key), "Sec-WebSocket-Protocol": strings.Join(protocols, ", ")} {
		req.Header.Set(name, value)
	}
	resp, err := own.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		defer func() { _ = resp.Body.Close() }()
		return nil, "", readStatus(resp)
	}
	return conn, resp.Header.Get("Sec-WebSocket-Protocol"), nil
}

// Server gives the address of the API server.
func (c *Client) Server() string { return c.access.Server }

// Namespace gives the namespace of the access, as of now.
func (c *Client) Namespace() (string, error) {
	ns, err := fromFile(c.access.NamespaceFile, c.access.Namespace)
	if ns = strings.TrimSpace(ns); err == nil && !IsLabel(ns) {
		err = problem.New(problem.Unavailable, "the namespace of the service account is not known")
	}
	return ns, err
}

// current gives the transport, a new one if the certificates changed.
func (c *Client) current() (http.RoundTripper, error) {
	a := c.access
	ca, err1 := fromFile(a.CAFile, string(a.CA))
	cert, err2 := fromFile(a.CertFile, string(a.Cert))
	key, err3 := fromFile(a.KeyFile, string(a.Key))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := ca + "\x00" + cert + "\x00" + key
	if c.transport == nil && c.given != nil {
		c.transport, c.made = c.given, from
	}
	if c.transport != nil && (c.made == from || c.given != nil) {
		return c.transport, nil
	}
	made, err := newTransport(a.ServerName, ca, cert, key)
	if err != nil {
		return nil, err
	}
	if old, ok := c.transport.(*http.Transport); ok {
		old.CloseIdleConnections()
	}
	c.transport, c.made = made, from
	return made, nil
}

// newTransport trusts the authorities in ca, or the system's if that is empty. It
// heeds no proxy: the API server is asked directly.
func newTransport(name, ca, cert, key string) (*http.Transport, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if ca != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, problem.New(problem.Unavailable, "the certificate authority of the API server is no certificate")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, problem.New(problem.Unavailable, "the client certificate for the API server and its key are no pair")
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return &http.Transport{
		TLSClientConfig: cfg, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: Patience, ResponseHeaderTimeout: Patience,
		// Watches are silent for long: pings tell a lost connection from that.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}, nil
}

// fromFile gives what a file holds, or the value if none is named.
func fromFile(path, value string) (string, error) {
	if path == "" {
		return value, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "what is needed to ask the API server cannot be read", err).
			WithNext("see whether the pod has its service account mounted (automountServiceAccountToken)")
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "what is needed to ask the API server cannot be read", err)
	}
	return string(data), nil
}
