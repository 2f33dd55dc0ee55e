package hop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// front serves every request by relaying it to addr; the last error is kept.
type front struct {
	*httptest.Server
	client *Client
	mu     sync.Mutex
	errs   []error
	seen   chan struct{}
}

func newFront(t *testing.T, addr string, timeout time.Duration, limit int64) *front {
	t.Helper()
	f := &front{client: New(addr), seen: make(chan struct{}, 1024)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limit > 0 {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		err := f.client.Relay(w, r, &Request{Target: r.URL.RequestURI(), Set: []Field{{"X-Set", "ours"}}, Drop: []string{"X-Drop"}, Timeout: timeout})
		f.record(err)
		var committed *worker.CommittedError
		if errors.As(err, &committed) {
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			status, _ := problem.HostStatus(err)
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(func() { f.Close(); f.client.Close() })
	return f
}

func (f *front) record(err error) {
	f.mu.Lock()
	f.errs = append(f.errs, err)
	f.mu.Unlock()
	f.seen <- struct{}{}
}

func (f *front) lastErr(t *testing.T) error {
	t.Helper()
	select {
	case <-f.seen:
	case <-time.After(20 * time.Second):
		t.Fatal("the relay never returned")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[len(f.errs)-1]
}

func (f *front) errors() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs
}

func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// script answers every connection with a function on the raw connection.
func script(t *testing.T, serve func(n int, br *bufio.Reader, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); defer c.Close(); serve(n, bufio.NewReader(c), c) }()
		}
	}()
	return l.Addr().String()
}

func readRequest(br *bufio.Reader) (*http.Request, error) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r, err
}

func TestRelaysHeadersBothWays(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Drop", "Connection", "X-Hop", "Keep-Alive", "Te"} {
			if v := r.Header.Get(name); v != "" {
				t.Errorf("%s reached the worker: %q", name, v)
			}
		}
		w.Header()["X-Many"] = []string{"a", "b"}
		w.Header().Set("X-Echo", r.Header.Get("X-Client")+"|"+r.Header.Get("X-Set")+"|"+r.Host+"|"+r.RequestURI)
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	})
	f := newFront(t, addr, 0, 0)
	req, _ := http.NewRequest("GET", f.URL+"/a%2Fb?x=1&y=%20", nil)
	req.Host = "shop.example"
	req.Header = http.Header{"X-Client": {"hi"}, "X-Set": {"theirs"}, "X-Drop": {"secret"}, "Connection": {"x-hop"}, "X-Hop": {"1"}, "Te": {"gzip"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot || string(body) != "short and stout" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if got, want := resp.Header.Get("X-Echo"), "hi|ours|shop.example|/a%2Fb?x=1&y=%20"; got != want {
		t.Errorf("worker saw %q, want %q", got, want)
	}
	if got := resp.Header["X-Many"]; len(got) != 2 {
		t.Errorf("repeated header arrived as %q", got)
	}
}

func TestBodiesOfEverySizeArriveWhole(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%d %x", len(b), sha256.Sum256(b))
	})
	f := newFront(t, addr, 0, 0)
	for _, size := range []int{0, 1, maxInlineBody, maxInlineBody + 1, 3 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		want := fmt.Sprintf("%d %x", size, sha256.Sum256(body))
		for name, reader := range map[string]io.Reader{"length": bytes.NewReader(body), "chunked": io.MultiReader(bytes.NewReader(body))} {
			resp, err := http.Post(f.URL, "application/octet-stream", reader)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(got) != want {
				t.Errorf("%s %d: got %d %q want %q; %v", name, size, resp.StatusCode, got, want, f.errors())
			}
		}
	}
}

func TestStreamedBodiesLeaveTheClientsConnectionWell(t *testing.T) {
	addr := upstream(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	f := newFront(t, addr, 0, 0)
	body := make([]byte, maxInlineBody+1)
	for i := range 300 {
		resp, err := http.Post(f.URL, "application/octet-stream", bytes.NewReader(body[:len(body)-i%2]))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: %d; %v", i, resp.StatusCode, f.lastErr(t))
		}
	}
}

