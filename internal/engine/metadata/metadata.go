// Package metadata keeps containers from the identity of the machine they are on: the
// addresses where clouds hand it out to whoever asks. It works in the network of the
// calling process, before anybody else is in it, and then gives up the right to change
// it back. It knows no container engine.
package metadata

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/problem"
)

// Ready is the line with which a program says that both is done.
const Ready = "ready: no way to the machine's identity"

// addresses are those of metadata services: of all large clouds, of Amazon's over
// IPv6, and of Azure's host.
var addresses = [...]netip.Addr{
	netip.AddrFrom4([4]byte{169, 254, 169, 254}),
	netip.AddrFrom4([4]byte{168, 63, 129, 16}),
	netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}),
}

// ports are all but DNS, which some clouds serve at the same addresses.
var ports = [...][2]uint16{{1, 52}, {54, 65534}} // the kernel takes no 65535

// Of linux/fib_rules.h.
const (
	priority   = 10 // after the machine's own addresses, before all routes
	attrDst    = 1
	attrOrder  = 6
	attrDport  = 24
	actRefuse  = 7 // network unreachable
	ruleHeader = 12
)

// Shut makes the addresses unreachable in the network of this process. It takes
// CAP_NET_ADMIN. problem.Unavailable says what the kernel does not do; a network
// without IPv6 needs nothing for IPv6.
func Shut() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return failed(err)
	}
	for _, a := range addresses {
		for _, p := range ports {
			err := ask(fd, rule(a, p))
			if err == nil || errors.Is(err, unix.EEXIST) || a.Is6() && noIPv6(err) {
				continue
			}
			return failed(err)
		}
	}
	return nil
}

func failed(err error) error {
	return problem.Wrap(problem.Unavailable, "the machine's identity cannot be kept from containers", err).
		WithNext("the container engine must let the sidecar have NET_ADMIN, in the replica's own network, and the kernel have policy routing")
}

func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// rule is the message that adds a rule for a range of ports of an address.
func rule(to netip.Addr, ports [2]uint16) []byte {
	family := byte(unix.AF_INET)
	if to.Is6() {
		family = unix.AF_INET6
	}
	b := make([]byte, unix.NLMSG_HDRLEN+ruleHeader)
	n := binary.NativeEndian
	n.PutUint16(b[4:], unix.RTM_NEWRULE)
	n.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	body := b[unix.NLMSG_HDRLEN:]
	body[0], body[1], body[7] = family, byte(to.BitLen()), actRefuse
	b = attribute(b, attrDst, to.AsSlice())
	b = attribute(b, attrOrder, n.AppendUint32(nil, priority))
	b = attribute(b, attrDport, n.AppendUint16(n.AppendUint16(nil, ports[0]), ports[1]))
	n.PutUint32(b, uint32(len(b)))
	return b
}

// attribute appends one; all values here have lengths that need no padding.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	return append(binary.NativeEndian.AppendUint16(b, kind), value...)
}

// ask sends a message to the kernel and reads what it says to it.
func ask(fd int, message []byte) error {
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if size < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return unix.EBADMSG
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// Renounce gives up all capabilities of this process, in all its threads. It works in
// programs without cgo only.
func Renounce() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := capset(&header, &[2]unix.CapUserData{}); err != nil {
		return problem.Wrap(problem.Unavailable, "the sidecar cannot give up its capabilities", err)
	}
	return nil
}
