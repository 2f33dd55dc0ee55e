package custom

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// socketTables list the sockets of this network namespace.
var socketTables = [...]string{"/proc/self/net/tcp", "/proc/self/net/tcp6"}

// checkListener makes sure that what answers at port is the handler: between the
// choice of a port and the handler's listening, another app could have taken it,
// and would get this one's requests.
func checkListener(port int, as *child.Credential) error {
	if as == nil {
		return nil
	}
	found := false
	for i, table := range socketTables {
		users, err := listeners(table, port)
		if err != nil && (i == 0 || !os.IsNotExist(err)) { // a machine may be without IPv6
			return problem.Wrap(problem.Unavailable, "who listens at the handler's port cannot be found out", err)
		}
		for _, uid := range users {
			if found = true; uid != as.UID {
				return problem.New(problem.Unavailable, fmt.Sprintf("user %d listens at port %d, which was chosen for the handler, who is user %d", uid, port, as.UID)).
					WithNext("another program took the port; it is tried again with another one")
			}
		}
	}
	if !found {
		return problem.New(problem.Unavailable, fmt.Sprintf("what answered at the handler's port %d listens no more", port))
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
