package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/ingress"
)

// bounded gives a context that ends before a test hangs.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	t.Cleanup(cancel)
	return ctx
}

// ready is a world with an app of one replica.
func ready(t *testing.T, config func(*ingress.Config), app func(*ingress.App), h http.HandlerFunc) *world {
	t.Helper()
	w := newWorld(t, config)
	w.Put(shop(app))
	w.Replicas(ref("shop--one"), at(replica(t, h)))
	return w
}

func TestAppsSeeTheirClient(t *testing.T) {
	for _, transport := range []ingress.Transport{ingress.Auto, ingress.HTTP2} {
		seen := make(chan *http.Request, 1)
		w := newWorld(t, nil)
		w.Put(shop(func(a *ingress.App) { a.Transport = transport }))
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
		s.Config.Protocols = &http.Protocols{}
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		w.Replicas(ref("shop--one"), at(s))
		w.get("shop."+domain, func(r *http.Request) {
			r.Header = http.Header{
				"X-Forwarded-For": {"192.0.2.1", "192.0.2.2"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.example"},
				"X-Forwarded-Client-Cert": {"Hash=made-up"}, "X-Own": {"a", "b"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Te": {"gzip"},
			}
			r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "/a/b c", "/a%2Fb%20c", "x=%20;&y"
		})
		r := <-seen
		for name, want := range map[string]string{
			"X-Forwarded-For": "192.0.2.1, 192.0.2.2, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop." + domain,
			"X-Forwarded-Client-Cert": "", "X-Own": "a,b", "X-Hop": "", "Te": "", "Connection": "",
		} {
			if got := strings.Join(r.Header[name], ","); got != want {
				t.Errorf("%s: %s is %q, want %q", transport, name, got, want)
			}
		}
		if r.Host != "shop."+domain || r.RequestURI != "/a%2Fb%20c?x=%20;&y" {
			t.Errorf("%s: the app was asked for %s%s", transport, r.Host, r.RequestURI)
		}
		if want := map[ingress.Transport]int{ingress.Auto: 1, ingress.HTTP2: 2}[transport]; r.ProtoMajor != want {
			t.Errorf("%s: the app was asked by %s", transport, r.Proto)
		}
	}
}

func TestAnswersStream(t *testing.T) {
	more := make(chan struct{})
	w := ready(t, nil, nil, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(rw, "data: 1\n")
		_ = http.NewResponseController(rw).Flush()
		<-more
		_, _ = io.WriteString(rw, "data: 2\n")
		rw.Header().Set("X-Sum", "two")
	})
	r, _ := http.NewRequestWithContext(bounded(t), "GET", "http://shop."+domain+"/", nil)
	answer, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewReader(answer.Body)
	if line, err := lines.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("the first event did not come before the second: %q %v", line, err)
	}
	close(more)
	rest, err := io.ReadAll(lines)
	if string(rest) != "data: 2\n" || err != nil || answer.Trailer.Get("X-Sum") != "two" {
		t.Errorf("got %q, %v, trailer %v", rest, err, answer.Trailer)
	}
}

// endless gives bytes until it is told to stop and counts what was taken.
type endless struct {
	taken atomic.Int64
	stop  atomic.Bool
}

func (e *endless) Read(p []byte) (int, error) {
	if e.stop.Load() {
		return 0, io.EOF
	}
	e.taken.Add(int64(len(p)))
	return len(p), nil
}

func TestBodiesOfWaitingRequestsAreNotRead(t *testing.T) {
	const most = 32 << 20 // buffers of the kernel and the server are far smaller
	w := newWorld(t, nil)
	w.Put(shop(nil))
	body := &endless{}
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop."+domain, func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(body), -1
		})
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	until(t, "it waits", func() bool { return w.Load(ref("shop--one")).Waiting == 1 })
	for last := int64(-1); last != body.taken.Load(); time.Sleep(50 * time.Millisecond) {
		last = body.taken.Load()
		if last > most {
			t.Fatalf("%d bytes were read", last)
		}
	}
	before := body.taken.Load()
	w.Replicas(ref("shop--one"), at(replica(t, func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, n > before, err)
	})))
	until(t, "the body is read", func() bool { return body.taken.Load() > before+most })
	body.stop.Store(true)
	if got := <-answer; got.body != "true <nil>" {
		t.Errorf("got %v", got)
	}
}

