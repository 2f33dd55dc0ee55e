package platform

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/portal/page"
)

func TestAppsGetNoCookiesOfThePortal(t *testing.T) {
	for name, tt := range map[string]struct{ sent, want []string }{
		"none":                          {nil, nil},
		"others only":                   {[]string{"a=1; b=2"}, []string{"a=1; b=2"}},
		"the session alone":             {[]string{page.Cookie + "=secret"}, nil},
		"among others":                  {[]string{"a=1; " + page.Cookie + "=secret; b=2"}, []string{"a=1; b=2"}},
		"all of the portal's":           {[]string{page.Cookie + "=x; " + page.Cookie + "-attempt=x;" + page.Cookie + "-next=x; " + page.Cookie + "-language=x; a=1"}, []string{"a=1"}},
		"several fields":                {[]string{"a=1", page.Cookie + "=secret", "b=2"}, []string{"a=1; b=2"}},
		"twice":                         {[]string{page.Cookie + "=x; " + page.Cookie + "=y"}, nil},
		"no blanks":                     {[]string{"a=1;" + page.Cookie + "=secret;b=2"}, []string{"a=1; b=2"}},
		"tabs":                          {[]string{"a=1;\t" + page.Cookie + "\t=secret"}, []string{"a=1"}},
		"without a name":                {[]string{"=" + page.Cookie + "=secret; a=1"}, []string{"a=1"}},
		"its name in a value":           {[]string{"a=" + page.Cookie + "; b=2"}, []string{"a=" + page.Cookie, "b=2"}},
		"a name that begins like it":    {[]string{"__Host-latch=1; __Host-other=2"}, []string{"__Host-latch=1; __Host-other=2"}},
		"a name that ends like it":      {[]string{"x" + page.Cookie + "=1"}, []string{"x" + page.Cookie + "=1"}},
		"in other letters":              {[]string{strings.ToUpper(page.Cookie) + "=1; a=1"}, []string{strings.ToUpper(page.Cookie) + "=1; a=1"}},
		"in other letters, with others": {[]string{page.Cookie + "=1; " + strings.ToUpper(page.Cookie) + "=1; a=1"}, []string{"a=1"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = tt.sent
		hideFromApps(r)
		if got := strings.Join(r.Header["Cookie"], "; "); got != strings.Join(tt.want, "; ") || strings.Contains(got, "secret") {
			t.Errorf("%s: the app gets %q, want %q", name, got, tt.want)
		}
	}
}

// setting are fields with which an app would set cookies of the portal, and those that
// are its own.
var (
	portalsFields = []string{
		page.Cookie + "=fixed; Path=/; Secure", page.Cookie + "-attempt=x; Path=/; Secure", page.Cookie + "-next=x", page.Cookie + "-language=x",
		" " + page.Cookie + "=x", "\t" + page.Cookie + " =x", "=" + page.Cookie + "=x; Path=/; Secure", " = " + page.Cookie + "=x",
		strings.ToUpper(page.Cookie) + "=x", strings.ToLower(page.Cookie) + "=x", page.Cookie, page.Cookie + "; Path=/", `"` + page.Cookie + `"=x`,
	}
	ownFields = []string{
		"a=1", "__Host-mine=1; Path=/; Secure", "b=" + page.Cookie + "=x", "c=1; Path=/; " + page.Cookie + "=x", "__Host-latch=1", "latchkey=1",
	}
)

// answers are ways in which apps answer.
var answers = map[string]http.HandlerFunc{
	"a body":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
	"a head":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"nothing": func(http.ResponseWriter, *http.Request) {},
	"a stream": func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "hello")
	},
	"what comes before the head": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "hello")
	},
	"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusSeeOther) },
}

func TestAppsSetNoCookiesOfThePortal(t *testing.T) {
	for name, answer := range answers {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := apart(w, r)
			defer out.end()
			out.Header()["Set-Cookie"] = slices.Concat(portalsFields, ownFields)
			answer(out, r)
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		for _, two := range []bool{false, true} {
			client := server.Client()
			transport := client.Transport.(*http.Transport).Clone()
			transport.ForceAttemptHTTP2 = two
			if !two {
				transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
				transport.TLSClientConfig = transport.TLSClientConfig.Clone()
				transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			got, err := transport.RoundTrip(httptest.NewRequest("GET", server.URL, nil).WithContext(t.Context()))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, _ = io.Copy(io.Discard, got.Body)
			got.Body.Close()
			if set := got.Header["Set-Cookie"]; !slices.Equal(set, ownFields) || (got.ProtoMajor == 2) != two {
				t.Errorf("%s, HTTP/%d: sets %q, want %q", name, got.ProtoMajor, set, ownFields)
			}
			transport.CloseIdleConnections()
		}
		server.Close()
	}
}

func TestAppsSetNoCookiesOfThePortalAfterTheBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := apart(w, r)
		defer out.end()
		out.Header().Set("Trailer", "Set-Cookie")
		_, _ = io.WriteString(out, "hello")
		_ = http.NewResponseController(out).Flush()
		out.Header()["Set-Cookie"] = []string{portalsFields[0], ownFields[0]}
		out.Header()[http.TrailerPrefix+"Set-Cookie"] = []string{portalsFields[0]}
	}))
	defer server.Close()
	got, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	_, _ = io.Copy(io.Discard, got.Body)
	if all := append(got.Header["Set-Cookie"], got.Trailer["Set-Cookie"]...); !slices.Equal(all, ownFields[:1]) {
		t.Errorf("the head sets %q, and what follows the body %q", got.Header["Set-Cookie"], got.Trailer["Set-Cookie"])
	}
}

// TestAppsSetNoCookiesOfThePortalWhenTheySwitchProtocols has the head of an answer be
// written by whoever takes the connection over, as it is for web sockets.
func TestAppsSetNoCookiesOfThePortalWhenTheySwitchProtocols(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\nSet-Cookie: "+
			strings.Join(slices.Concat(portalsFields, ownFields), "\r\nSet-Cookie: ")+"\r\n\r\nhello")
	}))
	defer app.Close()
	to, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := apart(w, r)
		defer out.end()
		proxy.ServeHTTP(out, r)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if set := got.Header["Set-Cookie"]; got.StatusCode != http.StatusSwitchingProtocols || !slices.Equal(set, ownFields) {
		t.Errorf("%d sets %q, want %q", got.StatusCode, set, ownFields)
	}
}
