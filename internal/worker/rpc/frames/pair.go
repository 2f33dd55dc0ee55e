package frames

import (
	"net"
	"os"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
)

// Pair opens a connected pair of sockets: ours, and the file for a process to
// inherit, which the caller closes once the process has started. Errors:
// problem.Unavailable when the system gives no sockets.
func Pair() (ours *Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, problem.Wrap(problem.Unavailable, "open a socket for a language worker", err)
	}
	mine := os.NewFile(uintptr(fds[0]), "worker")
	defer mine.Close() // FileConn has its own
	socket, err := net.FileConn(mine)
	if err != nil {
		syscall.Close(fds[1])
		return nil, nil, problem.Wrap(problem.Unavailable, "open a socket for a language worker", err)
	}
	return New(socket), os.NewFile(uintptr(fds[1]), "host"), nil
}
