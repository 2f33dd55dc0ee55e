package msi

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/netutil"

	"github.com/latchkey/latchkey/internal/web"
)

// Limits of an endpoint: connections at a time, so that a workload which forgets to
// close them takes none from others, and how long requests in progress may go on
// once it closes.
const (
	maxConns = 256
	grace    = 2 * time.Second
)

// Endpoint is the address at which one running workload gets tokens. It is safe
// for concurrent use.
type Endpoint struct {
	addr   net.Addr
	header string
	close  context.CancelFunc
	done   chan struct{}
	once   sync.Once
}

// Listen opens an endpoint in the App Service dialect on a free port of the
// loopback interface. It serves until ctx ends or [Endpoint.Close]. Without
// Config.Header, a secret is made for this endpoint alone, so that what one run of
// a workload knew is of no use in the next. Errors are those of web.Listen.
func Listen(ctx context.Context, cfg Config) (*Endpoint, error) {
	l, err := web.Listen(ctx, "127.0.0.1", 0)
	if err != nil {
		return nil, err
	}
	if cfg.Header == "" {
		cfg.Header = uuid.NewString() // from crypto/rand
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &Endpoint{addr: l.Addr(), header: cfg.Header, close: cancel, done: make(chan struct{})}
	server := web.NewServer(netutil.LimitListener(l, maxConns), New(cfg), cfg.Log)
	go func() {
		defer close(e.done)
		if err := server.Run(ctx, grace); err != nil {
			cfg.Log.Error("an identity endpoint failed", "reason", err)
		}
	}()
	return e, nil
}

// URL gives the address that clients are told.
func (e *Endpoint) URL() string { return "http://" + e.addr.String() + Path }

// Env gives the environment variables by which client libraries find the endpoint.
// Two of them hold the secret. All four are there because libraries that find only
// the older two take the place for another service.
func (e *Endpoint) Env() map[string]string {
	return map[string]string{
		"IDENTITY_ENDPOINT": e.URL(), "IDENTITY_HEADER": e.header,
		"MSI_ENDPOINT": e.URL(), "MSI_SECRET": e.header,
	}
}

// Close ends the endpoint. Requests in progress have two seconds to finish. It
// returns when the port is free again; further calls do nothing but wait.
func (e *Endpoint) Close() {
	e.once.Do(e.close)
	<-e.done
}
