package portal

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
)

// TestPagesOfOtherOriginsReadNothingFromWithin asks as scripts of an app at the same
// site would, with which browsers send our cookies.
func TestPagesOfOtherOriginsReadNothingFromWithin(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	for _, path := range []string{"/portal/apps/rg/orders", page.Events, page.SignIn, "/portal/audit/export"} {
		for _, site := range []string{"same-site", "cross-site"} {
			for _, mode := range []string{"no-cors", "cors"} {
				f.calls = nil
				// Where the guard is missing a stream would not end by itself.
				w := f.within(time.Minute, "GET", path, "Sec-Fetch-Site", site, "Sec-Fetch-Mode", mode)
				if w.Code != http.StatusForbidden || len(f.calls) > 0 {
					t.Errorf("%s, %s, %s: %d, %q", path, site, mode, w.Code, f.calls)
				}
			}
		}
	}
	for _, head := range [][]string{
		{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, {"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, {},
	} {
		if w := f.do("GET", "/portal/apps/rg/orders", nil, head...); w.Code != http.StatusOK {
			t.Errorf("%q: %d", head, w.Code)
		}
	}
}

// within is do for what may last.
func (f *fixture) within(limit time.Duration, method, path string, head ...string) *httptest.ResponseRecorder {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), limit)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, endpoint+path, nil)
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	for name, value := range f.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if ctx.Err() != nil {
		f.Errorf("%s %s does not end", method, path)
	}
	return w
}

// TestABrowserThatDoesNotReadKeepsNothing has a browser ask for the stream, read its
// beginning, and then nothing more: what is written to it waits.
func TestABrowserThatDoesNotReadKeepsNothing(t *testing.T) {
	f := newFixture(t)
	f.live.Late = 50 * time.Millisecond
	f.signIn()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ended := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		f.ServeHTTP(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&oneConn{conn: ours, done: make(chan struct{})})
	}()
	defer func() {
		_ = server.Close()
		<-served
	}()
	_, err := io.WriteString(theirs, "GET "+page.Events+" HTTP/1.1\r\nHost: localhost:7443\r\nCookie: "+page.Cookie+"="+f.cookies[page.Cookie]+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(theirs), nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", answer, err)
	}
	f.Notify()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the stream waits for it")
	}
}

// TestABrowserThatHasNothingToReadIsNotLeft has nothing happen for longer than a browser
// may take for what it is told, on a connection of HTTP/2, where bounds are streams' own.
func TestABrowserThatHasNothingToReadIsNotLeft(t *testing.T) {
	f := newFixture(t)
	f.live.Late = 50 * time.Millisecond
	f.signIn()
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+page.Events, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: page.Cookie, Value: f.cookies[page.Cookie]})
	answer, err := server.Client().Do(r)
	if err != nil || answer.ProtoMajor != 2 {
		t.Fatalf("%v, %v", answer, err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	<-time.After(10 * f.live.Late)
	f.Notify()
	for text := ""; !strings.Contains(text, "change"); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("the stream has ended: %v", err)
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (c net.Conn, err error) {
	if c, l.conn = l.conn, nil; c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "one"} }

// stream is an answer that tells when its first part is sent.
type stream struct {
	*httptest.ResponseRecorder
	once    sync.Once
	flushed chan struct{}
}

func (s *stream) Flush() {
	s.once.Do(func() { close(s.flushed) })
}

// TestABrowserIsToldNothingAfterItsSessionEnded has something change all the time, so
// that there is never a pause in which to look.
func TestABrowserIsToldNothingAfterItsSessionEnded(t *testing.T) {
	f := newFixture(t)
	f.signIn()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", endpoint+page.Events, nil)
	r.AddCookie(&http.Cookie{Name: page.Cookie, Value: f.cookies[page.Cookie]})
	w := &stream{ResponseRecorder: httptest.NewRecorder(), flushed: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.ServeHTTP(w, r)
	}()
	select {
	case <-w.flushed:
	case <-ctx.Done():
		t.Fatal("the stream does not begin")
	}
	if err := f.sessions.EndAll(ctx, alice.ObjectID); err != nil {
		t.Fatal(err)
	}
	f.Notify()
	<-ended // at the latest with ctx
	if ctx.Err() != nil || strings.Contains(w.Body.String(), "change") {
		t.Errorf("it goes on after the session: %q, %v", w.Body, ctx.Err())
	}
}

// TestWhatIsAskedIsWhatIsDone has an address name another assignment than it says.
func TestWhatIsAskedIsWhatIsDone(t *testing.T) {
	const own = "/subscriptions/sub/providers/Microsoft.Authorization/roleAssignments/own"
	f := newFixtureWith(t, func(cfg *Config) {
		cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/roleAssignments"):
				_, _ = io.WriteString(w, `{"value":[{"id":"`+own+`","properties":{"roleDefinitionId":"/x/reader","principalId":"me","scope":"/the/real/scope"}},`+
					`{"id":"/of/a/group","properties":{"roleDefinitionId":"/x/reader","principalId":"group"}}]}`)
			case r.URL.Path == own:
				_, _ = io.WriteString(w, `{"id":"`+own+`","properties":{"roleDefinitionId":"/x/reader","principalId":"me","scope":"/the/real/scope"}}`)
			case r.URL.Path == "/providers/Latchkey.Directory/principals/me":
				_, _ = io.WriteString(w, `{"name":"The Real App"}`)
			case strings.HasSuffix(r.URL.Path, "/roleDefinitions"):
				_, _ = io.WriteString(w, `{"value":[{"name":"reader","properties":{"roleName":"The Real Role"}}]}`)
			default:
				_, _ = io.WriteString(w, `{"name":"orders","identity":{"type":"SystemAssigned","principalId":"me"},"properties":{}}`)
			}
		})
	})
	f.signIn()
	ask := func(id string) (int, string) {
		q := url.Values{"assignment": {id}, "role": {"A Harmless Role"}, "scope": {"/harmless"}, "name": {"Harmless"}, "back": {"https://harmless.example/"}}
		w := f.do("GET", "/portal/access/roles/remove?"+q.Encode(), nil)
		return w.Code, w.Body.String()
	}
	if code, body := ask(own); code != http.StatusOK || !strings.Contains(body, "The Real Role") || !strings.Contains(body, "/the/real/scope") || !strings.Contains(body, "The Real App") || strings.Contains(body, "armless") {
		t.Errorf("%d: %s", code, body)
	}
	for _, id := range []string{own + "er", "/of/a/group", ""} {
		if code, body := ask(id); code != http.StatusNotFound && code != http.StatusBadRequest || strings.Contains(body, `name="assignment"`) {
			t.Errorf("%q: %d: %s", id, code, body)
		}
	}
}

func TestWhoComesInByALinkIsTold(t *testing.T) {
	var told []string
	f := newFixtureWith(t, func(cfg *Config) {
		cfg.Entered = func(who session.Principal, remote string) { told = append(told, who.ObjectID+" "+remote) }
	})
	f.do("POST", page.SignIn, url.Values{"link": {"wrong"}})
	f.signIn()
	if len(told) != 1 || !strings.HasPrefix(told[0], alice.ObjectID+" 192.0.2.1:") {
		t.Errorf("%q", told)
	}
}
