package hosttest_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

func open(more string) map[string]string {
	return map[string]string{"open/function.json": testkit.HTTPFunction("anonymous", more)}
}

func TestUnknownRouteIsNotFoundBeforeAnyKeyIsLookedAt(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: map[string]string{
		"closed/function.json": testkit.HTTPFunction("function", `"methods":["post"],"route":"a/{id:int}"`)}})
	for path, status := range map[string]int{"/api/nosuch": 404, "/api/closed": 404, "/api/a/x": 404, "/api/a/1": 404, "/favicon.ico": 404} {
		for _, key := range []string{"", "wrong", h.Master(t)} {
			h.Get(t, path, key).WantStatus(t, status).WantEmpty(t)
		}
	}
	h.Send(t, testkit.Request{Method: "POST", Path: "/api/a/1"}).WantStatus(t, 401)
	h.Send(t, testkit.Request{Method: "POST", Path: "/API/A/1", Key: h.HostKey(t)}).WantStatus(t, 200)
}

func TestFunctionsCannotTakeReservedRoutes(t *testing.T) {
	h := testkit.Start(t, testkit.App{Host: `"extensions":{"http":{"routePrefix":""}}`, Files: map[string]string{
		"a/function.json": testkit.HTTPFunction("anonymous", `"route":"admin/host/status"`),
		"b/function.json": testkit.HTTPFunction("anonymous", `"route":"runtime/webhooks/x"`),
		"c/function.json": testkit.HTTPFunction("anonymous", `"route":"{*all}"`)}})
	h.Get(t, "/admin/host/status", "").WantStatus(t, 401)
	h.Get(t, "/runtime/webhooks/x", "").WantStatus(t, 401)
	h.Get(t, "/administration", "").WantStatus(t, 204)
	var status struct{ Errors []string }
	h.Get(t, "/admin/functions/a/status", h.Master(t)).JSON(t, &status)
	if len(status.Errors) == 0 {
		t.Error("a reserved route is no fault")
	}
}

func TestCustomHeadersAreOnEveryAnswer(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: open(""),
		Host:    `"extensions":{"http":{"customHeaders":{"x-frame-options":"DENY","X-Own":"host"}}}`,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Own", "function") })})
	for path, own := range map[string]string{"/api/open": "function", "/api/nosuch": "host", "/admin/host/ping": "host",
		"/admin/host/status": "host", "/runtime/webhooks/x": "host", "/": "host"} {
		a := h.Get(t, path, "")
		if a.Header.Get("X-Frame-Options") != "DENY" || a.Header.Get("X-Own") != own || len(a.Header["X-Own"]) != 1 {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
}

func TestTooManyOutstandingRequestsAreRefused(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			gate := testkit.NewGate(t)
			h := testkit.Start(t, testkit.App{Mode: mode, Handler: gate, Files: open(""), Host: `"extensions":{"http":{"maxOutstandingRequests":2}}`})
			done := make(chan int, 2)
			for range 2 {
				go func() { a, _ := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); done <- a.Status }()
			}
			gate.Await(t)
			gate.Await(t)
			a := h.Get(t, "/api/open", "").WantStatus(t, 429).WantEmpty(t)
			if a.Header.Get("X-FUNCTION-SCALEOUT") != "1" {
				t.Errorf("header %v", a.Header)
			}
			h.Get(t, "/admin/host/status", h.Master(t)).WantStatus(t, 200) // limits skip the runtime API
			gate.Open()
			for range 2 {
				if status := receive(t, done); status >= 300 {
					t.Errorf("status %d", status)
				}
			}
			eventually(t, func() bool { return h.Get(t, "/api/open", "").Status < 300 })
		})
	}
}

func TestConcurrentRequestsAboveTheLimitWait(t *testing.T) {
	gate := testkit.NewGate(t)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: gate, Files: open(""),
		Host: `"extensions":{"http":{"maxConcurrentRequests":1,"maxOutstandingRequests":3}}`})
	done := make(chan int, 3)
	for range 3 {
		go func() { a, _ := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); done <- a.Status }()
	}
	eventually(t, func() bool { return h.Node.Instance().Outstanding() == 3 })
	h.Get(t, "/api/open", "").WantStatus(t, 429)
	for range 3 {
		gate.Await(t)
		if len(gate.Arrived) != 0 {
			t.Error("two requests run at once")
		}
		gate.One()
		if status := receive(t, done); status != 200 {
			t.Errorf("status %d", status)
		}
	}
}

