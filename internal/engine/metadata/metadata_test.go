package metadata_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/engine/metadata"
)

// In a network of its own, where everything goes somewhere before.
func TestTheMachinesIdentityCannotBeReachedOnceItIsShut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network of its own takes root")
	}
	ended := make(chan struct{})
	go func() { // the thread is not given back: it ends with the goroutine
		defer close(ended)
		runtime.LockOSThread()
		shut(t)
	}()
	<-ended
}

func shut(t *testing.T) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of its own can be had here: %v", err)
	}
	for _, line := range [][]string{{"link", "set", "lo", "up"}, {"route", "add", "default", "dev", "lo"}, {"-6", "route", "add", "default", "dev", "lo"}} {
		if text, err := exec.Command("ip", line...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %v %s", line, err, text)
		}
	}
	kept := map[string]unix.Sockaddr{
		"169.254.169.254": &unix.SockaddrInet4{Addr: [4]byte{169, 254, 169, 254}, Port: 80},
		"168.63.129.16":   &unix.SockaddrInet4{Addr: [4]byte{168, 63, 129, 16}, Port: 80},
		"its other port":  &unix.SockaddrInet4{Addr: [4]byte{168, 63, 129, 16}, Port: 32526},
		"fd00:ec2::254":   &unix.SockaddrInet6{Addr: [16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}, Port: 80},
	}
	open := map[string]unix.Sockaddr{
		"another address": &unix.SockaddrInet4{Addr: [4]byte{169, 254, 169, 253}, Port: 80},
		"DNS":             &unix.SockaddrInet4{Addr: [4]byte{168, 63, 129, 16}, Port: 53},
	}
	for name, to := range kept {
		if err := connect(to); !errors.Is(err, unix.EINPROGRESS) && errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s cannot be reached before: %v", name, err)
		}
	}
	for range 2 { // a sidecar that starts again finds its rules
		if err := metadata.Shut(); err != nil {
			t.Error(err)
			return
		}
	}
	for name, to := range kept {
		if err := connect(to); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, to := range open {
		if err := connect(to); errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s is shut, too", name)
		}
	}
}

// connect begins a connection, and tells whether there is a way.
func connect(to unix.Sockaddr) error {
	family := unix.AF_INET
	if _, ok := to.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, to)
}
