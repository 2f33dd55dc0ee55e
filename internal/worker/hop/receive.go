package hop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	maxHeadBytes = 256 << 10
	// watchAfter is how long an answer may take before the client's presence is
	// watched: registering a watcher costs more than most answers take.
	watchAfter = 200 * time.Millisecond
)

// contextWatch aborts the exchange's connection when the request's context
// ends. It is armed late, see watchAfter.
type contextWatch struct {
	x       *exchange
	stopper func() bool
}

func (cw *contextWatch) arm() {
	if cw.stopper != nil {
		return
	}
	c := cw.x.conn
	cw.stopper = context.AfterFunc(cw.x.r.Context(), c.close)
}

// stop ends the watch; it reports whether the connection was left alone.
func (cw *contextWatch) stop() bool { return cw.stopper == nil || cw.stopper() }

// head is the parsed head of an answer.
type head struct {
	status    int
	fields    http.Header
	length    int64 // -1 when not given
	chunked   bool
	keepAlive bool
}

// readHead waits for the final answer's head, passing interim answers on.
func (x *exchange) readHead(watch *contextWatch) (*head, error) {
	if err := x.awaitAnswer(watch); err != nil {
		return nil, err
	}
	for {
		h, err := readHead(x.conn.br)
		if err != nil {
			return nil, err
		}
		if h.status >= 200 {
			return h, nil
		}
		if h.status == http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("%w: unexpected protocol switch", errMalformed)
		}
		if h.status != http.StatusContinue {
			x.writeInterim(h)
		}
	}
}

// awaitAnswer waits for the first byte: at first without watching the client,
// then, when the answer takes longer, with the watch armed.
func (x *exchange) awaitAnswer(watch *contextWatch) error {
	patience := time.Now().Add(watchAfter)
	if !x.deadline.IsZero() && x.deadline.Before(patience) {
		patience = x.deadline
	}
	if err := x.conn.SetReadDeadline(patience); err != nil {
		return err
	}
	_, err := x.conn.br.Peek(1)
	if isTimeout(err) && (x.deadline.IsZero() || time.Now().Before(x.deadline)) {
		watch.arm()
		if err := x.conn.SetReadDeadline(x.deadline); err != nil {
			return err
		}
		_, err = x.conn.br.Peek(1)
	} else if err == nil {
		err = x.rearm(watch)
	}
	x.answered = x.conn.br.Buffered() > 0
	return err
}

// rearm gives a quick answer the rest of the function's time when it is not
// complete in the buffer yet.
func (x *exchange) rearm(watch *contextWatch) error {
	buffered, _ := x.conn.br.Peek(x.conn.br.Buffered())
	if answerIsWhole(buffered) {
		return nil
	}
	watch.arm()
	return x.conn.SetReadDeadline(x.deadline)
}

// answerIsWhole reports whether b holds a final head and all of its body, in the
// common form with a Content-Length. It only saves work: false is always safe.
func answerIsWhole(b []byte) bool {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 || len(b) < 12 || b[9] == '1' {
		return false
	}
	at := bytes.Index(b[:end], []byte("\r\nContent-Length: "))
	if at < 0 {
		at = bytes.Index(b[:end], []byte("\r\ncontent-length: "))
	}
	if at < 0 {
		return false
	}
	n := 0
	for _, c := range b[at+18 : end] {
		if c < '0' || c > '9' || n > readBuffer {
			break
		}
		n = n*10 + int(c-'0')
	}
	return len(b) >= end+4+n
}

func (x *exchange) writeInterim(h *head) {
	dst := x.w.Header()
	delete(h.fields, "Content-Length")
	for name, values := range h.fields {
		dst[name] = values
	}
	x.w.WriteHeader(h.status)
	for name := range h.fields {
		delete(dst, name)
	}
}

// readHead parses one head. The strings of all fields share one allocation.
func readHead(br *bufio.Reader) (*head, error) {
	block, err := readBlock(br)
	if err != nil {
		return nil, err
	}
	line, rest, _ := strings.Cut(block, "\n")
	h := &head{length: -1}
	if err := h.parseStatus(trimCR(line)); err != nil {
		return nil, err
	}
	return h, h.parseFields(rest)
}

// readBlock reads up to the empty line that ends a head.
func readBlock(br *bufio.Reader) (string, error) {
	if b, _ := br.Peek(br.Buffered()); len(b) > 0 {
		if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
			block := string(b[:end+2])
			_, _ = br.Discard(end + 4)
			return block, nil
		}
	}
	var b []byte
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF && len(b)+len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		if len(b)+len(line) > maxHeadBytes {
			return "", fmt.Errorf("%w: head over %d bytes", errMalformed, maxHeadBytes)
		}
		atLineStart := len(b) == 0 || b[len(b)-1] == '\n'
		if atLineStart && len(b) > 0 && (string(line) == "\r\n" || string(line) == "\n") {
			return string(b), nil
		}
		b = append(b, line...)
	}
}

func trimCR(s string) string { return strings.TrimSuffix(s, "\r") }

func (h *head) parseStatus(line string) error {
	if len(line) < 12 || !strings.HasPrefix(line, "HTTP/1.") || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return fmt.Errorf("%w: status line", errMalformed)
	}
	code, err := strconv.ParseUint(line[9:12], 10, 16)
	if err != nil || code < 100 {
		return fmt.Errorf("%w: status code", errMalformed)
	}
	h.status = int(code)
	h.keepAlive = line[7] != '0'
	return nil
}

func (h *head) parseFields(rest string) error {
	n := strings.Count(rest, "\n")
	h.fields = make(http.Header, n)
	values := make([]string, n)
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		name, value, found := strings.Cut(trimCR(line), ":")
		if !found || !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%w: header field", errMalformed)
		}
		value = textproto.TrimString(value)
		if strings.ContainsAny(value, "\r\x00") {
			return fmt.Errorf("%w: header value", errMalformed)
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if prior, ok := h.fields[name]; ok {
			h.fields[name] = append(prior, value)
			continue
		}
		values[0] = value
		h.fields[name] = values[:1:1]
		values = values[1:]
	}
	return h.parseFraming()
}

// parseFraming decides how long the answer's body is (RFC 9112 §6.3), and takes
// the connection's own fields out.
func (h *head) parseFraming() error {
	if te := h.fields["Transfer-Encoding"]; len(te) > 0 {
		if len(te) != 1 || !strings.EqualFold(te[0], "chunked") {
			return fmt.Errorf("%w: transfer encoding", errMalformed)
		}
		h.chunked = true
		delete(h.fields, "Content-Length")
	}
	if cl := h.fields["Content-Length"]; len(cl) > 0 {
		n, err := strconv.ParseUint(cl[0], 10, 63)
		if err != nil || (len(cl) > 1 && !allEqual(cl)) {
			return fmt.Errorf("%w: content length", errMalformed)
		}
		h.length = int64(n)
		h.fields["Content-Length"] = cl[:1]
	}
	h.dropOwnFields()
	return nil
}

func (h *head) dropOwnFields() {
	if connection, ok := h.fields["Connection"]; ok {
		if namedIn(connection, "Close") {
			h.keepAlive = false
		}
		for name := range h.fields {
			if namedIn(connection, name) {
				delete(h.fields, name)
			}
		}
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(h.fields, name)
	}
}

func allEqual(s []string) bool {
	for _, v := range s[1:] {
		if v != s[0] {
			return false
		}
	}
	return true
}
