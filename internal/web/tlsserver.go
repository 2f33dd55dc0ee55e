package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// TLSServer is an HTTPS server with the limits of [Server]; it speaks HTTP/1.1
// and HTTP/2.
type TLSServer struct {
	l    net.Listener
	http *http.Server
	log  *slog.Logger
}

// NewTLSServer makes a server for a plain listener; Run serves it with the
// certificates of config, which is not changed.
func NewTLSServer(l net.Listener, h http.Handler, config *tls.Config, log *slog.Logger) *TLSServer {
	return &TLSServer{l: l, log: log, http: &http.Server{
		Handler: lingering(h), TLSConfig: config.Clone(),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// lingerTime is how long a client may go on sending a body that nobody reads:
// net/http takes some of it in, so that the connection can be used again.
const lingerTime = 5 * time.Second

// lingering keeps clients who were answered from holding their connection by a
// body that never ends. The next request has its own deadlines.
func lingering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime)) // where the connection can
		}
	})
}

// Run serves until ctx ends, then takes no new connections and gives requests in
// progress the grace to finish before they are cut off. It returns an error only
// if serving failed.
func (s *TLSServer) Run(ctx context.Context, grace time.Duration) error {
	return run(ctx, grace, s.log, s.http, func() error { return s.http.ServeTLS(s.l, "", "") })
}
