package funchost

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// How fast a client must send a body whose length it has announced: bodyGrace and
// then bodyRate bytes per second on average. Bodies of unknown length may pause
// for bodyPause, because they can be conversations.
const (
	bodyGrace = 30 * time.Second
	bodyRate  = 1 << 10
	bodyPause = 2 * time.Minute
	smallBody = 16 << 10 // read before the function gets its place
)

// pacedBody is a request's body with deadlines for the client. Deadlines are the
// network's business and follow the system clock.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	length  int64 // -1 when unknown
	start   time.Time
	read    int64
	done    bool
}

// pace puts a deadline on the body unless it has none or was read already. It is
// in force from now on, also for what the server reads after the handler.
func (x *exchange) pace() {
	r := x.r
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	if _, inMemory := r.Body.(interface{ Len() int }); inMemory {
		return
	}
	b := &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(x.ResponseWriter), length: r.ContentLength, start: time.Now()}
	b.renew()
	x.body, r.Body = b, b
}

func (b *pacedBody) renew() {
	until := time.Now().Add(bodyPause)
	if b.length >= 0 {
		until = b.start.Add(bodyGrace + time.Duration(b.read)*time.Second/bodyRate)
	}
	_ = b.control.SetReadDeadline(until)
}

// Read reads from the client, who has until the deadline to send something.
func (b *pacedBody) Read(p []byte) (int, error) {
	if b.read == 0 {
		b.start = time.Now() // what the request waited for before is not the client's fault
	}
	if !b.done {
		b.renew()
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil || (b.length >= 0 && b.read >= b.length) {
		b.finish()
	}
	return n, err
}

func (b *pacedBody) finish() {
	if !b.done {
		b.done = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// unread reports whether a refusal would leave a body on the connection. It is
// better closed then: reading the rest first would let a stranger choose when he
// is refused.
func (x *exchange) unread() bool { return x.body != nil && !x.body.done && x.r.ProtoMajor == 1 }

// receive takes the body in as far as the function's place must not wait for it:
// whole for functions that get it as data, small ones for all.
func (x *exchange) receive(inv *worker.Invocation, forwards bool) error {
	r := x.r
	if r.ContentLength > x.f.cfg.MaxBody {
		return problem.New(problem.TooLarge, "the request body is larger than "+strconv.FormatInt(x.f.cfg.MaxBody, 10)+" bytes")
	}
	if r.ContentLength < 0 {
		r.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, x.f.cfg.MaxBody)
	}
	if r.ContentLength == 0 || (forwards && (x.body == nil || r.ContentLength < 0 || r.ContentLength > smallBody)) {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return bodyError(err)
	}
	if forwards {
		r.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		inv.Body = body
	}
	return nil
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return problem.Wrap(problem.TooLarge, "the request body is too large", err)
	}
	return worker.ErrClientGone
}
