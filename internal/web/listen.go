// Package web owns what every HTTP surface shares: opening ports, the limits of
// a server, ending it without cutting requests off, recording what was answered,
// and writing JSON. It knows neither functions nor keys, and holds no routes.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
)

// Listen opens a TCP port on a host; port 0 picks a free one. Errors are
// problem.Unavailable and say how to find out who has the port, or
// problem.Invalid for a host that is no address of this machine.
func Listen(ctx context.Context, host string, port int) (net.Listener, error) {
	if port < 0 || port > 65535 {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("port %d is not between 0 and 65535", port))
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, problem.Wrap(problem.Unavailable, fmt.Sprintf("port %d is taken", port), err).
			WithNext(fmt.Sprintf("choose another with --port (0 picks a free one); as root, ss -ltnp 'sport = :%d' shows who has it", port))
	case errors.Is(err, syscall.EACCES):
		return nil, problem.Wrap(problem.Unavailable, fmt.Sprintf("port %d needs rights this user does not have", port), err).
			WithNext("choose a port above 1023 with --port")
	default:
		return nil, problem.Wrap(problem.Invalid, fmt.Sprintf("cannot listen on host %q", host), err).
			WithNext("give an address of this machine with --host, for example 127.0.0.1 or 0.0.0.0")
	}
}
