package hop

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxInlineBody is the largest body, in bytes, that is read whole and sent in
// one write with the head. Larger ones stream.
const maxInlineBody = 16 << 10

// bodyPlan says how the request's body travels.
type bodyPlan struct {
	inline  []byte      // read already, sent with the head
	stream  bool        // copied by a goroutine of its own
	started bool        // part of the stream was taken from the client
	done    chan error  // result of the copying goroutine; nil if none runs
	taken   atomic.Bool // the client has sent all of it
}

// settle is how long the copying goroutine may take to say that it is through,
// once nothing keeps it.
const settle = 100 * time.Millisecond

// prepareBody reads a small body now, so that a slow client does not hold a
// connection to the worker, and marks larger ones for streaming.
func (x *exchange) prepareBody() error {
	n := x.r.ContentLength
	if n == 0 || x.r.Body == nil || x.r.Body == http.NoBody {
		return nil
	}
	if n < 0 || n > maxInlineBody {
		x.body.stream = true
		return nil
	}
	x.body.inline = make([]byte, n)
	if _, err := io.ReadFull(x.r.Body, x.body.inline); err != nil {
		return clientErr(err)
	}
	return nil
}

func clientErr(err error) error { return fmt.Errorf("%w: %w", errClient, err) }

func isClientErr(err error) bool { return errors.Is(err, errClient) }

// send writes the head with an inline body and starts the goroutine that
// streams a larger one. That goroutine ends before Relay returns.
func (x *exchange) send() error {
	head, err := x.appendHead(x.conn.out[:0])
	if err != nil {
		return err
	}
	head = append(head, x.body.inline...)
	x.conn.out = head[:0]
	if _, err := x.conn.Write(head); err != nil {
		return err
	}
	if x.body.stream {
		x.startStream()
	}
	return nil
}

func (x *exchange) startStream() {
	_ = http.NewResponseController(x.w).EnableFullDuplex() // HTTP/2 needs none and says so
	x.body.started = true
	done := make(chan error, 1)
	x.body.done = done
	conn := x.conn
	go func() {
		err := x.stream(conn)
		if isClientErr(err) {
			conn.close() // half a request was sent: nobody may wait for its answer
		}
		done <- err
	}()
}

func (x *exchange) stream(c *conn) error {
	src := &clientReader{r: x.r.Body, left: x.r.ContentLength, taken: &x.body.taken}
	if x.r.ContentLength > 0 {
		_, err := io.CopyN(c, src, x.r.ContentLength)
		return err
	}
	cw := httputil.NewChunkedWriter(c)
	if _, err := io.Copy(cw, src); err != nil {
		return err
	}
	if err := cw.Close(); err != nil {
		return err
	}
	// The client's trailer stays behind: it comes after everything that is checked
	// and could name any field.
	_, err := io.WriteString(c, "\r\n")
	return err
}

// clientReader marks read errors as the client's, and the end of the body.
type clientReader struct {
	r     io.Reader
	left  int64 // negative when the length is unknown
	taken *atomic.Bool
}

func (c *clientReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left == 0 || err == io.EOF {
		c.taken.Store(true)
	}
	if err != nil && err != io.EOF {
		err = clientErr(err)
	}
	return n, err
}

// finishBody ends the streaming goroutine. When the answer came before the body
// was through, the worker's side is cut. The client's side is cut only while it
// is still sending: net/http watches the connection of a client that is through,
// and would take a deadline for the end of that client.
func (x *exchange) finishBody(failed bool) error {
	if x.body.done == nil {
		return nil
	}
	err, through := x.awaitBody(0)
	if !through {
		x.conn.close()
		err, through = x.awaitBody(settle)
	}
	if !through && !x.body.taken.Load() {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0))
	}
	if !through {
		err = <-x.body.done
	}
	if !failed {
		return nil
	}
	return err
}

// awaitBody waits for the streaming goroutine at most for patience.
func (x *exchange) awaitBody(patience time.Duration) (err error, through bool) {
	select {
	case err := <-x.body.done:
		return err, true
	default:
	}
	if patience == 0 {
		return nil, false
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case err := <-x.body.done:
		return err, true
	case <-t.C:
		return nil, false
	}
}

// appendHead writes the request line and fields. Fields that describe the
// client's own connection stay behind (RFC 9110 §7.6.1); framing is ours.
func (x *exchange) appendHead(b []byte) ([]byte, error) {
	r := x.r
	if !validTarget(x.out.Target) || !httpguts.ValidHeaderFieldName(r.Method) || !httpguts.ValidHostHeader(r.Host) {
		return nil, problem.New(problem.Invalid, "the request line is not valid")
	}
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, x.out.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\n"...)
	b = x.appendClientFields(b)
	for _, f := range x.out.Set {
		b = appendField1(b, f.Name, f.Value)
	}
	b = x.appendFraming(b)
	return append(b, "\r\n"...), nil
}

func (x *exchange) appendClientFields(b []byte) []byte {
	listed := x.r.Header["Connection"]
	for name, values := range x.r.Header {
		if ownField(name) || x.replaced(name) || (len(listed) > 0 && namedIn(listed, name)) {
			continue
		}
		b = appendField(b, name, values)
	}
	return b
}

func (x *exchange) appendFraming(b []byte) []byte {
	switch {
	case x.body.stream && x.r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.body.stream:
		b = appendLength(b, x.r.ContentLength)
	case len(x.body.inline) > 0 || x.r.Method == "POST" || x.r.Method == "PUT" || x.r.Method == "PATCH":
		b = appendLength(b, int64(len(x.body.inline)))
	}
	return b
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

func (x *exchange) replaced(name string) bool {
	for i := range x.out.Set {
		if x.out.Set[i].Name == name {
			return true
		}
	}
	return slices.Contains(x.out.Drop, name)
}

// ownField reports whether a field belongs to the client's connection or to the
// framing, which this hop writes itself.
func ownField(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host", "Http2-Settings":
		return true
	}
	return false
}

func namedIn(connection []string, name string) bool {
	for _, line := range connection {
		for token := range strings.SplitSeq(line, ",") {
			if textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(token)) == name {
				return true
			}
		}
	}
	return false
}

func appendField(b []byte, name string, values []string) []byte {
	for _, v := range values {
		b = appendField1(b, name, v)
	}
	return b
}

// appendField1 writes one field; a name or value that could end the field early
// is left out. The server at the edge refuses such requests already.
func appendField1(b []byte, name, value string) []byte {
	if !httpguts.ValidHeaderFieldName(name) || strings.ContainsAny(value, "\r\n\x00") {
		return b
	}
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// validTarget accepts origin-form targets without bytes that could end the line.
func validTarget(t string) bool {
	if t == "*" {
		return true
	}
	if t == "" || t[0] != '/' {
		return false
	}
	for i := range len(t) {
		if t[i] <= ' ' || t[i] == 0x7f {
			return false
		}
	}
	return true
}
