package rpc

import (
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/frames"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// link carries messages to and from one process. Send and Flush are called by one
// goroutine, Recv by another.
type link interface {
	Send(*wire.StreamingMessage) error
	Flush() error
	Recv() (*wire.StreamingMessage, error)
	// broken reports whether an error of Send shows in Recv as well, after what
	// came before it.
	broken(error) bool
}

// grpcLink is the stream of a worker that dialled in.
type grpcLink struct {
	wire.FunctionRpc_EventStreamServer
}

// Flush does nothing: gRPC sends when it sees fit.
func (grpcLink) Flush() error { return nil }

func (grpcLink) broken(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Canceled
}

// frameLink is the socket of a worker of ours.
type frameLink struct{ *frames.Conn }

func (frameLink) broken(err error) bool { return problem.KindOf(err) != problem.TooLarge }

// inherited is the descriptor of the one file that a process is given.
const inherited = 3

// attach serves c over a socket that its process inherits. Nobody else can hold
// the other end, so nothing needs to be proven; the first message must be
// StartStream all the same.
func (c *channel) attach(conn *frames.Conn, theirs *os.File) {
	_ = theirs.Close() // the process has its own
	c.w.tended.Go(func() {
		defer conn.Close()
		first, err := conn.Recv()
		switch {
		case err != nil:
			c.fail(streamError(err))
		case first.GetStartStream() == nil:
			c.fail(problem.New(problem.Unavailable, "the worker's first message is not StartStream"))
		default:
			c.serve(frameLink{conn})
		}
	})
	c.w.tended.Go(func() { // ends a Recv that would wait for ever
		<-c.gone
		select {
		case <-c.proc.Done():
		case <-c.finished:
		}
		_ = conn.Close()
	})
}
