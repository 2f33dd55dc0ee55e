package hosttest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testkit"
)

// dial opens a raw connection to a host and sends text on it.
func dial(t *testing.T, h *testkit.Host, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", h.Node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels()})
	for name, head := range map[string]string{
		"long body":    "POST /api/closed HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\nx",
		"chunked body": "POST /api/closed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
		"admin":        "POST /admin/host/restart HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\nx",
	} {
		resp, err := http.ReadResponse(bufio.NewReader(dial(t, h, head)), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != 401 || !resp.Close {
			t.Errorf("%s: %d, connection goes on: %v", name, resp.StatusCode, !resp.Close)
		}
	}
}

func TestSlowSendersHoldNoPlace(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			h := testkit.Start(t, testkit.App{Mode: mode, Files: open(""),
				Host:    `"extensions":{"http":{"maxConcurrentRequests":1}}`,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })})
			for _, framing := range []string{"Connection: close\r\nContent-Length: 10", "Content-Length: 10"} {
				for range 3 {
					dial(t, h, "POST /api/open HTTP/1.1\r\nHost: x\r\n"+framing+"\r\n\r\n1")
				}
			}
			if a := h.Get(t, "/api/open", ""); a.Status >= 400 {
				t.Errorf("status %d", a.Status)
			}
		})
	}
}

func TestASlowReaderIsCutOffByTheFunctionsTimeout(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: open(""),
		Host: `"functionTimeout":"00:00:02","extensions":{"http":{"maxConcurrentRequests":1}}`,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := 1
			if r.URL.Query().Has("big") {
				n = 64
			}
			for range n {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		})})
	dial(t, h, "GET /api/open?big HTTP/1.1\r\nHost: x\r\n\r\n") // and reads nothing
	dial(t, h, "GET /api/open?big HTTP/1.0\r\nHost: x\r\n\r\n") // by way of net/http
	if a := h.Get(t, "/api/open", ""); a.Status != 200 {
		t.Errorf("the next request got %d", a.Status)
	}
}

func TestTheClientsTrailerStaysBehind(t *testing.T) {
	seen := make(chan string, 1)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: open(""), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- fmt.Sprint(string(body), r.Trailer, r.Header["Trailer"])
	})})
	c := dial(t, h, "POST /api/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Ms-Client-Principal\r\n\r\n"+
		"2\r\nhi\r\n0\r\nX-Ms-Client-Principal: forged\r\nX-Functions-Key: k\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, seen); got != "himap[] []" {
		t.Errorf("the function sees %s", got)
	}
}

func TestForgedIdentitiesAreDroppedHoweverSpelled(t *testing.T) {
	seen := make(chan http.Header, 1)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: open(""), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- r.Header
	})})
	h.Send(t, testkit.Request{Path: "/api/open", Header: map[string]string{
		"X_MS_CLIENT_PRINCIPAL": "forged", "x-ms-client-principal-anything": "forged", "X-MS-TOKEN-AAD-ID-TOKEN": "forged", "X-Ms-Other": "fine",
	}})
	got := receive(t, seen)
	if text := fmt.Sprint(got); strings.Contains(text, "forged") || got.Get("X-Ms-Other") != "fine" {
		t.Errorf("the function sees %s", text)
	}
}
