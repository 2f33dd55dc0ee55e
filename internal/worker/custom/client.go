package custom

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Headers that tell a handler about its invocation.
const (
	headerInvocation  = "X-Azure-Functions-Invocationid"
	headerHostVersion = "X-Azure-Functions-Hostversion"
	headerKeyName     = "X-Latchkey-Key-Name"
)

// idleTime is shorter than the keep-alive time of common servers (Node's is 5 s),
// so that a request seldom meets a connection that is just being closed.
const idleTime = 4 * time.Second

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     idleTime,
	}
}

func newClient() *http.Client {
	return &http.Client{
		Transport:     newTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *Worker) userAgent() string { return "Azure-Functions-Host/" + w.cfg.HostVersion }

var errSlow = problem.New(problem.Timeout, "the custom handler did not answer in time")

// connectionError says what a failed exchange with the handler means.
func connectionError(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return problem.Wrap(problem.Unavailable, "the custom handler does not listen any more", err)
	}
	if strings.Contains(err.Error(), "malformed HTTP") { // net/http has no type for it
		return problem.Wrap(problem.Internal, "the custom handler's answer is not valid HTTP", err)
	}
	return problem.Wrap(problem.Unavailable, "the custom handler hung up", err)
}

// callError gives the kind of a failed invocation.
func callError(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return problem.Wrap(problem.Timeout, "the custom handler did not answer in time", ctx.Err())
	case ctx.Err() != nil:
		return problem.Wrap(problem.Timeout, "the invocation was cancelled", ctx.Err())
	}
	return connectionError(err)
}

// exitGrace is how long a broken connection waits for the news that the process
// has ended, so that a crash is told from a handler that merely hung up.
const exitGrace = 100 * time.Millisecond

// blame refines problem.Unavailable: it says how the process ended if it did,
// and calls a hang-up of a living handler the function's failure.
func (w *Worker) blame(ctx context.Context, err error) error {
	if problem.KindOf(err) != problem.Unavailable {
		return err
	}
	t := w.cfg.Clock.NewTimer(exitGrace)
	defer t.Stop()
	select {
	case <-w.exited:
		return problem.Wrap(problem.Unavailable, "the custom handler has ended: "+describe(w.Exit()), err)
	case <-t.C():
	case <-ctx.Done():
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return problem.Wrap(problem.Internal, "the custom handler closed the connection without an answer", err)
}

// fieldValue makes s fit a header field: control characters are escaped.
func fieldValue(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return url.PathEscape(s)
	}
	return s
}

// newGUID gives a random (version 4) GUID.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
