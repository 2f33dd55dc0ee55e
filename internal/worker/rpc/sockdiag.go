package rpc

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The kernel looks up one connection when it is asked over netlink (sock_diag).
// Its tables in /proc list all of the machine's for each look, which strangers
// can make many of.

// Sizes and places of the kernel's structures inet_diag_req_v2, inet_diag_sockid
// and inet_diag_msg.
const (
	diagRequest = 8
	diagSockID  = 48
	diagMessage = 4 + diagSockID + 20
	diagUser    = 4 + diagSockID + 12

	tcpEstablished = 1
	tcpListen      = 10
)

// asked is what the kernel says of one socket.
type asked struct {
	state         uint8
	uid           uint32
	local, remote netip.AddrPort
}

// canAsk reports whether the kernel answers for single sockets: for a listening
// one that is known to be there.
func canAsk(listener netip.AddrPort) bool {
	any := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if listener.Addr().Is6() {
		any = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	s, ok := askKernel(listener, any)
	return ok && s.state == tcpListen && s.local == listener
}

// askUser gives the user of the local side of an established connection. The
// kernel names what listens at an address where it knows no connection.
func askUser(local, remote netip.AddrPort) (uint32, bool) {
	s, ok := askKernel(local, remote)
	return s.uid, ok && s.state == tcpEstablished && s.local == local && s.remote == remote
}

// askKernel asks for one TCP socket.
func askKernel(local, remote netip.AddrPort) (asked, bool) {
	if local.Addr().Is4() != remote.Addr().Is4() {
		return asked{}, false
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return asked{}, false
	}
	defer unix.Close(fd)
	// The answer is there when the request has been taken; this is for surprises.
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}) != nil {
		return asked{}, false
	}
	if unix.Sendto(fd, diagQuestion(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return asked{}, false
	}
	answer := make([]byte, 4096)
	n, from, err := unix.Recvfrom(fd, answer, 0)
	if kernel, ok := from.(*unix.SockaddrNetlink); err != nil || !ok || kernel.Pid != 0 {
		return asked{}, false
	}
	return readDiag(answer[:n])
}

func diagQuestion(local, remote netip.AddrPort) []byte {
	const size = unix.SizeofNlMsghdr + diagRequest + diagSockID
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, size)
	b = binary.NativeEndian.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence and sender
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<tcpEstablished|1<<tcpListen)
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		var place [16]byte
		copy(place[:], a.AsSlice())
		b = append(b, place[:]...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0)             // any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // no cookie
}

// readDiag reads an answer; false for an error, or one of another shape.
func readDiag(b []byte) (asked, bool) {
	if len(b) < unix.SizeofNlMsghdr+diagMessage || binary.NativeEndian.Uint16(b[4:]) != unix.SOCK_DIAG_BY_FAMILY {
		return asked{}, false
	}
	b = b[unix.SizeofNlMsghdr:]
	size := 4
	if b[0] == unix.AF_INET6 {
		size = 16
	}
	at := func(port, addr int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b[addr : addr+size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[port:]))
	}
	return asked{state: b[1], uid: binary.NativeEndian.Uint32(b[diagUser:]), local: at(4, 8), remote: at(6, 24)}, true
}