func TestAnswersOfEveryFormArriveWhole(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	cases := map[string]struct{ raw, body, trailer string }{
		"content length":        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", ""},
		"repeated equal length": {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello", ""},
		"chunked":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello", ""},
		"chunked with trailer":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n", "hello", "7"},
		"until close":           {"HTTP/1.0 200 OK\r\n\r\nhello", "hello", ""},
		"interim first":         {"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", ""},
		"bare newlines":         {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "hello", ""},
		"larger than buffers":   {"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + long, long, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, script(t, func(_ int, br *bufio.Reader, conn net.Conn) {
				if _, err := readRequest(br); err == nil {
					io.WriteString(conn, c.raw)
				}
			}), 0, 0)
			resp, err := http.Get(f.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || string(b) != c.body || resp.Trailer.Get("X-Sum") != c.trailer {
				t.Errorf("got %d bytes, trailer %q, %v", len(b), resp.Trailer.Get("X-Sum"), err)
			}
		})
	}
}

func TestMalformedAnswersAreInternalErrors(t *testing.T) {
	for name, raw := range map[string]string{
		"no status line":           "hello world\r\n\r\n",
		"two lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"negative length":          "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"unknown transfer coding":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"field without colon":      "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"folded field":             "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
		"endless head":             "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 300) + "\r\n",
		"switch without a request": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, script(t, func(_ int, br *bufio.Reader, c net.Conn) {
				if _, err := readRequest(br); err == nil {
					io.WriteString(c, raw)
				}
			}), 0, 0)
			resp, err := http.Get(f.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := f.lastErr(t); problem.KindOf(err) != problem.Internal || resp.StatusCode != 500 {
				t.Errorf("got %d, %v", resp.StatusCode, err)
			}
		})
	}
}

func TestEventsArriveWhileTheAnswerGoesOn(t *testing.T) {
	next := make(chan struct{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for i := range 3 {
			<-next
			fmt.Fprintf(w, "data: %d\n", i)
			w.(http.Flusher).Flush()
		}
	})
	f := newFront(t, addr, 0, 0)
	resp, err := http.Get(f.URL) // returns although no event was sent yet
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	for i := range 3 {
		next <- struct{}{}
		if line, err := br.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
	}
}

func TestDuplexStreaming(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		br := bufio.NewReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, strings.ToUpper(line))
			w.(http.Flusher).Flush()
		}
	})
	f := newFront(t, addr, 0, 0)
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", f.URL, pr)
	go io.WriteString(pw, "a\n")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	for _, want := range []string{"A\n", "B\n"} {
		if line, err := br.ReadString('\n'); err != nil || line != want {
			t.Fatalf("got %q %v", line, err)
		}
		if want == "A\n" {
			io.WriteString(pw, "b\n")
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("rest %q %v", rest, err)
	}
}

func TestHeadAndBodylessStatusesKeepTheConnection(t *testing.T) {
	conns := make(chan struct{}, 10)
	f := newFront(t, script(t, func(_ int, br *bufio.Reader, c net.Conn) {
		conns <- struct{}{}
		for {
			r, err := readRequest(br)
			if err != nil {
				return
			}
			switch {
			case r.Method == "HEAD":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
			case r.URL.Path == "/204":
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			default:
				io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")
			}
		}
	}), 0, 0)
	for _, c := range []struct {
		method, path string
		status       int
	}{{"HEAD", "/", 200}, {"GET", "/204", 204}, {"GET", "/304", 304}, {"HEAD", "/", 200}} {
		req, _ := http.NewRequest(c.method, f.URL+c.path, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d", c.method, c.path, resp.StatusCode)
		}
	}
	if n := len(conns); n != 1 {
		t.Errorf("used %d connections, want 1", n)
	}
}

