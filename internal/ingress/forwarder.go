package ingress

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// forwarder takes requests to replicas that the quick way has no words for: other
// protocols, HTTP/2 and TLS.
type forwarder struct {
	one, two *http.Transport // HTTP/1.1 and HTTP/2
}

func newForwarder() forwarder {
	make := func(set func(*http.Protocols)) *http.Transport {
		var protocols http.Protocols
		set(&protocols)
		return &http.Transport{
			Protocols: &protocols, DisableCompression: true, MaxIdleConnsPerHost: 128, IdleConnTimeout: 30 * time.Second,
			DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // replicas' certificates are their own, as on the platform
		}
	}
	return forwarder{
		one: make(func(p *http.Protocols) { p.SetHTTP1(true) }),
		two: make(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true); p.SetHTTP2(true) }),
	}
}

func (f forwarder) close() {
	f.one.CloseIdleConnections()
	f.two.CloseIdleConnections()
}

// send takes a request to an address. An error means that nothing was answered;
// what breaks later aborts the client's connection.
func (f forwarder) send(a *answer, r *http.Request, v *visit, addr string, upgrade bool) error {
	to := &url.URL{Scheme: "http", Host: addr}
	if v.at.app.TLS {
		to.Scheme = "https"
	}
	transport := f.one
	if v.at.app.Transport == HTTP2 && !upgrade {
		transport = f.two
	}
	if upgrade {
		stop := context.AfterFunc(v.in.ctx, func() { a.keep.cancel(errClosing) })
		defer stop()
	}
	if r.ContentLength != 0 {
		_ = http.NewResponseController(a).EnableFullDuplex() // HTTP/2 needs none and says so
	}
	var failed error
	proxy := httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = to.Scheme, to.Host
			p.Out.Host, p.Out.URL.RawQuery = p.In.Host, p.In.URL.RawQuery // nobody here reads the query
			for _, name := range dropped {
				p.Out.Header.Del(name)
			}
			for _, field := range v.fields() {
				p.Out.Header[field.Name] = []string{field.Value}
			}
		},
		ModifyResponse: func(answer *http.Response) error {
			if answer.StatusCode != http.StatusSwitchingProtocols {
				answer.Body = &wholeBody{answer.Body, &failed}
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
	}
	proxy.ServeHTTP(a, r)
	if failed == nil || refused(failed) {
		return failed
	}
	return problem.Wrap(problem.Unavailable, "the replica did not answer", failed)
}

// wholeBody notices an answer's body that breaks off.
type wholeBody struct {
	io.ReadCloser
	failed *error
}

// Read implements io.Reader.
func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		*b.failed = err
	}
	return n, err
}
