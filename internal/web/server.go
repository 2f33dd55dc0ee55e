package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/web/lane"
)

// Limits of a server against slow and greedy clients.
const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 130 * time.Second // longer than common load balancers keep theirs
	maxHeaderBytes = 64 << 10
)

// Server is an HTTP server with the limits above. Plain requests take the
// express lane; HTTP/2 without TLS and everything unusual is net/http's.
type Server struct {
	lane *lane.Server
	l    net.Listener
	log  *slog.Logger
}

// NewServer makes a server for a listener; Run serves it.
func NewServer(l net.Listener, h http.Handler, log *slog.Logger) *Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &Server{l: l, log: log, lane: &lane.Server{
		Handler:       h,
		IdleTimeout:   idleTimeout,
		HeaderTimeout: headerTimeout,
		Log:           log,
		Fallback: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			Protocols:         &protocols,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}}
}

// Run serves until ctx ends, then takes no new connections and gives requests in
// progress the grace to finish before they are cut off. It returns an error only
// if serving failed.
func (s *Server) Run(ctx context.Context, grace time.Duration) error {
	return run(ctx, grace, s.log, s.lane, func() error { return s.lane.Serve(s.l) })
}

// ending is how servers are ended.
type ending interface {
	Shutdown(ctx context.Context) error
	Close() error
}

// run serves until ctx ends, then ends the server within the grace.
func run(ctx context.Context, grace time.Duration, log *slog.Logger, server ending, serve func() error) error {
	served := make(chan error, 1)
	go func() { served <- serve() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		log.Warn("requests were cut off", "reason", err)
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
