package ingress_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/ingress"
)

func TestAClientThatDoesNotSendItsBodyIsGivenUp(t *testing.T) {
	w := newWorld(t, func(c *ingress.Config) { c.Timeout = 200 * time.Millisecond })
	w.Put(shop(nil))
	w.Replicas(ref("shop--one"), at(replica(t, says("hello"))))
	plain := httptest.NewServer(w.Ingress) // whose bodies are not there before it serves
	defer plain.Close()
	c, err := net.Dial("tcp", plain.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(long))
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: shop.%s\r\nContent-Length: 10\r\n\r\nabc", domain)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal("the client waits still: ", err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusRequestTimeout || !answer.Close {
		t.Errorf("status %d, close %t", answer.StatusCode, answer.Close)
	}
	for end := time.Now().Add(long); w.InFlight(ref("shop--one")) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it counts as under way for ever")
		}
	}
}
