package rpc

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
)

func TestAWorkerCannotNameAnothersPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	uri := "http://" + l.Addr().String()
	me := uint32(os.Getuid())
	connect := func(as *child.Credential) error {
		p, err := newProxy(uri, as)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		c := clock.NewManual(time.Now())
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.Advance(longestDial)
				}
			}
		}()
		_, err = p.connected(t.Context(), c)
		return err
	}
	for _, as := range []*child.Credential{nil, {UID: me, GID: me}} {
		if err := connect(as); err != nil {
			t.Errorf("a port of its own, %v: %v", as, err)
		}
	}
	err = connect(&child.Credential{UID: me + 1, GID: me + 1})
	if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "user "+strconv.Itoa(int(me))+" listens at port") {
		t.Errorf("another's port: %v", err)
	}
}

func TestAnHTTPAddressHasAPort(t *testing.T) {
	for _, uri := range []string{"http://127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:70000", "http://127.0.0.1:http", "https://127.0.0.1:80", "http://192.0.2.1:80", "http://[fe80::1]:80"} {
		if p, err := newProxy(uri, nil); err == nil {
			t.Errorf("%s became %v", uri, p.candidates)
		}
	}
}
