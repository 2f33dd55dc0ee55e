package rpc

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

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
func (d *door) knownUser(conn net.Conn) bool {
	if d.user == nil {
		return true
	}
	theirs, ok := addressOf(conn.RemoteAddr())
	ours, also := addressOf(conn.LocalAddr())
	if !ok || !also {
		return false
	}
	uid, found := d.lookUp(theirs, ours)
	return found && uid == *d.user
}

// tables looks a connection up where the kernel cannot be asked for it.
func tables(local, remote netip.AddrPort) (uint32, bool) {
	for _, table := range socketTables {
		if uid, found := socketUser(table, local, remote); found {
			return uid, true
		}
	}
	return 0, false
}

// lookUpOf gives the way to find out whose the connections to a listener are.
func lookUpOf(listener net.Addr) func(local, remote netip.AddrPort) (uint32, bool) {
	if at, ok := addressOf(listener); ok && canAsk(at) {
		return askUser
	}
	return tables
}

func addressOf(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return plain(tcp.AddrPort()), true
}

// plain gives an IPv4 address that is written as one of IPv6 as what it is.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func socketUser(table string, local, remote netip.AddrPort) (uint32, bool) {
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	return readUser(f, local, remote)
}

// readUser finds the established connection between two addresses in a table and
// gives the user of its local side. Ports are not enough: connections from several
// addresses of this machine can have the same. One that its process has closed
// belongs to nobody, and stands there as root's.
func readUser(r io.Reader, local, remote netip.AddrPort) (uint32, bool) {
	const localColumn, remoteColumn, stateColumn, user = 1, 2, 3, 7
	const established = "01"
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) <= user || columns[stateColumn] != established ||
			!isAddress(columns[localColumn], local) || !isAddress(columns[remoteColumn], remote) {
			continue
		}
		uid, err := strconv.ParseUint(columns[user], 10, 32)
		return uint32(uid), err == nil
	}
	return 0, false
}

// isAddress reports whether a table's text, such as 0100007F:1F90, is an address.
func isAddress(text string, want netip.AddrPort) bool {
	host, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || uint16(n) != want.Port() {
		return false
	}
	words, err := hex.DecodeString(host)
	if err != nil || len(words)%4 != 0 {
		return false
	}
	for i := 0; i < len(words); i += 4 { // each is a number of this machine's order
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	ip, ok := netip.AddrFromSlice(words)
	return ok && ip.Unmap() == want.Addr()
}
