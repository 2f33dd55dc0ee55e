// Package hop owns the last step of a forwarded request: a pooled HTTP/1.1
// client to one loopback address that relays a request and its answer with as
// little work as possible. It exists because this step is the hot path and
// costs httputil.ReverseProxy half of its time; docs/performance.md has the
// figures. It speaks plain HTTP/1.1 only, follows nothing, upgrades nothing,
// and knows neither functions nor keys.
package hop

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// Field is a header field to set on the outgoing request.
type Field struct{ Name, Value string }

// Request says how the outgoing request differs from the incoming one.
type Request struct {
	Target  string        // request target in origin form, already escaped
	Set     []Field       // fields that replace the client's; names canonical
	Drop    []string      // canonical names of client fields to leave out
	Timeout time.Duration // from now to the end of the answer; 0 is none
}

// Client relays requests to one address. It is safe for concurrent use.
type Client struct {
	pool pool
}

// New gives a client for a TCP address such as 127.0.0.1:8080. It does not
// connect yet.
func New(addr string) *Client {
	return &Client{pool: pool{addr: addr}}
}

// Close drops the idle connections; busy ones end with their requests.
func (c *Client) Close() { c.pool.close() }

// Relay sends r as out says and copies the answer to w, streaming both ways.
// Errors: [worker.ErrClientGone]; problem.TooLarge when the client's body
// exceeded its limit; problem.Timeout; problem.Unavailable when the other side
// cannot be reached or hung up; problem.Internal when it answered something that
// is not HTTP. Once part of the answer was written to w, the error is a
// [*worker.CommittedError].
func (c *Client) Relay(w http.ResponseWriter, r *http.Request, out *Request) error {
	x := exchange{w: w, r: r, out: out}
	if out.Timeout > 0 {
		x.deadline = time.Now().Add(out.Timeout)
	}
	err := x.prepareBody()
	if err == nil {
		err = x.run(&c.pool)
	}
	return x.verdict(err)
}

// exchange is the state of one relayed request.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	out      *Request
	deadline time.Time // zero is none

	body      bodyPlan
	conn      *conn
	answered  bool // at least one byte of the answer has arrived
	committed bool // the answer's head was handed to w
}

// run sends the request on a pooled connection, once more on a fresh one when
// the pooled one turned out to be closed by the other side before it could have
// seen the request.
func (x *exchange) run(p *pool) error {
	for {
		conn, reused, err := p.get(x.r.Context(), !idempotent(x.r.Method))
		if err != nil {
			return err
		}
		x.conn = conn
		reusable, err := x.attempt()
		if err == nil && reusable {
			p.put(conn)
			return nil
		}
		conn.close()
		if err != nil && reused && x.mayRepeat(err) {
			continue
		}
		return err
	}
}

// mayRepeat reports whether the request can be sent again: nothing came back, no
// part of its body is lost, and doing it twice does no harm. The worker may have
// seen the request before it hung up, so others are never repeated.
func (x *exchange) mayRepeat(err error) bool {
	if x.answered || x.body.started || isTimeout(err) || x.r.Context().Err() != nil {
		return false
	}
	return idempotent(x.r.Method)
}

func (x *exchange) attempt() (reusable bool, err error) {
	watch := contextWatch{x: x}
	defer func() { reusable = watch.stop() && reusable }()
	if err := x.send(); err != nil {
		return false, err
	}
	head, err := x.readHead(&watch)
	if err != nil {
		return false, err
	}
	return x.copyAnswer(head)
}

// verdict turns what happened into the documented errors.
func (x *exchange) verdict(err error) error {
	sendErr := x.finishBody(err != nil)
	if err == nil {
		return nil
	}
	err = x.classify(err, sendErr)
	if x.committed {
		return &worker.CommittedError{Err: err}
	}
	return err
}

func (x *exchange) classify(err, sendErr error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.As(sendErr, &tooLarge):
		return problem.Wrap(problem.TooLarge, "the request body is larger than the limit", err)
	case errors.Is(err, errClient), errors.Is(sendErr, errClient), x.r.Context().Err() != nil:
		return worker.ErrClientGone
	case isTimeout(err):
		return problem.Wrap(problem.Timeout, "the worker did not answer in time", err)
	case problem.KindOf(err) != problem.Internal:
		return err
	case errors.Is(err, errMalformed):
		return problem.Wrap(problem.Internal, "the worker's answer is not valid HTTP", err)
	default:
		return problem.Wrap(problem.Unavailable, "the worker hung up", err)
	}
}

// errClient marks errors on the client's side of the relay.
var errClient = errors.New("client connection failed")

// errMalformed marks answers that break HTTP's rules.
var errMalformed = errors.New("malformed answer")

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}
