// Package websocket owns the frames of WebSockets: messages on a connection that is one
// already. It does not make connections and knows nothing of what messages say.
package websocket

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

const (
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10

	// MaxMessage is the longest message that is taken, in bytes.
	MaxMessage = 1 << 20
)

// ErrBroken says that the other side does not speak the protocol, or too much of it.
var ErrBroken = errors.New("the other side breaks the WebSocket protocol")

// Conn is one side of a WebSocket. One goroutine may read while others write.
type Conn struct {
	conn   io.ReadWriteCloser
	client bool
	read   *bufio.Reader
	mu     sync.Mutex // of writes
}

// New speaks on a connection; a client's frames are masked, a server's are not.
func New(conn io.ReadWriteCloser, client bool) *Conn {
	return &Conn{conn: conn, client: client, read: bufio.NewReader(conn)}
}

// Write sends a message.
func (c *Conn) Write(message []byte) error { return c.frame(opBinary, message) }

// Close tells the other side and ends the connection.
func (c *Conn) Close() error {
	return errors.Join(c.frame(opClose, []byte{3, 232}), c.conn.Close()) // 1000: all done
}

func (c *Conn) frame(op byte, data []byte) error {
	out := []byte{0x80 | op, 0}
	switch n := len(data); {
	case n < 126:
		out[1] = byte(n)
	case n < 1<<16:
		out[1] = 126
		out = binary.BigEndian.AppendUint16(out, uint16(n))
	default:
		out[1] = 127
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	}
	at := len(out)
	if c.client {
		mask := make([]byte, 4)
		_, _ = rand.Read(mask) // never fails
		out[1] |= 0x80
		out = append(append(out, mask...), data...)
		for i := range data {
			out[at+4+i] ^= mask[i%4]
		}
	} else {
		out = append(out, data...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.conn.Write(out)
	return err
}

// Read gives the next message, io.EOF when the other side closed.
func (c *Conn) Read() ([]byte, error) {
	var message []byte
	for begun := false; ; {
		last, op, data, err := c.next()
		if err != nil {
			return nil, err
		}
		switch op {
		case opPing:
			if err := c.frame(opPong, data); err != nil {
				return nil, err
			}
			continue
		case opPong:
			continue
		case opClose:
			return nil, io.EOF
		}
		if begun != (op == opContinue) || op > opBinary || len(message)+len(data) > MaxMessage {
			return nil, ErrBroken
		}
		message, begun = append(message, data...), true
		if last {
			return message, nil
		}
	}
}

// next reads one frame.
func (c *Conn) next() (last bool, op byte, data []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(c.read, head[:]); err != nil {
		return
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		var long [2]byte
		_, err = io.ReadFull(c.read, long[:])
		n = uint64(binary.BigEndian.Uint16(long[:]))
	case 127:
		var long [8]byte
		_, err = io.ReadFull(c.read, long[:])
		n = binary.BigEndian.Uint64(long[:])
	}
	masked := head[1]&0x80 != 0
	if err == nil && (n > MaxMessage || head[0]&0x70 != 0 || masked == c.client) {
		err = ErrBroken
	}
	var mask [4]byte
	if err == nil && masked {
		_, err = io.ReadFull(c.read, mask[:])
	}
	if err != nil {
		return
	}
	data = make([]byte, n)
	if _, err = io.ReadFull(c.read, data); err != nil {
		return
	}
	if masked {
		for i := range data {
			data[i] ^= mask[i%4]
		}
	}
	return head[0]&0x80 != 0, head[0] & 0x0f, data, nil
}