func TestWaitingRequestThatIsGivenUpLeavesItsPlace(t *testing.T) {
	gate := testkit.NewGate(t)
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: gate, Files: open(""),
		Host: `"extensions":{"http":{"maxConcurrentRequests":1,"maxOutstandingRequests":2}}`})
	done := make(chan int, 2)
	go func() { a, _ := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); done <- a.Status }()
	gate.Await(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = h.Try(ctx, testkit.Request{Path: "/api/open"}); done <- 0 }()
	eventually(t, func() bool { return h.Node.Instance().Outstanding() == 2 })
	cancel()
	receive(t, done)
	eventually(t, func() bool { return h.Node.Instance().Outstanding() == 1 })
	gate.Open()
	receive(t, done)
	h.Get(t, "/api/open", "").WantStatus(t, 200)
	if len(gate.Arrived) != 1 {
		t.Errorf("%d requests reached the handler, want the last one only", len(gate.Arrived))
	}
}

// counter counts the bytes of bodies that reach the handler.
type counter struct {
	mu  sync.Mutex
	max int64
}

func (c *counter) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max = max(c.max, n)
}

func (c *counter) most() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.max
}

func TestBodyAboveTheLimitIsRefused(t *testing.T) {
	const limit = 100_000
	for name, mode := range modes {
		for kind, body := range map[string]func() io.Reader{
			"length known": func() io.Reader { return strings.NewReader(strings.Repeat("x", limit+1)) },
			"chunked":      func() io.Reader { return io.LimitReader(endless{}, 50*limit) },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				c := &counter{}
				h := testkit.Start(t, testkit.App{Mode: mode, Handler: c, Files: open(""),
					Settings: map[string]string{"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": fmt.Sprint(limit)}})
				resp, err := http.Post(h.Base+"/api/open", "text/plain", body())
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("status %d", resp.StatusCode)
				}
				if c.most() > limit {
					t.Errorf("the handler saw %d bytes", c.most())
				}
				resp, err = http.Post(h.Base+"/api/open", "text/plain", io.LimitReader(endless{}, limit))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode >= 300 {
					t.Errorf("a body of exactly the limit: status %d", resp.StatusCode)
				}
			})
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestFunctionTimeoutAnswers500AndCancelsTheHandler(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			gate := testkit.NewGate(t)
			h := testkit.Start(t, testkit.App{Mode: mode, Handler: gate, Files: open(""), Host: `"functionTimeout":"00:00:01"`})
			h.Get(t, "/api/open", "").WantStatus(t, 500).WantEmpty(t)
			gate.Await(t)
			gate.AwaitGone(t)
		})
	}
}

func TestHandlerIsToldWhenTheCallerHangsUp(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			gate := testkit.NewGate(t)
			h := testkit.Start(t, testkit.App{Mode: mode, Handler: gate, Files: open("")})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { _, err := h.Try(ctx, testkit.Request{Path: "/api/open"}); done <- err }()
			gate.Await(t)
			cancel()
			if err := receive(t, done); err == nil {
				t.Error("the request was answered")
			}
			gate.AwaitGone(t)
		})
	}
}

func TestTraceContextIsPassedOn(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, mode := range []testkit.Mode{testkit.Forwarding, testkit.Proxying} {
		s := newSeen()
		h := testkit.Start(t, testkit.App{Mode: mode, Handler: s, Files: open("")})
		h.Send(t, testkit.Request{Path: "/api/open", Header: map[string]string{"traceparent": parent, "tracestate": "a=1"}}).WantStatus(t, 200)
		if r := s.last(t); r.Header.Get("traceparent") != parent || r.Header.Get("tracestate") != "a=1" {
			t.Errorf("%v", r.Header)
		}
	}
}

