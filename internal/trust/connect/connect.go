// Package connect owns a small forward proxy for clients on machines that cannot
// have host entries: it reaches hosts of the installation where its node is, and
// by default nothing else. It looks into no tunnel, so it knows neither requests
// nor credentials, and it does not know how clients are told to use it.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the proxy.
const (
	DefaultTunnels = 256
	DefaultIdle    = 10 * time.Minute

	dialTime       = 10 * time.Second
	headerTime     = 10 * time.Second
	keepAlive      = time.Minute
	maxHeaderBytes = 32 << 10
)

// Config says what a proxy reaches.
type Config struct {
	Domain string // of the installation: the domain itself and every name below it
	Node   string // the address that all of these names have
	Ports  []int  // of the installation's listeners; others of the node are not reached
	// PassThrough reaches all other hosts too. The proxy must then listen on
	// loopback only: anybody who reaches it reaches what this machine does.
	PassThrough bool
	// Upstream connects with another proxy, which is asked for names of the
	// installation in place of Node and knows its Ports. What it refuses is reached as
	// other hosts are. "localhost" is then the machine that this proxy runs on.
	Upstream func(context.Context) (net.Conn, error)
	Tunnels  int           // at a time, and plain requests likewise; 0 is DefaultTunnels
	Idle     time.Duration // a tunnel in which nothing moves ends; 0 is DefaultIdle
	Log      *slog.Logger
}

// Proxy is an http.Handler. It is safe for concurrent use.
type Proxy struct {
	cfg     Config
	dialer  net.Dialer
	forward *httputil.ReverseProxy
	slots   chan struct{}
	// running ends with Serve. It is not the context of requests, because plain
	// ones have a grace and tunnels, which may never end by themselves, do not.
	running context.Context
	end     context.CancelFunc
}

// New makes a proxy.
func New(cfg Config) *Proxy {
	if cfg.Tunnels == 0 {
		cfg.Tunnels = DefaultTunnels
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	p := &Proxy{cfg: cfg, dialer: net.Dialer{Timeout: dialTime}, slots: make(chan struct{}, cfg.Tunnels)}
	p.running, p.end = context.WithCancel(context.Background())
	p.forward = &httputil.ReverseProxy{
		Rewrite: keepRequest,
		Transport: &http.Transport{
			DialContext: p.dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: keepAlive, DisableCompression: true,
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, r *http.Request, err error) { p.fail(w, r.URL.Host, err) },
		ErrorLog:      slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return p
}

// keepRequest passes a request on as it came, with the headers that ReverseProxy
// thinks are its own.
func keepRequest(r *httputil.ProxyRequest) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	if _, ok := r.Out.Header["User-Agent"]; !ok {
		r.Out.Header.Set("User-Agent", "") // else the transport adds one
	}
}

// Serve serves connections until ctx ends; then tunnels are cut, and plain
// requests have the grace to end. It returns an error only if serving failed.
func (p *Proxy) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: headerTime, IdleTimeout: keepAlive, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	defer p.forward.Transport.(*http.Transport).CloseIdleConnections()
	defer p.end()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	p.end()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	for range cap(p.slots) { // the server does not wait for tunnels
		p.slots <- struct{}{}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, why := p.target(r)
	if why != "" {
		http.Error(w, why, http.StatusBadRequest)
		return
	}
	if _, own := p.route(target); !own && !p.cfg.PassThrough {
		p.cfg.Log.Info("refused", "target", target, "client", r.RemoteAddr)
		http.Error(w, p.refusal(target), http.StatusForbidden)
		return
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		http.Error(w, fmt.Sprintf("latchkey trust proxy: %d connections are open; try again when one has ended", cap(p.slots)), http.StatusServiceUnavailable)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, r, target)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// target gives where a request wants to go as host:port, or what is wrong with it.
// A request that is not meant for a proxy is refused: a web page could send it.
func (p *Proxy) target(r *http.Request) (target, why string) {
	authority, usual := r.URL.Host, "80"
	if r.Method == http.MethodConnect {
		authority, usual = r.RequestURI, ""
	} else if r.URL.Scheme != "http" || authority == "" || r.URL.User != nil {
		return "", "this is latchkey trust proxy; it serves CONNECT, and requests with a whole http:// URL. Set HTTPS_PROXY and HTTP_PROXY to http://" + r.Host
	}
	host, port, err := net.SplitHostPort(authority)
	if err != nil && usual != "" {
		host, port, err = strings.Trim(authority, "[]"), usual, nil
	}
	number, e := strconv.ParseUint(port, 10, 16)
	if err != nil || e != nil || number == 0 || host == "" {
		return "", "latchkey trust proxy: the target is not host:port"
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), strconv.FormatUint(number, 10)), ""
}

// route gives where a target of the installation is.
func (p *Proxy) route(target string) (address string, own bool) {
	host, port, err := net.SplitHostPort(target)
	if p.cfg.Upstream != nil {
		return target, err == nil && host != "localhost" && (host == p.cfg.Domain || strings.HasSuffix(host, "."+p.cfg.Domain))
	}
	number, e := strconv.Atoi(port)
	if err != nil || e != nil || !slices.Contains(p.cfg.Ports, number) {
		return "", false
	}
	if host != p.cfg.Node && host != p.cfg.Domain && !strings.HasSuffix(host, "."+p.cfg.Domain) {
		return "", false
	}
	return net.JoinHostPort(p.cfg.Node, port), true
}

func (p *Proxy) refusal(target string) string {
	ports := make([]string, len(p.cfg.Ports))
	for i, port := range p.cfg.Ports {
		ports[i] = strconv.Itoa(port)
	}
	return fmt.Sprintf("latchkey trust proxy reaches %[1]s and *.%[1]s on port %[2]s only, not %[3]q. "+
		"Add other hosts to NO_PROXY, or start it with --pass-through.", p.cfg.Domain, strings.Join(ports, " and "), target)
}

// dial reaches a target that was admitted.
func (p *Proxy) dial(ctx context.Context, network, target string) (net.Conn, error) {
	if address, own := p.route(strings.ToLower(target)); own && p.cfg.Upstream != nil {
		if conn, err := p.ask(ctx, target); !errors.Is(err, errRefused) {
			return conn, err
		}
	} else if own {
		target = address
	}
	return p.dialer.DialContext(ctx, network, target)
}

func (p *Proxy) fail(w http.ResponseWriter, target string, err error) {
	p.cfg.Log.Info("not reached", "target", target, "reason", err)
	text := fmt.Sprintf("latchkey trust proxy: %q cannot be reached", target)
	if _, own := p.route(target); own {
		text += "; is latchkey up running?"
	}
	http.Error(w, text, http.StatusBadGateway)
}
