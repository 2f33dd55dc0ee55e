package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of a server against slow and greedy clients.
const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 130 * time.Second // longer than common load balancers keep theirs
	maxHeaderBytes = 64 << 10
)

// Server is an HTTP server with the limits above and HTTP/2 without TLS for
// clients that start with it.
type Server struct {
	http *http.Server
	l    net.Listener
	log  *slog.Logger
}

// NewServer makes a server for a listener; Run serves it.
func NewServer(l net.Listener, h http.Handler, log *slog.Logger) *Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &Server{l: l, log: log, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// Addr gives the address listened on.
func (s *Server) Addr() net.Addr { return s.l.Addr() }

// Run serves until ctx ends, then takes no new connections and gives requests in
// progress the grace to finish before they are cut off. It returns an error only
// if serving failed.
func (s *Server) Run(ctx context.Context, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.http.Shutdown(limit); err != nil {
		s.log.Warn("requests were cut off", "reason", err)
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
