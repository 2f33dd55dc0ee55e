package ingress_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
)

// Whoever may make apps must not get requests that are for somebody else's, by
// whatever id, name, domain or port the new app has.
func TestAnotherAppTakesNothingThatIsTaken(t *testing.T) {
	const port = 6379
	addr := make(chan string, 1)
	w := newWorld(t, func(c *ingress.Config) {
		c.Listen = func(ctx context.Context, _ int) (net.Listener, error) {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			if err == nil {
				addr <- l.Addr().String()
			}
			return l, err
		}
	})
	made := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	claims := func(id string, created time.Time) func(a *ingress.App) {
		return func(a *ingress.App) {
			a.ID, a.Created = id, created
			a.CustomDomains, a.Ports = []string{"www.shop.example"}, []ingress.TCPPort{{Exposed: port, Target: 80, External: true}}
		}
	}
	lower := "/" + strings.Repeat("a", len(appID)-1)
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		both := []func(){
			func() {
				w.Put(shop(claims(appID, made)))
				w.Replicas(ref("shop--one"), at(replica(t, says("first"))))
			},
			func() {
				w.Put(shop(claims(lower, made.Add(time.Second))))
				w.Replicas(engine.Ref{App: lower, Revision: "shop--one"}, at(replica(t, says("second"))))
			},
		}
		for _, i := range order {
			both[i]()
		}
		for _, host := range []string{"shop." + domain, "shop.internal." + domain, "shop--one." + domain, "www.shop.example"} {
			if got := w.get(host); got.body != "first" {
				t.Errorf("%s in order %v: %v", host, order, got)
			}
		}
		if got := byPort(t, addr); !strings.HasSuffix(got, "first") {
			t.Errorf("the port in order %v: %q", order, got)
		}
		w.Forget(appID)
		w.Forget(lower)
	}
}

func byPort(t *testing.T, addr chan string) string {
	t.Helper()
	ctx := bounded(t)
	var at string
	select {
	case at = <-addr:
	case <-ctx.Done():
		t.Fatal("the port was not opened")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(long))
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			return all.String()
		}
	}
}

// The machine's addresses are not a name that somebody can have.
func TestAddressesAreNobodysDomains(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(func(a *ingress.App) { a.CustomDomains = []string{"127.0.0.1", "10.1.2.3", "1.example"} }))
	if w.Knows("127.0.0.1:7080") || w.Knows("10.1.2.3") || !w.Knows("1.example") {
		t.Error("an address is an app's, or a name is not")
	}
}