func TestBodiesArriveWhole(t *testing.T) {
	w := ready(t, nil, nil, func(rw http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		_, _ = fmt.Fprint(rw, n, " ", hex.EncodeToString(sum.Sum(nil)), " ", err)
	})
	for _, size := range []int{0, 1, 16 << 10, 16<<10 + 1, 5 << 20} {
		text := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, length := range []int64{int64(size), -1} {
			got := w.get("shop."+domain, func(r *http.Request) {
				r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(bytes.NewReader(text)), length
			})
			if want := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256(text)); got.body != want {
				t.Errorf("%d bytes, length %d: got %v, want %s", size, length, got, want)
			}
		}
	}
}

// giveBack answers with the request's body.
func giveBack(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = rw.Write(body)
}

// gone is an address where nothing listens.
func gone(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestAReplicaThatRefusesIsPassedOver(t *testing.T) {
	for _, transport := range []ingress.Transport{ingress.HTTP, ingress.HTTP2} {
		w := newWorld(t, nil)
		w.Put(shop(func(a *ingress.App) { a.Transport = transport }))
		s := httptest.NewUnstartedServer(http.HandlerFunc(giveBack))
		s.Config.Protocols = &http.Protocols{}
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		list := append(at(s), ingress.Replica{Name: "dead", Addresses: map[int]string{80: gone(t)}})
		w.Replicas(ref("shop--one"), list)
		for _, length := range []int{0, 5, 100_000} {
			text := strings.Repeat("x", length)
			for range 4 { // each gets its turn
				got := w.get("shop."+domain, func(r *http.Request) {
					r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(text)), int64(length)
				})
				if got.status != 200 || got.body != text {
					t.Errorf("%s: got %d and %d bytes, want %d", transport, got.status, len(got.body), length)
				}
			}
		}
	}
}

func TestAReplicaThatIsReadyBeforeItListensIsAskedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(nil))
	addr := gone(t)
	w.Replicas(ref("shop--one"), []ingress.Replica{{Name: "r0", Addresses: map[int]string{80: addr}}})
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop."+domain, func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader("hello")), 5
		})
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	until(t, "it waits", func() bool { return w.Load(ref("shop--one")).Waiting == 1 })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("the port was taken by somebody else: %v", err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(giveBack)}}
	s.Start()
	defer s.Close()
	if got := <-answer; got.status != 200 || got.body != "hello" {
		t.Errorf("got %v", got)
	}
}

func TestAReplicaThatDiesEndsItsRequests(t *testing.T) {
	for _, transport := range []ingress.Transport{ingress.HTTP, ingress.HTTP2} {
		w := newWorld(t, nil)
		w.Put(shop(func(a *ingress.App) { a.Transport = transport }))
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("q") == "half" {
				rw.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(rw, "half")
				_ = http.NewResponseController(rw).Flush()
			}
			panic(http.ErrAbortHandler)
		}))
		s.Config.Protocols = &http.Protocols{}
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		w.Replicas(ref("shop--one"), at(s))
		if got := w.get("shop." + domain); got.status != 503 {
			t.Errorf("%s: before the answer: %v", transport, got)
		}
		got, err := w.ask("shop."+domain, func(r *http.Request) { r.URL.RawQuery = "q=half" })
		if err == nil {
			t.Errorf("%s: half an answer looks like a whole one: %v", transport, got)
		}
		until(t, "nothing is under way", func() bool { return w.InFlight(ref("shop--one")) == 0 })
	}
}

func TestNonsenseOfAReplicaIsSaid(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, "SSH-2.0-nonsense\r\n\r\n")
			_ = c.Close()
		}
	}()
	w.Replicas(ref("shop--one"), []ingress.Replica{{Name: "r0", Addresses: map[int]string{80: l.Addr().String()}}})
	if got := w.get("shop." + domain); got.status != 502 {
		t.Errorf("got %v", got)
	}
}

func TestSilenceEndsARequest(t *testing.T) {
	release := make(chan struct{})
	gone := make(chan struct{}, 8)
	w := ready(t, func(c *ingress.Config) { c.Timeout = 300 * time.Millisecond }, nil, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			gone <- struct{}{}
		case <-release:
		}
	})
	defer close(release)
	if got := w.get("shop." + domain); got.status != 504 || strings.TrimSpace(got.body) != "stream timeout" {
		t.Errorf("got %v", got)
	}
	select {
	case <-gone:
	case <-time.After(long):
		t.Error("the replica was not told")
	}
}

