package containerstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// First bytes of messages: who speaks, and for what is passed on the stream.
const (
	proxyForward = 0
	proxyInfo    = 1
	proxyError   = 2

	clusterStdin  = 0
	clusterStdout = 1
	clusterStderr = 2
	clusterResize = 4
)

// Limits of consoles.
const (
	maxMessage = 1 << 20
	pingPeriod = 20 * time.Second
	pongWithin = 60 * time.Second

	closeWithin = 2 * time.Second
)

// exec runs a command in a container for a client that speaks WebSocket. The
// client's messages are input, an empty one ends it; ours are output, and at the
// end the reason "exit code N" of the close.
func (h *Handler) exec(w http.ResponseWriter, r *http.Request, in engine.Target, open func() error) error {
	q := r.URL.Query()
	command, err := words(q.Get("command"))
	if err == nil && len(command) == 0 {
		err = problem.New(problem.Invalid, "parameter 'command' must name a command")
	}
	if err == nil && !websocket.IsWebSocketUpgrade(r) {
		err = problem.New(problem.Invalid, "a console needs a WebSocket")
	}
	tty := true
	if text := q.Get("tty"); err == nil && text != "" {
		if tty, err = strconv.ParseBool(text); err != nil {
			err = problem.New(problem.Invalid, "parameter 'tty' must be true or false")
		}
	}
	if err == nil {
		err = open()
	}
	if err != nil {
		return err
	}
	// A browser's page has no token; its origin says nothing that the token does not.
	up := websocket.Upgrader{HandshakeTimeout: writeWithin, CheckOrigin: func(*http.Request) bool { return true },
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			refuse(w, status, reason.Error())
		}}
	conn, err := up.Upgrade(hijacker{w}, r, nil)
	if err != nil {
		return nil // it is answered
	}
	h.console(r.Context(), conn, in, engine.Exec{Command: command, TTY: tty})
	return nil
}

// hijacker takes a connection over through all writers around it.
type hijacker struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// console runs a command until it or its client ends.
func (h *Handler) console(ctx context.Context, conn *websocket.Conn, in engine.Target, cmd engine.Exec) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	out := &socket{conn: conn}
	stdin, typed := io.Pipe()
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel() // who is gone wants nothing more
		typed.CloseWithError(out.receive(typed))
	})
	both.Go(func() {
		defer cancel()
		out.keepAlive(ctx)
	})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out.stream(clusterStdout), out.stream(clusterStderr)
	code, err := h.cfg.Engine.Exec(ctx, in, cmd)
	if cmd.TTY && errors.Is(err, problem.Unsupported) {
		cmd.TTY = false
		code, err = h.cfg.Engine.Exec(ctx, in, cmd)
	}
	_ = stdin.Close()
	if err != nil && ctx.Err() == nil {
		out.failed(h.tell(err))
	} else {
		out.close(websocket.CloseNormalClosure, fmt.Sprintf("exit code %d", code))
	}
	cancel()
	// The client has a moment to take the end.
	end := time.AfterFunc(closeWithin, func() { _ = conn.Close() })
	both.Wait()
	end.Stop()
}

// tell gives what a client may know of an error.
func (h *Handler) tell(err error) string {
	if statuses[problem.KindOf(err)] != 0 {
		return err.Error()
	}
	h.cfg.Log.Error("a command in a container cannot be run", "reason", err)
	return "the command cannot be run"
}

// socket is a client's end. Reading is for one goroutine, writing for all.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

func (s *socket) send(message []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeWithin)) // it cannot fail
	return s.conn.WriteMessage(websocket.BinaryMessage, message)
}

// stream gives where one kind of output goes.
func (s *socket) stream(kind byte) io.Writer { return stream{s, kind} }

type stream struct {
	to   *socket
	kind byte
}

// Write implements io.Writer.
func (s stream) Write(p []byte) (int, error) {
	return len(p), s.to.send(append([]byte{proxyForward, s.kind}, p...))
}

// receive passes on what a client types until it ends. It gives nil at the end of
// the input only.
func (s *socket) receive(to io.Writer) error {
	s.conn.SetReadLimit(maxMessage)
	s.conn.SetPongHandler(func(string) error { return s.conn.SetReadDeadline(time.Now().Add(pongWithin)) })
	for ended := false; ; {
		_ = s.conn.SetReadDeadline(time.Now().Add(pongWithin)) // it cannot fail
		_, m, err := s.conn.ReadMessage()
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		switch {
		case len(m) < 2 || m[0] != proxyForward || m[1] != clusterStdin || ended: // sizes of terminals are not passed on
		case len(m) == 2:
			ended = true
			if p, ok := to.(*io.PipeWriter); ok {
				_ = p.Close() // it gives nil
			}
		default:
			_, _ = to.Write(m[2:]) // a command that reads nothing more goes on
		}
	}
}

// keepAlive asks the client now and then whether it is there, until it is gone.
func (s *socket) keepAlive(ctx context.Context) {
	t := time.NewTicker(pingPeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWithin)) != nil {
				return
			}
		}
	}
}

// failed tells why a command did not run, and ends.
func (s *socket) failed(text string) {
	_ = s.send(append([]byte{proxyError}, text...)) // who is gone misses nothing
	s.close(websocket.CloseInternalServerErr, "the command was not run")
}

func (s *socket) close(code int, reason string) {
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(writeWithin)) // as above
}
