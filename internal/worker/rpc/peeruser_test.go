package rpc

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/worker/child"
)

func TestASocketsUserIsThatOfTheVeryConnection(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 1 1 0 100 0 0 10 0
   1: 0100007F:A0B1 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1007        0 2 1 0 20 4 30 10 -1
   2: 0200007F:A0B1 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1008        0 3 1 0 20 4 30 10 -1
   3: 0100007F:A0B2 0100007F:1F90 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   4: 0000000000000000FFFF00000100007F:A0B3 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1009        0 4 1 0 20 4 30 10 -1
   5: garbage
   6: zz:A0B4 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1009        0 4 1 0 20 4 30 10 -1
`
	door := netip.MustParseAddrPort("127.0.0.1:8080")
	for local, want := range map[string]uint32{"127.0.0.1:41137": 1007, "127.0.0.2:41137": 1008, "127.0.0.1:41139": 1009} {
		if uid, ok := readUser(strings.NewReader(table), netip.MustParseAddrPort(local), door); !ok || uid != want {
			t.Errorf("%s: user %d, %v; want %d", local, uid, ok, want)
		}
	}
	for _, local := range []string{"127.0.0.3:41137", "127.0.0.1:41138", "127.0.0.1:41140", "127.0.0.1:80"} {
		if uid, ok := readUser(strings.NewReader(table), netip.MustParseAddrPort(local), door); ok {
			t.Errorf("%s: found user %d of a connection that is not there", local, uid)
		}
	}
}

// dialAs connects from an address as a user of the machine.
func dialAs(t *testing.T, uid int, from, to string) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			done <- result{err: err}
			return
		}
		local, err := net.ResolveTCPAddr("tcp", from)
		d := net.Dialer{LocalAddr: local, Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}}
		r := result{err: err}
		if err == nil {
			r.conn, r.err = d.Dial("tcp4", to)
		}
		done <- r
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	return r.conn
}

func TestOtherUsersNeitherComeInNorTakePlaces(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can connect as several users")
	}
	const app, stranger = 54321, 54322
	d, err := openDoor(&child.Credential{UID: app, GID: app}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close) // after the connections' ends
	worker := dialAs(t, app, "127.0.0.1:0", d.address)
	// The same port as the worker's connection, from another address.
	_, port, _ := net.SplitHostPort(worker.LocalAddr().String())
	dialAs(t, stranger, "127.0.0.2:"+port, d.address)
	for range maxStrangers + 1 {
		dialAs(t, stranger, "127.0.0.1:0", d.address)
	}
	another := dialAs(t, app, "127.0.0.1:0", d.address)
	deadline := time.Now().Add(30 * time.Second)
	for !d.has(another.LocalAddr().String()) {
		if time.Now().After(deadline) {
			t.Fatal("the worker's user does not come in")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if d.has("127.0.0.2:" + port) { // connections are accepted in their order
		t.Error("a stranger came in with a worker's port")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.conns) != 2 {
		t.Errorf("%d connections are open, 2 are the worker's", len(d.conns))
	}
}

func TestTheKernelKnowsWhoseAConnectionIs(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			l, err := net.Listen("tcp", at)
			if err != nil {
				t.Skip(err)
			}
			defer l.Close()
			listener, _ := addressOf(l.Addr())
			if !canAsk(listener) {
				t.Skip("this kernel does not answer for single sockets")
			}
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			local, _ := addressOf(conn.LocalAddr())
			for name, look := range map[string]func(local, remote netip.AddrPort) (uint32, bool){"kernel": askUser, "tables": tables} {
				if uid, ok := look(local, listener); !ok || uid != uint32(os.Getuid()) {
					t.Errorf("%s: user %d, %v", name, uid, ok)
				}
				// Where there is no connection the listener is found, which says nothing.
				for _, none := range [][2]netip.AddrPort{{listener, netip.AddrPortFrom(local.Addr(), 1)}, {local, netip.AddrPortFrom(local.Addr(), 1)}} {
					if uid, ok := look(none[0], none[1]); ok {
						t.Errorf("%s: found user %d of %v, which is no connection", name, uid, none)
					}
				}
			}
		})
	}
}

func TestAConnectionThatItsProcessClosedIsNobodys(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	local, _ := addressOf(conn.LocalAddr())
	listener, _ := addressOf(l.Addr())
	_ = conn.Close()
	if uid, ok := lookUpOf(l.Addr())(local, listener); ok {
		t.Errorf("found user %d of a closed connection", uid)
	}
}

func TestAnswersOfOtherShapesAreNone(t *testing.T) {
	a := netip.MustParseAddrPort("127.0.0.1:1")
	for _, b := range [][]byte{nil, make([]byte, 16), make([]byte, 200), diagQuestion(a, a)} {
		if s, ok := readDiag(b); ok {
			t.Errorf("%d bytes are read as %v", len(b), s)
		}
	}
	if _, ok := askKernel(a, netip.MustParseAddrPort("[::1]:1")); ok {
		t.Error("addresses of two kinds have a connection")
	}
}

func (d *door) has(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[address] != nil
}