func TestAClientThatGoesAwayEndsItsRequest(t *testing.T) {
	arrived, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	w := ready(t, nil, nil, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	ctx, leave := context.WithCancel(bounded(t))
	failed := make(chan error, 1)
	go func() {
		_, err := w.ask("shop."+domain, func(r *http.Request) { *r = *r.WithContext(ctx) })
		failed <- err
	}()
	<-arrived
	leave()
	select {
	case <-ended:
	case <-time.After(long):
		t.Fatal("the replica goes on")
	}
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	until(t, "nothing is under way", func() bool { return w.InFlight(ref("shop--one")) == 0 })
}

// talk switches a connection to a protocol of lines and says some.
func talk(t *testing.T, w *world) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(bounded(t), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(long))
	_, _ = fmt.Fprintf(c, "GET /chat HTTP/1.1\r\nHost: shop.%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n", domain)
	br := bufio.NewReader(c)
	answer, err := http.ReadResponse(br, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("got %v %v", answer, err)
	}
	return c, br
}

// echo takes the connection over and gives lines back.
func echo(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		rw.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	c, brw, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(c, brw)
}

func TestWebSocketsPass(t *testing.T) {
	w := ready(t, func(c *ingress.Config) { c.Timeout = time.Second }, func(a *ingress.App) { a.Sticky = true }, echo)
	c, br := talk(t, w)
	for _, text := range []string{"hello\n", "again\n"} {
		_, _ = io.WriteString(c, text)
		if got, err := br.ReadString('\n'); got != text {
			t.Fatalf("got %q %v", got, err)
		}
	}
	if n := w.InFlight(ref("shop--one")); n != 1 {
		t.Errorf("%d connections are counted", n)
	}
	_ = c.Close()
	until(t, "it is counted out", func() bool { return w.InFlight(ref("shop--one")) == 0 })
	c, br = talk(t, w)
	w.Close()
	if _, err := br.ReadString('\n'); err == nil {
		t.Error("the connection outlives the ingress")
	}
	_ = c.Close()
}

func TestUpgradesThatAreRefusedAreAnswered(t *testing.T) {
	w := ready(t, nil, nil, echo)
	got := w.get("shop."+domain, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "other")
	})
	if got.status != http.StatusUpgradeRequired {
		t.Errorf("got %v", got)
	}
}

func TestConnectionsOfAnyProtocolPass(t *testing.T) {
	addr := make(chan string, 4)
	w := newWorld(t, func(c *ingress.Config) {
		c.Listen = func(ctx context.Context, port int) (net.Listener, error) {
			if port != 6379 {
				return nil, errors.New("another port")
			}
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			if err == nil {
				addr <- l.Addr().String()
			}
			return l, err
		}
	})
	w.Put(shop(func(a *ingress.App) {
		a.Transport, a.Ports = ingress.TCP, []ingress.TCPPort{{Exposed: 6379, Target: 80}}
	}))
	if got := w.get("shop." + domain); got.status != 404 {
		t.Errorf("by HTTP: %v", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				all, _ := io.ReadAll(c)
				_, _ = c.Write(bytes.ToUpper(all))
				_ = c.Close()
			}()
		}
	}()
	c, err := (&net.Dialer{}).DialContext(bounded(t), "tcp", <-addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(long))
	_, _ = io.WriteString(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	until(t, "it waits", func() bool { return w.Load(ref("shop--one")).Waiting == 1 })
	w.Replicas(ref("shop--one"), []ingress.Replica{{Name: "r0", Addresses: map[int]string{80: l.Addr().String()}}})
	if got, err := io.ReadAll(c); string(got) != "HELLO" || err != nil {
		t.Errorf("got %q %v", got, err)
	}
	until(t, "it is counted out", func() bool { return w.Load(ref("shop--one")).InFlight == 0 })
	w.Forget(appID)
	until(t, "the port is closed", func() bool {
		again, err := net.DialTimeout("tcp", c.RemoteAddr().String(), time.Second)
		if err == nil {
			_ = again.Close()
		}
		return err != nil
	})
}
