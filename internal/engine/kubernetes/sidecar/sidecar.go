// Package sidecar owns the program that runs beside the containers of a replica on
// Kubernetes: on localhost it is their identity endpoint, and it hands each request on
// to Latchkey with a token that says which pod it is from. It keeps no secrets and no
// answers, and knows nothing of identities.
package sidecar

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Config is what the engine puts into the sidecar's environment.
type Config struct {
	Upstream  *url.URL // where Latchkey serves requests of sidecars
	TokenFile string   // the pod's token, which the kubelet replaces from time to time
	Roots     *x509.CertPool
	Listen    string // of the identity endpoint: an address of localhost
	Health    string // for the kubelet
	Log       *slog.Logger
}

// UpstreamSetting is the variable that only a sidecar on Kubernetes has.
const UpstreamSetting = "LATCHKEY_SIDECAR_UPSTREAM"

const (
	maxToken     = 64 << 10
	answerTime   = 30 * time.Second // that Latchkey may take
	headTime     = 5 * time.Second
	shutdownTime = 5 * time.Second
	maxHead      = 64 << 10
)

// Parse reads the environment. problem.Invalid names the variable that is wrong.
func Parse(env func(string) string) (Config, error) {
	cfg := Config{TokenFile: env("LATCHKEY_SIDECAR_TOKEN_FILE"), Listen: env("LATCHKEY_SIDECAR_LISTEN"), Health: env("LATCHKEY_SIDECAR_HEALTH")}
	wrong := func(name, why string) (Config, error) {
		return Config{}, problem.New(problem.Invalid, name+" "+why).WithNext("the sidecar is started by Latchkey's kubernetes engine, which sets it")
	}
	u, err := url.Parse(env(UpstreamSetting))
	if err != nil || u.Host == "" || u.Scheme != "https" {
		return wrong(UpstreamSetting, "is not an https address")
	}
	cfg.Upstream = u
	if cfg.TokenFile == "" {
		return wrong("LATCHKEY_SIDECAR_TOKEN_FILE", "is empty")
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return wrong("LATCHKEY_SIDECAR_LISTEN", "is not an address of localhost")
	}
	if _, _, err := net.SplitHostPort(cfg.Health); err != nil {
		return wrong("LATCHKEY_SIDECAR_HEALTH", "is not an address")
	}
	if file := env("LATCHKEY_SIDECAR_CA_FILE"); file != "" {
		data, err := os.ReadFile(file)
		cfg.Roots = x509.NewCertPool()
		if err != nil || !cfg.Roots.AppendCertsFromPEM(data) {
			return wrong("LATCHKEY_SIDECAR_CA_FILE", "names no file with certificates")
		}
	}
	return cfg, nil
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	endpoint, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return problem.Wrap(problem.Conflict, "the identity endpoint cannot listen at "+cfg.Listen, err).WithNext("no container may use this port")
	}
	health, err := net.Listen("tcp", cfg.Health)
	if err != nil {
		_ = endpoint.Close()
		return problem.Wrap(problem.Conflict, "the sidecar cannot listen at "+cfg.Health, err).WithNext("no container may use this port")
	}
	alive := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ends := make(chan error, 2)
	var servers []*http.Server
	for l, h := range map[net.Listener]http.Handler{endpoint: Handler(cfg), health: alive} {
		s := &http.Server{Handler: h, ReadHeaderTimeout: headTime, MaxHeaderBytes: maxHead}
		servers = append(servers, s)
		go func() { ends <- s.Serve(l) }()
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ends:
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	for _, s := range servers {
		_ = s.Shutdown(late)
	}
	return err
}

// Handler hands requests for tokens on. Answers are Latchkey's; without one it is 503,
// which clients try again.
func Handler(cfg Config) http.Handler {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		ResponseHeaderTimeout: answerTime, TLSHandshakeTimeout: headTime, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = cfg.Upstream.Scheme, cfg.Upstream.Host, cfg.Upstream.Host
			r.Out.URL.Path = strings.TrimRight(cfg.Upstream.Path, "/") + r.In.URL.Path
			r.Out.Header.Set("Authorization", "Bearer "+r.In.Context().Value(tokenKey{}).(string))
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if cfg.Log != nil {
				cfg.Log.Warn("Latchkey does not answer", "error", why(err))
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		token, err := read(cfg.TokenFile)
		if err != nil {
			if cfg.Log != nil {
				cfg.Log.Warn("the pod's token cannot be read", "error", err.Error())
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
	})
}

type tokenKey struct{}

// why leaves the address, and what is asked in it, out of an error.
func why(err error) string {
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	return err.Error()
}

func read(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxToken))
	token := strings.TrimSpace(string(data))
	if err == nil && (token == "" || strings.ContainsAny(token, "\r\n")) {
		err = errors.New("the file has no token")
	}
	return token, err
}
