// Package ingress owns the way of requests to container apps: from a host name to
// an app, by weights or a label to a revision, and to the ready replica with the
// least to do. While there is none, requests wait, unread, in bounded number, and
// whoever decides about replicas is told. It counts what is under way for them.
//
// It is told what there is by Put, Replicas and Forget and asks nobody, so that a
// request costs no look-up anywhere. It deliberately does not know how apps are
// stored, what runs replicas, or how many there should be.
package ingress

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress/policy"
)

// Defaults of Config.
const (
	DefaultTimeout = 240 * time.Second // as the platform documents
	DefaultQueue   = 1000
	DefaultWaiting = 10 * DefaultQueue
)

// Config is what an Ingress needs.
type Config struct {
	// Activate is told when a request waits for a revision that has no ready
	// replica, again and again while it waits. It must not block.
	Activate func(engine.Ref)
	// Inside reports whether an address other than this machine's loopback belongs
	// to the environment, such as a container's: only such callers reach apps that
	// are not external. nil: none does.
	Inside func(netip.Addr) bool
	// Reserved reports whether a host name, in lower case, can be nobody's custom
	// domain. nil: none is.
	Reserved func(host string) bool
	// HTTPS gives the host, with the port if it is another one than 443, at which
	// a request to a host name can be made by TLS. Apps that allow nothing else
	// redirect there; nil: they are served without.
	HTTPS func(host string) string
	// Listen opens a port for apps that take connections of any protocol, for
	// callers inside and outside alike. nil: there are none.
	Listen func(ctx context.Context, port int) (net.Listener, error)
	// Timeout is how long nothing may move before a request is given up, and how
	// long one waits for a replica. 0: DefaultTimeout.
	Timeout time.Duration
	// Queue is how many requests of one app may wait for a replica. 0: DefaultQueue.
	Queue int
	// Waiting is how many requests of all apps may wait for a replica.
	// 0: DefaultWaiting.
	Waiting int
	Clock   clock.Clock
	Log     *slog.Logger
}

// Transport is what an app speaks.
type Transport string

// Transports, as the management API names them.
const (
	Auto  Transport = "auto" // HTTP/1.1
	HTTP  Transport = "http" // HTTP/1.1
	HTTP2 Transport = "http2"
	TCP   Transport = "tcp" // no HTTP: see App.Ports
)

// App is an app as its callers meet it. Names compare without case.
type App struct {
	ID            string // as in engine.Ref
	Name          string // the first label of its host name
	Domain        string // of its environment, without port
	Created       time.Time
	CustomDomains []string // more host names of the app; those that belong to another one already do nothing, nor do addresses
	External      bool     // not only for callers inside
	AllowInsecure bool     // no redirect to HTTPS
	Sticky        bool     // a client stays with a replica
	Port          int      // of the replicas; 0: the lowest one there is
	Transport     Transport
	Ports         []TCPPort // where connections of any protocol are taken, besides HTTP or instead of it
	TLS           bool      // replicas are spoken to by TLS; their certificate is not checked
	Traffic       []Share
	Revisions     []Revision // the active ones; none is an app that answers nobody
	// Policy says who may come in. An app with Closed set lets nobody in.
	Policy *policy.Policy
	Closed bool
}

// TCPPort is a port at which an app takes connections of any protocol.
type TCPPort struct {
	Exposed  int // where it is reached; of two apps with the same one, the older one gets it
	Target   int // of the replicas
	External bool
}

// Share is a share of an app's requests. That of a revision that is not active goes
// to the others.
type Share struct {
	Revision string
	Weight   int // of all weights
	Label    string
}

// Revision is one revision of an app.
type Revision struct {
	Name   string
	Failed bool // there is no use in waiting for it
}

// Replica is one that can take requests.
type Replica struct {
	Name      string
	Addresses map[int]string // from a port to where it can be dialled
}

// Load is what there is to do for a revision.
type Load struct {
	InFlight int   // requests, connections and those waiting for a replica
	Waiting  int   // for a replica
	Total    int64 // how many have come so far; only grows
	// Last is when the last one came or ended, the zero time for never.
	Last time.Time
}

// Ingress serves container apps. It is safe for concurrent use.
type Ingress struct {
	cfg   Config
	table atomic.Pointer[table]
	ctx   context.Context // ends connections that were switched to another protocol
	stop  context.CancelFunc
	other forwarder
	queue atomic.Int64 // requests that wait, of all apps

	mu        sync.Mutex
	sites     map[string]*site
	revisions sync.Map                   // of engine.Ref.Key to *revision
	ports     map[int]context.CancelFunc // those that are served
	serving   sync.WaitGroup             // of ports
}

// New makes an ingress. Close ends it.
func New(cfg Config) *Ingress {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = DefaultWaiting
	}
	in := &Ingress{cfg: cfg, sites: map[string]*site{}, ports: map[int]context.CancelFunc{}}
	in.ctx, in.stop = context.WithCancel(context.Background())
	in.other = newForwarder()
	in.table.Store(&table{})
	return in
}

// Close ends what requests do not end by themselves: ports, connections of other
// protocols, and idle ones to replicas. Call it when no request is served any more.
func (in *Ingress) Close() {
	in.mu.Lock()
	in.stop()
	in.mu.Unlock()
	in.serving.Wait()
	in.other.close()
	in.revisions.Range(func(_, v any) bool {
		v.(*revision).set(nil)
		return true
	})
}

// ServeHTTP serves a request to any app; 404 if there is none of its host name.
func (in *Ingress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !in.Serve(w, r) {
		unknown(w)
	}
}

// Serve serves a request if its host name is an app's, and reports whether it is.
func (in *Ingress) Serve(w http.ResponseWriter, r *http.Request) bool {
	at, ok := in.table.Load().find(r.Host)
	if !ok {
		return false
	}
	v := visit{in: in, at: at, ctx: r.Context(), w: w, r: r}
	v.serve()
	return true
}

// Knows reports whether a host name is an app's.
func (in *Ingress) Knows(host string) bool {
	_, ok := in.table.Load().find(host)
	return ok
}

// WantsCertificate reports whether the app of a host name wants to see clients'
// certificates.
func (in *Ingress) WantsCertificate(host string) bool {
	at, ok := in.table.Load().find(host)
	return ok && at.app.Policy.ForwardsCertificate()
}

// Load gives what there is to do for a revision.
func (in *Ingress) Load(ref engine.Ref) Load {
	v, ok := in.revisions.Load(ref.Key())
	if !ok {
		return Load{}
	}
	return v.(*revision).load()
}

// InFlight gives how many requests and connections a revision has, with those that
// wait for a replica.
func (in *Ingress) InFlight(ref engine.Ref) int { return in.Load(ref).InFlight }

// enter takes a place among those of an app who wait, and among all.
func (in *Ingress) enter(s *site) bool {
	if in.queue.Add(1) <= int64(in.cfg.Waiting) && s.enter(in.cfg.Queue) {
		return true
	}
	in.queue.Add(-1)
	return false
}

// leave gives both back.
func (in *Ingress) leave(s *site) {
	s.leave()
	in.queue.Add(-1)
}
