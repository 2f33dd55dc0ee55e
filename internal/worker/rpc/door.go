package rpc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

const (
	loopback = "127.0.0.1"

	// What a connection may do before it has shown that a process of ours made it.
	// These times are the network's business and follow the system clock.
	strangerTime  = 10 * time.Second
	strangerBytes = 64 << 10
	maxStrangers  = 32

	window = 1 << 20 // bytes in flight per stream before the receiver must confirm
)

// door is the gRPC server that workers dial. Only streams that begin with the id
// of a process that is expected come in; ids are random and good for one stream.
type door struct {
	wire.UnimplementedFunctionRpcServer
	server  *grpc.Server
	address string
	port    int
	user    *uint32 // who may connect; nil when that cannot be asked
	lookUp  func(local, remote netip.AddrPort) (uid uint32, found bool)
	warn    func(string)
	others  sync.Once // says that other users tried
	served  sync.WaitGroup

	mu       sync.Mutex
	expected map[*channel]struct{}
	conns    map[string]*guarded // by the other side's address
}

func openDoor(as *child.Credential, warn func(string)) (*door, error) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "no free port on "+loopback+" for language workers", err)
	}
	d := &door{
		address: l.Addr().String(), port: l.Addr().(*net.TCPAddr).Port, warn: warn, user: userOf(as), lookUp: lookUpOf(l.Addr()),
		expected: map[*channel]struct{}{}, conns: map[string]*guarded{},
	}
	d.server = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxReceived(as)), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.ReadBufferSize(64<<10), grpc.WriteBufferSize(64<<10),
		grpc.MaxConcurrentStreams(4), grpc.ConnectionTimeout(strangerTime))
	wire.RegisterFunctionRpcServer(d.server, d)
	d.served.Go(func() { _ = d.server.Serve(&guardedListener{Listener: l, door: d}) })
	return d, nil
}

// close ends all streams and waits until nothing of the server is left.
func (d *door) close() {
	d.server.Stop()
	d.served.Wait()
}

// newID makes an id nobody can guess (122 random bits), as GUID text.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// expect lets c's process in, once.
func (d *door) expect(c *channel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expected[c] = struct{}{}
}

func (d *door) forget(c *channel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.expected, c)
}

// claim gives the channel that waits for a worker id, once. All ids are compared,
// each in constant time.
func (d *door) claim(id string) *channel {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found *channel
	for c := range d.expected {
		if subtle.ConstantTimeCompare([]byte(c.id), []byte(id)) == 1 {
			found = c
		}
	}
	if found != nil {
		delete(d.expected, found)
	}
	return found
}

// EventStream serves one worker process until its stream or its process ends.
func (d *door) EventStream(stream wire.FunctionRpc_EventStreamServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStartStream()
	if start == nil {
		d.warn("a stream that does not begin with StartStream was refused")
		return status.Error(codes.FailedPrecondition, "the first message must be StartStream")
	}
	c := d.claim(start.GetWorkerId())
	if c == nil {
		d.warn("a stream with the id of no process of ours was refused")
		return status.Error(codes.PermissionDenied, "not a worker of this host")
	}
	d.open(stream.Context())
	c.serve(grpcLink{stream})
	return status.Error(codes.Unavailable, "the host has ended the stream")
}

// open lifts the limits of a connection.
func (d *door) open(ctx context.Context) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return
	}
	d.mu.Lock()
	g := d.conns[p.Addr.String()]
	d.mu.Unlock()
	if g != nil {
		g.open()
	}
}

// guardedListener limits connections that have not shown who they are.
type guardedListener struct {
	net.Listener
	door *door
}

// Accept gives the next connection. Those of other users are closed at once: they
// would take the places of strangers, and could keep workers from starting. While
// there are too many strangers, further ones are closed too.
func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.door.knownUser(conn) {
			l.door.others.Do(func() { l.door.warn("connections of other users' processes are refused") })
		} else if g := l.door.guard(conn); g != nil {
			return g, nil
		}
		_ = conn.Close()
	}
}

func (d *door) guard(conn net.Conn) *guarded {
	d.mu.Lock()
	defer d.mu.Unlock()
	strangers := 0
	for _, g := range d.conns {
		if !g.isOpen() {
			strangers++
		}
	}
	if strangers >= maxStrangers {
		return nil
	}
	g := &guarded{Conn: conn, door: d, left: strangerBytes}
	d.conns[conn.RemoteAddr().String()] = g
	g.expiry = time.AfterFunc(strangerTime, func() {
		if !g.isOpen() {
			_ = conn.Close()
		}
	})
	return g
}

// guarded is a connection that may send little, and not for long, until opened.
type guarded struct {
	net.Conn
	door   *door
	expiry *time.Timer

	mu   sync.Mutex
	left int // bytes it may still send; negative when there is no limit
}

func (g *guarded) open() {
	g.expiry.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = -1
}

func (g *guarded) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left < 0
}

// Read reads from the connection; a stranger that has sent too much is cut off.
func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left < 0 {
		return n, err
	}
	if n > g.left {
		return 0, problem.New(problem.TooLarge, "too much was sent before StartStream")
	}
	g.left = max(g.left-n, 0)
	return n, err
}

// Close closes the connection.
func (g *guarded) Close() error {
	g.expiry.Stop()
	g.door.mu.Lock()
	delete(g.door.conns, g.RemoteAddr().String())
	g.door.mu.Unlock()
	return g.Conn.Close()
}
