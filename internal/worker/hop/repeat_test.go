package hop

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A worker that reads a POST and dies without an answer may have acted on it.
func TestPostIsNeverSentTwice(t *testing.T) {
	var posts, gets atomic.Int64
	f := newFront(t, script(t, func(n int, br *bufio.Reader, c net.Conn) {
		for {
			r, err := readRequest(br)
			if err != nil {
				return
			}
			if r.Method == "POST" {
				posts.Add(1)
				return
			}
			if r.URL.Path == "/die" && gets.Add(1) == 1 {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}), 0, 0)
	ask := func(method, path string) int {
		req, _ := http.NewRequest(method, f.URL+path, strings.NewReader(""))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	ask("GET", "/")
	if status := ask("POST", "/"); status != 503 || posts.Load() != 1 {
		t.Errorf("status %d, the worker got %d POSTs", status, posts.Load())
	}
	ask("GET", "/")
	if status := ask("GET", "/die"); status != 200 || gets.Load() != 2 {
		t.Errorf("a GET: status %d after %d tries", status, gets.Load())
	}
}

func TestAClientThatReadsNothingIsGivenUp(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	f := newFront(t, addr, time.Second, 0)
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := f.lastErr(t); err == nil {
		t.Error("64 MiB went into a connection nobody reads")
	}
}