func TestRequestIsForwardedAsItIs(t *testing.T) {
	for name, mode := range map[string]testkit.Mode{"forwarding": testkit.Forwarding, "proxying": testkit.Proxying} {
		t.Run(name, func(t *testing.T) {
			s := newSeen()
			h := testkit.Start(t, testkit.App{Mode: mode, Handler: s, Files: open(`"route":"open/{*rest}"`)})
			h.Send(t, testkit.Request{Method: "PUT", Path: "/api/open/a%2Fb?x=1&x=2&y", Body: "body", Header: map[string]string{"X-Mine": "1"}}).WantStatus(t, 200)
			r := s.last(t)
			if r.Method != "PUT" || r.URL.RequestURI() != "/api/open/a%2Fb?x=1&x=2&y" || r.Header.Get("X-Mine") != "1" {
				t.Errorf("%s %s %v", r.Method, r.URL.RequestURI(), r.Header)
			}
			if r.Header.Get("X-Azure-Functions-InvocationId") == "" || r.Header.Get("X-Azure-Functions-HostVersion") == "" {
				t.Errorf("%v", r.Header)
			}
			if via := r.Header.Get("X-Forwarded-Host"); (via != "") != (mode == testkit.Proxying) {
				t.Errorf("X-Forwarded-Host %q", via)
			}
		})
	}
}

func TestHTTP2WithoutTLSIsServed(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &only}
	defer tr.CloseIdleConnections()
	for key, status := range map[string]int{"": 401, h.HostKey(t): 200} {
		req, err := h.HTTP(t.Context(), testkit.Request{Method: "POST", Path: "/api/closed", Key: key, Body: "over HTTP/2"})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != status || (status == 200 && string(body) != "over HTTP/2") {
			t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
		}
	}
}

func TestAnswerIsStreamed(t *testing.T) {
	for name, mode := range map[string]testkit.Mode{"forwarding": testkit.Forwarding, "proxying": testkit.Proxying} {
		t.Run(name, func(t *testing.T) {
			next := make(chan string)
			h := testkit.Start(t, testkit.App{Mode: mode, Files: open(""), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for part := range next {
					_, _ = io.WriteString(w, part)
					_ = http.NewResponseController(w).Flush()
				}
			})})
			go func() { next <- "first\n" }()
			resp, err := http.Get(h.Base + "/api/open")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewReader(resp.Body)
			for _, want := range []string{"first\n", "second\n", "third\n"} {
				if line, err := lines.ReadString('\n'); line != want || err != nil {
					t.Fatalf("%q %v", line, err)
				}
				if want != "third\n" {
					next <- map[string]string{"first\n": "second\n", "second\n": "third\n"}[want]
				}
			}
			close(next)
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("%q %v", rest, err)
			}
		})
	}
}

func TestHeadHasTheHeadersOfGetAndNoBody(t *testing.T) {
	answers := map[testkit.Mode]string{testkit.Default: `{"Outputs":{"res":{"body":"hello","headers":{"X-A":"1"}}}}`}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			h := testkit.Start(t, testkit.App{Mode: mode, Files: open(""), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-A", "1")
				text := answers[mode]
				if text == "" {
					text = "hello"
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(text)))
				_, _ = io.WriteString(w, text)
			})})
			a := h.Send(t, testkit.Request{Method: "HEAD", Path: "/api/open"}).WantStatus(t, 200).WantEmpty(t)
			if a.Header.Get("X-A") != "1" || a.Header.Get("Content-Length") != "5" {
				t.Errorf("%v", a.Header)
			}
		})
	}
}

func TestWebSocketHandshakeIsRefusedClearly(t *testing.T) {
	s := newSeen()
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Handler: s, Files: threeLevels()})
	handshake := func(path string) (status, text string) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", h.Node.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.Status[:3], string(body)
	}
	if status, text := handshake("/api/open"); status != "501" || !strings.Contains(text, "WebSocket") {
		t.Errorf("%s %q", status, text)
	}
	if status, text := handshake("/api/closed"); status != "401" || text != "" {
		t.Errorf("without a key: %s %q", status, text)
	}
	s.none(t)
}

func TestFailedFunctionAnswers500WithoutABody(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: open(""), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret detail", 500) })})
	h.Get(t, "/api/open", "").WantStatus(t, 500).WantEmpty(t)
}

func TestBrokenOffAnswerDoesNotLookWhole(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: open(""), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(bytes.Repeat([]byte("x"), 50000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})})
	if _, err := h.Try(t.Context(), testkit.Request{Path: "/api/open"}); err == nil {
		t.Error("the client sees a whole answer")
	}
}
