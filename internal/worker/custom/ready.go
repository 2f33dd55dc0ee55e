package custom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
)

const pollInterval = 25 * time.Millisecond

// Causes of the end of waiting.
var (
	errInitTimeout = errors.New("initialisation took too long")
	errGone        = errors.New("the process has ended")
)

// awaitReady asks the handler for / until it answers anything.
func (w *Worker) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); w.watchStart(ctx, cancel) }()
	err := w.poll(ctx)
	cancel(nil)
	<-watched
	if err == nil {
		return child.CheckListener(w.port, w.cfg.Credential)
	}
	return w.startFailure(err)
}

// watchStart ends the wait when time is up or the process has ended.
func (w *Worker) watchStart(ctx context.Context, cancel context.CancelCauseFunc) {
	t := w.cfg.Clock.NewTimer(w.cfg.InitTimeout)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C():
		cancel(errInitTimeout)
	case <-w.exited:
		cancel(errGone)
	}
}

// poll gives nil on the first HTTP answer, else the cause of ctx's end.
func (w *Worker) poll(ctx context.Context) error {
	for {
		if w.answers(ctx) {
			return nil
		}
		if clock.Sleep(ctx, w.cfg.Clock, pollInterval) != nil {
			return context.Cause(ctx)
		}
	}
}

// answers reports whether the handler gives any HTTP answer. It speaks for
// itself, not through net/http's client, whose pool complains on our standard
// error about servers that talk first.
func (w *Worker) answers(ctx context.Context) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", w.addr, w.userAgent())
	if err != nil {
		return false
	}
	_, err = http.ReadResponse(bufio.NewReader(conn), nil) // the head is enough; the body may never end
	return err == nil
}

// startFailure says why the handler never took work.
func (w *Worker) startFailure(cause error) error {
	switch {
	case errors.Is(cause, errGone):
		return problem.New(problem.Unavailable, fmt.Sprintf("the custom handler %s ended before it listened: %s%s",
			w.handler.Executable, describe(w.Exit()), quote(w.said.Lines()))).
			WithNext("run it by hand with FUNCTIONS_CUSTOMHANDLER_PORT set and see what it says")
	case errors.Is(cause, errInitTimeout):
		return problem.New(problem.Unavailable, fmt.Sprintf("the custom handler %s did not answer HTTP on %s within %s%s",
			w.handler.Executable, w.addr, w.cfg.InitTimeout, quote(w.said.Lines()))).
			WithNext("it must listen on the port in the variable FUNCTIONS_CUSTOMHANDLER_PORT, on " + loopback)
	}
	return problem.Wrap(problem.Unavailable, fmt.Sprintf("the start of the custom handler %s was given up", w.handler.Executable), cause)
}

func describe(e worker.Exit) string {
	if e.Signal != "" {
		return "killed by signal " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// quote shows the last lines of output in an error.
func quote(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; its last output: " + strings.Join(lines, " | ")
}
