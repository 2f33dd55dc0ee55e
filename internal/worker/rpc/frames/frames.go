// Package frames owns the way in which messages travel to Latchkey's own
// language workers: each StreamingMessage behind its length, over a socket pair
// that the host opens before it starts the process. Nobody can connect to it,
// and it costs a worker a fraction of what a gRPC stream does (decision record
// 0009). It does not know what the messages say.
package frames

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// MaxMessage is the largest message that is sent or taken, in bytes: as much as
// gRPC streams of language workers carry.
const MaxMessage = 1<<31 - 1

const head = 4

// Conn carries messages over a socket. Send may be called by one goroutine and
// Recv by another at the same time; neither by two at once.
type Conn struct {
	socket io.ReadWriteCloser
	most   uint32 // bytes of a message that is taken
	in     *bufio.Reader
	out    *bufio.Writer
	buffer []byte
	close  sync.Once
	closed error
}

// New gives a Conn over an open socket, which it owns from then on.
func New(socket io.ReadWriteCloser) *Conn {
	return &Conn{
		socket: socket,
		most:   MaxMessage,
		in:     bufio.NewReaderSize(socket, 64<<10),
		out:    bufio.NewWriterSize(socket, 64<<10),
	}
}

// Bound sets the largest message that is taken, in bytes, at most [MaxMessage]. It
// is called before Recv.
func (c *Conn) Bound(most int) { c.most = uint32(min(max(most, 0), MaxMessage)) }

// Send puts a message into the buffer; [Conn.Flush] lets it go. Errors:
// problem.TooLarge for a message above [MaxMessage], or those of the socket.
func (c *Conn) Send(m *wire.StreamingMessage) error {
	size := proto.Size(m)
	if size > MaxMessage {
		return problem.New(problem.TooLarge, "a message to a language worker is larger than 2 GiB")
	}
	body, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(c.buffer[:0], m)
	if err != nil {
		return problem.Wrap(problem.Internal, "write a message to a language worker", err)
	}
	c.keep(body)
	if err := c.writeHead(len(body)); err != nil {
		return err
	}
	_, err = c.out.Write(body)
	return err
}

// keep lets the next message use the memory of this one, unless it is large.
func (c *Conn) keep(body []byte) {
	if cap(body) <= 1<<20 {
		c.buffer = body
	}
}

func (c *Conn) writeHead(n int) error {
	var h [head]byte
	binary.LittleEndian.PutUint32(h[:], uint32(n))
	_, err := c.out.Write(h[:])
	return err
}

// Flush sends what has been put into the buffer.
func (c *Conn) Flush() error { return c.out.Flush() }

// Recv waits for the next message. It gives io.EOF when the other side has ended
// between messages, problem.Invalid for bytes that are no message, and
// problem.TooLarge for a message beyond the bound.
func (c *Conn) Recv() (*wire.StreamingMessage, error) {
	body, err := c.frame()
	if err != nil {
		return nil, err
	}
	m := &wire.StreamingMessage{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, problem.Wrap(problem.Invalid, "a message of a language worker cannot be read", err)
	}
	return m, nil
}

func (c *Conn) frame() ([]byte, error) {
	var h [head]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n > c.most {
		return nil, problem.New(problem.TooLarge, fmt.Sprintf("a language worker announced a message of %d bytes, and may send %d", n, c.most))
	}
	return c.body(int64(n))
}

// body reads as much as came: memory grows with what arrives, not with what a
// length promises.
func (c *Conn) body(n int64) ([]byte, error) {
	if n <= 1<<20 {
		b := make([]byte, n)
		_, err := io.ReadFull(c.in, b)
		return b, unexpected(err)
	}
	b, err := io.ReadAll(io.LimitReader(c.in, n))
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close closes the socket; Recv and Send end with an error. Idempotent.
func (c *Conn) Close() error {
	c.close.Do(func() { c.closed = c.socket.Close() })
	return c.closed
}