func TestClosedIdleConnectionIsReplaced(t *testing.T) {
	closed := make(chan struct{}, 10)
	f := newFront(t, script(t, func(n int, br *bufio.Reader, c net.Conn) {
		if _, err := readRequest(br); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		c.Close() // without saying so
		closed <- struct{}{}
	}), 0, 0)
	for _, method := range []string{"GET", "POST", "POST", "GET"} {
		req, _ := http.NewRequest(method, f.URL, strings.NewReader("x"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d, %v", method, resp.StatusCode, f.lastErr(t))
		}
		<-closed
	}
}

func TestPostIsNotRepeatedOnceTheWorkerAnswered(t *testing.T) {
	var mu sync.Mutex
	posts := 0
	f := newFront(t, script(t, func(n int, br *bufio.Reader, c net.Conn) {
		for i := 0; ; i++ {
			r, err := readRequest(br)
			if err != nil {
				return
			}
			mu.Lock()
			if r.Method == "POST" {
				posts++
			}
			mu.Unlock()
			if r.Method == "POST" {
				io.WriteString(c, "HTTP/1.1 200")
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}), 0, 0)
	resp, err := http.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	f.lastErr(t)
	resp, err = http.Post(f.URL, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := f.lastErr(t); !errors.Is(err, problem.Unavailable) || resp.StatusCode != 503 {
		t.Errorf("got %d %v", resp.StatusCode, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if posts != 1 {
		t.Errorf("the worker got %d POSTs", posts)
	}
}

func TestSlowWorkerTimesOut(t *testing.T) {
	release := make(chan struct{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	for _, limit := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond} {
		f := newFront(t, addr, limit, 0)
		resp, err := http.Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := f.lastErr(t); !errors.Is(err, problem.Timeout) {
			t.Errorf("limit %v: got %d %v", limit, resp.StatusCode, err)
		}
	}
}

func TestClientThatHangsUpEndsTheExchange(t *testing.T) {
	gone := make(chan struct{})
	arrived := make(chan struct{}, 1)
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		close(gone)
	})
	f := newFront(t, addr, 0, 0)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", f.URL, nil)
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Fatal("expected the client's own cancellation")
	}
	if err := f.lastErr(t); !errors.Is(err, worker.ErrClientGone) {
		t.Errorf("got %v", err)
	}
	<-gone
}

func TestBodyOverTheLimitIsRefusedWithoutWaiting(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for name, size := range map[string]int{"inline": 2000, "streamed": 1 << 20} {
		f := newFront(t, addr, 0, 1000)
		resp, err := http.Post(f.URL, "text/plain", io.MultiReader(bytes.NewReader(make([]byte, size))))
		if err == nil {
			resp.Body.Close()
		}
		if err := f.lastErr(t); !errors.Is(err, problem.TooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWorkerThatDiesMidAnswerAbortsTheClient(t *testing.T) {
	f := newFront(t, script(t, func(_ int, br *bufio.Reader, c net.Conn) {
		if _, err := readRequest(br); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\npart")
		}
	}), 0, 0)
	resp, err := http.Get(f.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the client took half an answer for a whole one")
	}
	var committed *worker.CommittedError
	if err := f.lastErr(t); !errors.As(err, &committed) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachableWorker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	f := newFront(t, addr, 0, 0)
	resp, err := http.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := f.lastErr(t); !errors.Is(err, problem.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello")
	f.Add("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n")
	f.Add("HTTP/1.0 404\r\nConnection: close, x\r\nX: 1\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		h, err := readHead(bufio.NewReaderSize(strings.NewReader(raw), 64))
		if err != nil {
			return
		}
		for name, values := range h.fields {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") {
					t.Errorf("field can split the answer: %q: %q", name, v)
				}
			}
		}
		if h.length >= 0 && h.chunked {
			t.Error("two framings accepted")
		}
		if std, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil); err == nil && std.StatusCode != h.status {
			t.Errorf("status %d, net/http says %d", h.status, std.StatusCode)
		}
	})
}
