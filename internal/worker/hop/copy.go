package hop

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"sync"
	"time"
)

// copyAnswer hands the head and the body to the client. It reports whether the
// connection can be used again.
func (x *exchange) copyAnswer(h *head) (reusable bool, err error) {
	dst := x.w.Header()
	for name, values := range h.fields {
		dst[name] = values
	}
	x.committed = true
	x.w.WriteHeader(h.status)
	if err := x.copyBody(h); err != nil {
		return false, err
	}
	return h.keepAlive && (h.length >= 0 || h.chunked || bodyless(x.r.Method, h.status)) && x.bodySent(), nil
}

// bodySent reports whether the whole request body has left; an answer that came
// before it leaves the connection in the middle of a request.
func (x *exchange) bodySent() bool {
	if x.body.done == nil {
		return true
	}
	patience := time.Duration(0)
	if x.body.taken.Load() {
		patience = settle // it has only to be told
	}
	err, through := x.awaitBody(patience)
	if through {
		x.body.done = nil
	}
	return through && err == nil
}

func bodyless(method string, status int) bool {
	return method == "HEAD" || status == http.StatusNoContent || status == http.StatusNotModified
}

func (x *exchange) copyBody(h *head) error {
	br := x.conn.br
	switch {
	case bodyless(x.r.Method, h.status) || h.length == 0:
		return nil
	case h.chunked:
		return x.copyChunked(h)
	case h.length < 0:
		h.keepAlive = false
		return x.copyFlushing(br)
	case h.length <= int64(br.Buffered()):
		b, _ := br.Peek(int(h.length))
		_, err := x.w.Write(b)
		_, _ = br.Discard(len(b))
		return asClientErr(err)
	default:
		return x.copyLong(h.length)
	}
}

func (x *exchange) copyLong(n int64) error {
	defer x.boundWriting()()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for n > 0 {
		m, err := x.conn.br.Read((*buf)[:min(n, int64(len(*buf)))])
		if _, werr := x.w.Write((*buf)[:m]); werr != nil {
			return asClientErr(werr)
		}
		n -= int64(m)
		if n > 0 && err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// boundWriting makes the client's side keep the exchange's deadline too: a client
// that reads slowly must not hold a function's place for longer. It gives the
// function that takes the bound away.
func (x *exchange) boundWriting() (release func()) {
	if x.deadline.IsZero() {
		return func() {}
	}
	client := http.NewResponseController(x.w)
	_ = client.SetWriteDeadline(x.deadline)
	return func() { _ = client.SetWriteDeadline(time.Time{}) }
}

// copyFlushing copies until the end of src and sends every piece at once: the
// length is unknown, so somebody may be waiting for each event.
func (x *exchange) copyFlushing(src io.Reader) error {
	defer x.boundWriting()()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if x.conn.br.Buffered() == 0 {
		x.flush()
	}
	for {
		m, err := src.Read(*buf)
		if m > 0 {
			if _, werr := x.w.Write((*buf)[:m]); werr != nil {
				return asClientErr(werr)
			}
			x.flush()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// flush sends what is written so far; a failure shows at the next write.
func (x *exchange) flush() { _ = http.NewResponseController(x.w).Flush() }

func (x *exchange) copyChunked(h *head) error {
	if err := x.copyFlushing(httputil.NewChunkedReader(x.conn.br)); err != nil {
		return err
	}
	return x.copyTrailer()
}

// copyTrailer reads the fields after the last chunk and passes them on.
func (x *exchange) copyTrailer() error {
	trailer, err := textproto.NewReader(x.conn.br).ReadMIMEHeader()
	if err != nil {
		return unexpected(err)
	}
	for name, values := range trailer {
		x.w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func asClientErr(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errClient, err)
}

// buffers are the copy buffers for long bodies.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
