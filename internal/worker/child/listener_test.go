package child

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestListenersOfAPort(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 10398735 2 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 536 1 0 100 0 0 10 0
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1003        0 537 1 0 100 0 0 10 0
   3: 0100007F:1F90 0100007F:8888 01 00000000:00000000 00:00000000 00000000  1004        0 538 1 0 100 0 0 10 0
   4: short line
   5: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1005        0 539 1
`
	got, err := readListeners(strings.NewReader(table), 8080)
	if err != nil || !slices.Equal(got, []uint32{1001, 1002, 1005}) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := readListeners(strings.NewReader(strings.ReplaceAll(table, "1001", "root")), 8080); err == nil {
		t.Error("a user that is no number is taken")
	}
}

func TestAPortThatAnotherUserTookIsNotTheHandlers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port, me := l.Addr().(*net.TCPAddr).Port, uint32(os.Getuid())
	if err := CheckListener(port, &Credential{UID: me, GID: me}); err != nil {
		t.Errorf("our own: %v", err)
	}
	if err := CheckListener(port, &Credential{UID: me + 1, GID: me + 1}); problem.KindOf(err) != problem.Unavailable || err == nil {
		t.Errorf("another user's: %v", err)
	}
	if err := CheckListener(port, nil); err != nil {
		t.Errorf("without users of their own: %v", err)
	}
	_ = l.Close()
	if err := CheckListener(port, &Credential{UID: me, GID: me}); problem.KindOf(err) != problem.Unavailable || err == nil {
		t.Errorf("nobody's: %v", err)
	}
}
