package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxAnswer  = 4 << 20          // bytes of an object as JSON, values in base64 included
	tryTimeout = 10 * time.Second // of one try
	maxSmall   = 1 << 20          // bytes of a certificate or token file
)

// apiObject is what is used of a Secret or ConfigMap.
type apiObject struct {
	Metadata  metadata          `json:"metadata"`
	Data      map[string]string `json:"data,omitempty"`
	Immutable bool              `json:"immutable,omitempty"`
}

type metadata struct {
	Name            string            `json:"name,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

// client makes the calls to the API server.
type client struct {
	cfg Config

	mu        sync.Mutex
	transport http.RoundTripper
	made      string // what transport was made from
}

// request is one call.
type request struct {
	method string
	named  bool   // of the object, not of its kind
	path   string // what is called instead of either; "" for none
	query  url.Values
	form   string // of the body
	body   []byte
}

// send makes one call. The caller closes the body of the response; answers that
// are no success are errors.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	rt, err := c.current()
	if err != nil {
		return nil, err
	}
	address, err := c.address(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "latchkey")
	if r.form != "" {
		req.Header.Set("Content-Type", r.form)
	}
	token, err := fromFile(c.cfg.Access.TokenFile, c.cfg.Access.Token)
	if err != nil {
		return nil, err
	}
	if token = strings.TrimSpace(token); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
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

// object makes a call that answers with the object.
func (c *client) object(ctx context.Context, r request) (apiObject, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return apiObject{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return apiObject{}, err
	}
	var o apiObject
	if json.Unmarshal(data, &o) != nil || o.Metadata.Name != c.cfg.Name || o.Metadata.ResourceVersion == "" {
		return apiObject{}, errForeign
	}
	return o, nil
}

// errForeign says that an answer is none of the API server's.
var errForeign = errors.New("the answer is not the object that was asked for")

// address gives the address of a call.
func (c *client) address(r request) (string, error) {
	if r.path != "" {
		return strings.TrimRight(c.cfg.Access.Server, "/") + r.path, nil
	}
	ns, err := c.namespace()
	if err != nil {
		return "", err
	}
	a := strings.TrimRight(c.cfg.Access.Server, "/") + "/api/v1/namespaces/" + ns + "/" + string(c.cfg.Kind)
	if r.named {
		a += "/" + c.cfg.Name
	}
	if len(r.query) > 0 {
		a += "?" + r.query.Encode()
	}
	return a, nil
}

func (c *client) namespace() (string, error) {
	ns, err := fromFile(c.cfg.Access.NamespaceFile, c.cfg.Access.Namespace)
	if ns = strings.TrimSpace(ns); err == nil && !isLabel(ns) {
		err = problem.New(keystore.ErrUnavailable, "the namespace of the service account is not known")
	}
	return ns, err
}

// current gives the transport, a new one if the certificates changed.
func (c *client) current() (http.RoundTripper, error) {
	a := c.cfg.Access
	ca, err1 := fromFile(a.CAFile, string(a.CA))
	cert, err2 := fromFile(a.CertFile, string(a.Cert))
	key, err3 := fromFile(a.KeyFile, string(a.Key))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := ca + "\x00" + cert + "\x00" + key
	if c.transport == nil && c.cfg.Transport != nil {
		c.transport, c.made = c.cfg.Transport, from
	}
	if c.transport != nil && (c.made == from || c.cfg.Transport != nil) {
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
			return nil, problem.New(keystore.ErrUnavailable, "the certificate authority of the API server is no certificate")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, problem.New(keystore.ErrUnavailable, "the client certificate for the API server and its key are no pair")
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return &http.Transport{
		TLSClientConfig: cfg, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: tryTimeout, ResponseHeaderTimeout: tryTimeout,
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
		return "", problem.Wrap(keystore.ErrUnavailable, "what is needed to ask the API server cannot be read", err).
			WithNext("see whether the pod has its service account mounted (automountServiceAccountToken)")
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return "", problem.Wrap(keystore.ErrUnavailable, "what is needed to ask the API server cannot be read", err)
	}
	return string(data), nil
}
