package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// socketTables list the sockets of this network namespace.
var socketTables = [...]string{"/proc/self/net/tcp", "/proc/self/net/tcp6"}

// CheckListener makes sure that it is the user of a worker who listens at a port:
// between the choice of a port and the worker's listening another app could have
// taken it, and would get this one's requests; and a worker could name the port
// of another app, to have requests sent there in our name. It returns
// problem.Unavailable if somebody else listens there, or nobody. Workers that run
// as our own user, for which as is nil, are not told apart.
func CheckListener(port int, as *Credential) error {
	if as == nil {
		return nil
	}
	found := false
	for i, table := range socketTables {
		users, err := listeners(table, port)
		if err != nil && (i == 0 || !os.IsNotExist(err)) { // a machine may be without IPv6
			return problem.Wrap(problem.Unavailable, "who listens at the worker's port cannot be found out", err)
		}
		for _, uid := range users {
			if found = true; uid != as.UID {
				return problem.New(problem.Unavailable, fmt.Sprintf("user %d listens at port %d, the worker's is user %d", uid, port, as.UID)).
					WithNext("the port is another program's; a worker must listen at one of its own")
			}
		}
	}
	if !found {
		return problem.New(problem.Unavailable, fmt.Sprintf("what answered at the worker's port %d listens no more", port))
	}
	return nil
}

func listeners(table string, port int) ([]uint32, error) {
	f, err := os.Open(table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readListeners(f, port)
}

// readListeners reads a table of sockets and gives the users who listen at port.
func readListeners(r io.Reader, port int) ([]uint32, error) {
	const local, status, user = 1, 3, 7 // columns
	const listening = "0A"
	var users []uint32
	lines := bufio.NewScanner(r)
	lines.Scan() // names of the columns
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) <= user || columns[status] != listening {
			continue
		}
		_, at, _ := strings.Cut(columns[local], ":")
		if n, err := strconv.ParseUint(at, 16, 16); err != nil || int(n) != port {
			continue
		}
		uid, err := strconv.ParseUint(columns[user], 10, 32)
		if err != nil {
			return nil, err
		}
		users = append(users, uint32(uid))
	}
	return users, lines.Err()
}
