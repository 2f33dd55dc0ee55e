package lane

import (
	"errors"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// holdBack is how much of a body of unknown length is kept before the answer is
// sent in chunks, as much as net/http does.
const holdBack = 2 << 10

// sniffed is how much of a body decides about a content type nobody gave.
const sniffed = 512

// response is the writer for one answer. It behaves as net/http's does for the
// requests of the lane.
type response struct {
	c      *conn
	r      *http.Request
	header http.Header

	status  int
	length  int64 // declared, -1 when it isn't
	written int64
	body    []byte // held back while the head is not sent
	sent    bool   // the head is on its way
	chunked bool
	close   bool // end the connection after this answer
	err     error
}

var (
	_ http.ResponseWriter = (*response)(nil)
	_ http.Flusher        = (*response)(nil)
)

// Header gives the header to be sent; after the head is sent, what is set under
// [http.TrailerPrefix] becomes the trailer.
func (w *response) Header() http.Header { return w.header }

// WriteHeader fixes the status. An interim head is sent at once.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("lane: invalid status " + strconv.Itoa(status))
	}
	if w.status != 0 {
		return
	}
	if status < 200 {
		if status != http.StatusSwitchingProtocols {
			w.send(appendHeader(appendStatus(w.c.out[:0], status), w.header, framing), nil)
		}
		return
	}
	w.status = status
	if text := w.header["Content-Length"]; len(text) > 0 {
		if n, err := strconv.ParseInt(text[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		} else {
			delete(w.header, "Content-Length")
		}
	}
}

// Write adds to the body. It returns [http.ErrBodyNotAllowed] for answers without
// one and [http.ErrContentLength] beyond the declared length.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !statusHasBody(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.r.Method == http.MethodHead {
		w.body = append(w.body, p[:min(len(p), sniffed-min(sniffed, len(w.body)))]...)
		return len(p), nil
	}
	if w.sent {
		return len(p), w.sendBody(p)
	}
	if len(w.body)+len(p) <= holdBack {
		w.body = append(w.body, p...)
		return len(p), nil
	}
	held := w.body
	w.body = nil
	w.sendHead(held, false)
	return len(p), w.sendBody(p)
}

// WriteString is Write for strings.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// Flush sends what there is.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what there is.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		held := w.body
		w.body = nil
		w.sendHead(held, false)
	}
	return w.err
}

// EnableFullDuplex changes nothing: the body was read before.
func (w *response) EnableFullDuplex() error { return nil }

// SetReadDeadline changes nothing: the body was read before.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline bounds the writing of this answer.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.nc.SetWriteDeadline(t) }

// framing names the fields that say how a body travels, which interim answers
// have none of.
func framing(name string) bool {
	return name == "Content-Length" || name == "Transfer-Encoding" || name == "Connection"
}

// finish completes the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case !w.sent:
		w.sendHead(w.body, true)
	case w.chunked:
		w.send(appendTrailer(append(w.c.out[:0], "0\r\n"...), w.header), nil)
	}
	if w.length >= 0 && w.written < w.length && w.r.Method != http.MethodHead && statusHasBody(w.status) {
		return errors.New("the handler wrote less than it declared")
	}
	return w.err
}

// sendHead sends the head with the first part of the body. whole says that there
// is no more, so the length is known.
func (w *response) sendHead(body []byte, whole bool) {
	w.sent = true
	b := appendStatus(w.c.out[:0], w.status)
	b = w.appendFraming(b, body, whole)
	b = appendHeader(b, w.header, w.skipped())
	switch {
	case w.r.Method == http.MethodHead:
		body = nil
	case w.chunked && len(body) > 0:
		body = appendChunk(nil, body)
	}
	w.send(b, body)
}

// skipped tells which fields of the handler's the head leaves out.
func (w *response) skipped() func(string) bool {
	return func(name string) bool {
		switch name {
		case "Connection", "Transfer-Encoding":
			return true
		case "Content-Length":
			return w.chunked || !statusHasBody(w.status) && w.status != http.StatusNotModified
		}
		return strings.HasPrefix(name, http.TrailerPrefix)
	}
}

// appendFraming writes the fields that say how the body travels, and those every
// answer has.
func (w *response) appendFraming(b, body []byte, whole bool) []byte {
	_, hasLength := w.header["Content-Length"]
	switch {
	case !statusHasBody(w.status) || hasLength:
	case whole && (w.r.Method != http.MethodHead || w.written > 0):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, max(w.written, int64(len(body))), 10)
		b = append(b, "\r\n"...)
	case w.r.Method == http.MethodHead:
	default:
		w.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if _, given := w.header["Content-Type"]; !given && len(body) > 0 && w.header["Content-Encoding"] == nil {
		b = append(b, "Content-Type: "...)
		b = append(b, http.DetectContentType(body)...)
		b = append(b, "\r\n"...)
	}
	if _, given := w.header["Date"]; !given {
		b = append(append(append(b, "Date: "...), date()...), "\r\n"...)
	}
	if w.mustClose() {
		w.close = true
		b = append(b, "Connection: close\r\n"...)
	}
	return b
}

func (w *response) mustClose() bool {
	if w.close || w.c.s.closing.Load() {
		return true
	}
	for _, v := range w.header["Connection"] {
		if httpguts.HeaderValuesContainsToken([]string{v}, "close") {
			return true
		}
	}
	return false
}

func (w *response) sendBody(p []byte) error {
	if w.chunked {
		if len(p) == 0 {
			return w.err
		}
		w.send(appendChunkSize(w.c.out[:0], len(p)), p)
		w.send([]byte("\r\n"), nil)
		return w.err
	}
	w.send(nil, p)
	return w.err
}

// send writes head and body, in one call if they are small.
func (w *response) send(head, body []byte) {
	if w.err != nil {
		return
	}
	if len(head) > 0 && len(body) <= bufferSize {
		head = append(head, body...)
		body = nil
	}
	if len(head) > 0 {
		if _, w.err = w.c.nc.Write(head); cap(head) <= 2*bufferSize {
			w.c.out = head[:0]
		}
	}
	if len(body) > 0 && w.err == nil {
		_, w.err = w.c.nc.Write(body)
	}
	if w.err != nil {
		w.close = true
	}
}

func statusHasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func appendStatus(b []byte, status int) []byte {
	if status == http.StatusOK {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// appendHeader writes the fields and the empty line. Names that are none are
// left out and newlines in values become spaces, as in net/http.
func appendHeader(b []byte, h http.Header, skip func(string) bool) []byte {
	for name, values := range h {
		if (skip != nil && skip(name)) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	if strings.ContainsAny(value, "\r\n") {
		value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	}
	b = append(b, textproto.TrimString(value)...)
	return append(b, "\r\n"...)
}

func appendTrailer(b []byte, h http.Header) []byte {
	for name, values := range h {
		name, ok := strings.CutPrefix(name, http.TrailerPrefix)
		if !ok || !httpguts.ValidTrailerHeader(name) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	return append(b, "\r\n"...)
}

func appendChunkSize(b []byte, n int) []byte {
	b = strconv.AppendInt(b, int64(n), 16)
	return append(b, "\r\n"...)
}

func appendChunk(b, p []byte) []byte {
	b = appendChunkSize(b, len(p))
	return append(append(b, p...), "\r\n"...)
}

// dated is a Date value and the second it is for.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// date gives the Date field's value, made once a second.
func date() string {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastDate.Store(d)
	}
	return d.text
}
