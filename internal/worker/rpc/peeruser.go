package rpc

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc/peer"

	"github.com/latchkey/latchkey/internal/worker/child"
)

// A worker's id stands on its command line, which other users of the machine can
// read. So a connection must also come from the user the workers run as.

// socketTables list the sockets of this network namespace.
var socketTables = [...]string{"/proc/self/net/tcp", "/proc/self/net/tcp6"}

// userOf gives the user whose connections are welcome; nil where the system does
// not tell whose a connection is.
func userOf(as *child.Credential) *uint32 {
	if _, err := os.Stat(socketTables[0]); err != nil {
		return nil
	}
	uid := uint32(os.Getuid())
	if as != nil {
		uid = as.UID
	}
	return &uid
}

// knownUser reports whether the other side of a connection is the user it must be.
func (d *door) knownUser(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if d.user == nil || !ok {
		return d.user == nil
	}
	addr, ok := p.Addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	for _, table := range socketTables {
		if uid, found := socketUser(table, addr.Port, d.port); found {
			return uid == *d.user
		}
	}
	return false
}

func socketUser(table string, local, remote int) (uint32, bool) {
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	return readUser(f, local, remote)
}

// readUser finds the socket between two ports in a table and gives its user.
func readUser(r io.Reader, local, remote int) (uint32, bool) {
	const localColumn, remoteColumn, user = 1, 2, 7
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) <= user || port(columns[localColumn]) != local || port(columns[remoteColumn]) != remote {
			continue
		}
		uid, err := strconv.ParseUint(columns[user], 10, 32)
		return uint32(uid), err == nil
	}
	return 0, false
}

// port reads the port of a table's address; -1 when there is none.
func port(address string) int {
	_, text, _ := strings.Cut(address, ":")
	n, err := strconv.ParseUint(text, 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}
