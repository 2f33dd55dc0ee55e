package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/kubeapi/websocket"
	"github.com/latchkey/latchkey/internal/problem"
)

// Exec implements engine.Engine.
func (e *Engine) Exec(ctx context.Context, in engine.Target, cmd engine.Exec) (int, error) {
	if len(cmd.Command) == 0 {
		return 0, problem.New(problem.Invalid, "field 'command' must not be empty")
	}
	name, container, running, err := e.target(in)
	if err != nil {
		return 0, err
	}
	if !running {
		return 0, problem.New(problem.Conflict, "the container does not run")
	}
	return e.exec(ctx, name, container, cmd)
}

// The channels of the protocol, which begin each message.
const (
	channelIn     = 0
	channelOut    = 1
	channelErr    = 2
	channelStatus = 3
	channelClose  = 255 // says, with the number of a channel, that it is at its end; from v5 on
	inputSize     = 32 << 10
)

var execProtocols = []string{"v5.channel.k8s.io", "v4.channel.k8s.io"}

func (e *Engine) exec(ctx context.Context, name, container string, cmd engine.Exec) (int, error) {
	query := url.Values{"container": {container}, "command": cmd.Command, "stdout": {"true"}}
	if cmd.Stdin != nil {
		query.Set("stdin", "true")
	}
	if cmd.TTY {
		query.Set("tty", "true")
	} else {
		query.Set("stderr", "true")
	}
	raw, protocol, err := e.api.Upgrade(ctx, kubeapi.Request{Method: http.MethodGet, Path: pods.path(e.ns, name) + "/exec", Query: query}, execProtocols)
	if err != nil {
		return 0, e.fault(err, "run a command in container "+container)
	}
	conn := websocket.New(raw, true)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if cmd.Stdin != nil {
		go input(conn, cmd.Stdin, protocol) // ends with the connection, or when its reader does
	}
	code, err := outcome(conn, cmd)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return code, err
}

// input sends what a command is to read.
func input(conn *websocket.Conn, from io.Reader, protocol string) {
	buf := make([]byte, inputSize+1)
	for {
		n, err := from.Read(buf[1:])
		if buf[0] = channelIn; n > 0 && conn.Write(buf[:n+1]) != nil {
			return
		}
		if err != nil {
			if protocol == execProtocols[0] {
				_ = conn.Write([]byte{channelClose, channelIn})
			}
			return
		}
	}
}

// outcome hands on what a command writes until its exit code comes.
func outcome(conn *websocket.Conn, cmd engine.Exec) (int, error) {
	sinks := map[byte]io.Writer{channelOut: cmd.Stdout, channelErr: cmd.Stderr}
	for {
		message, err := conn.Read()
		if err != nil {
			return 0, problem.Wrap(problem.Unavailable, "the connection to the container ended before the command did", err)
		}
		if len(message) == 0 {
			continue
		}
		if message[0] == channelStatus {
			return exitCode(message[1:])
		}
		if w := sinks[message[0]]; w != nil && len(message) > 1 {
			if _, err := w.Write(message[1:]); err != nil {
				return 0, err
			}
		}
	}
}

// exitCode reads the status that ends an exec.
func exitCode(text []byte) (int, error) {
	var s struct {
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Details struct {
			Causes []struct {
				Reason  string `json:"reason"`
				Message string `json:"message"`
			} `json:"causes"`
		} `json:"details"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, problem.Wrap(problem.Unavailable, "the end of the command cannot be understood", err)
	}
	if s.Status == "Success" {
		return 0, nil
	}
	for _, c := range s.Details.Causes {
		if code, err := strconv.Atoi(c.Message); err == nil && c.Reason == "ExitCode" {
			return code, nil
		}
	}
	return 0, engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, "the command cannot be run", errors.New(s.Message)))
}
