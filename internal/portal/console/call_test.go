package console

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/inner"
)

const browser = "192.0.2.7:4711"

// serve gives the way to a handler behind a server as apps have one.
func serve(t *testing.T, h http.HandlerFunc) Dial {
	t.Helper()
	l, ended := inner.Listen(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- web.NewServer(l, h, slog.New(slog.DiscardHandler)).Run(ctx, time.Minute) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Dial
}

// ask runs a function behind a handler, whose answer is waited for as long as the
// context says.
func ask(ctx context.Context, t *testing.T, h http.HandlerFunc, in form, key string) answer {
	t.Helper()
	if in.Method == "" {
		in.Method = http.MethodGet
	}
	r, bad := in.request(ctx, function{Name: "f", Host: "orders.localhost:7071", Route: parseRoute("api/f")}, key)
	if bad != nil {
		t.Fatalf("%+v", bad)
	}
	return call(r, serve(t, h), browser, key)
}

func TestHostileAnswersAreShownAsTheyAre(t *testing.T) {
	text := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		}
	}
	const page = "<script>alert(1)</script>"
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    answer
	}{
		"nothing":          {text("", ""), answer{Status: 200}},
		"a page":           {text("text/html", page), answer{Status: 200, Body: page, Size: len(page), Type: "text/html"}},
		"binary":           {text("image/png", "\x89PNG\x00"), answer{Status: 200, Binary: true, Size: 5, Type: "image/png"}},
		"not UTF-8":        {text("text/plain; charset=latin1", "caf\xe9"), answer{Status: 200, Binary: true, Size: 4, Type: "text/plain; charset=latin1"}},
		"UTF-16":           {text("text/plain; charset=UTF-16", "a"), answer{Status: 200, Binary: true, Size: 1, Type: "text/plain; charset=UTF-16"}},
		"text says binary": {text("application/octet-stream", "hello"), answer{Status: 200, Body: "hello", Size: 5, Type: "application/octet-stream"}},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			text("text/plain", "claims to be")(w, r)
		}, answer{Status: 200, Binary: true, Size: 12, Type: "text/plain"}},
		"too much": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for _, err := io.WriteString(w, "\u6f22"); err == nil; _, err = io.WriteString(w, "\u6f22\u6f22") {
			}
		}, answer{Status: 200, Body: strings.Repeat("\u6f22", maxShown/3) + "\ufffd", Size: maxShown, Cut: true, Type: "text/plain"}},
		"it breaks off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			text("text/plain", "half")(w, r)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, answer{Status: 200, Body: "half", Size: 4, Type: "text/plain", Broken: "console.broken.off"}},
		"it does not begin": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, answer{Broken: "console.broken.none"}},
		"too many headers": {func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"A", "B", "C"} {
				w.Header().Set(name, strings.Repeat("x", 30<<10))
			}
		}, answer{Broken: "console.broken.headers"}},
		"an early hint": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			text("text/plain", "late")(w, r)
		}, answer{Status: 200, Body: "late", Size: 4, Type: "text/plain"}},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Ms-Request-Id", "11111111-1111-4111-8111-111111111111")
			w.WriteHeader(http.StatusUnauthorized)
		}, answer{Status: 401, Request: "11111111-1111-4111-8111-111111111111"}},
		"what is no id": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Ms-Request-Id", `"><script>aaaaaaaaaaaaaaaaaaaaaaaaaa`)
			w.WriteHeader(http.StatusForbidden)
		}, answer{Status: 403}},
		"an id of no refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Ms-Request-Id", "11111111-1111-4111-8111-111111111111")
		}, answer{Status: 200}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := ask(ctx, t, tt.handler, form{}, "")
			got.Took, got.Headers = 0, nil
			if len(got.Body) != len(tt.want.Body) || got.Body != tt.want.Body {
				t.Errorf("the body is %.100q (%d bytes), want %.100q (%d)", got.Body, len(got.Body), tt.want.Body, len(tt.want.Body))
			}
			got.Body = tt.want.Body
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNobodyIsFollowed has the answer send callers to another host and to itself.
func TestNobodyIsFollowed(t *testing.T) {
	calls := 0
	got := ask(t.Context(), t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "http://169.254.169.254/metadata", http.StatusFound)
	}, form{}, "")
	if calls != 1 || got.Status != http.StatusFound || got.To != "http://169.254.169.254/metadata" {
		t.Errorf("%d calls, %d to %q", calls, got.Status, got.To)
	}
}

// TestAnswersThatDoNotEndAreWaitedForNoLonger shows what came until then, and the
// handler learns that nobody waits.
func TestAnswersThatDoNotEndAreWaitedForNoLonger(t *testing.T) {
	for name, first := range map[string]string{"nothing came": "", "half came": "half"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		gone := make(chan struct{})
		got := ask(ctx, t, func(w http.ResponseWriter, r *http.Request) {
			if first != "" {
				_, _ = io.WriteString(w, first)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			close(gone)
		}, form{}, "")
		if got.Broken != "console.broken.late" || got.Body != first {
			t.Errorf("%s: %+v", name, got)
		}
		<-gone
		cancel()
	}
}

// TestAKeyThatComesBackIsNotShown has an app say what it was given.
func TestAKeyThatComesBackIsNotShown(t *testing.T) {
	const key = "a-key-of-the-app"
	got := ask(t.Context(), t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("the address has %q", r.URL.RawQuery)
		}
		w.Header().Set("X-Echo", r.Header.Get("X-Functions-Key"))
		_, _ = io.WriteString(w, "got "+r.Header.Get("X-Functions-Key"))
	}, form{}, key)
	if got.Body != "got ••••••••" {
		t.Errorf("the body is %q", got.Body)
	}
	for _, f := range got.Headers {
		if strings.Contains(f.Value, key) {
			t.Errorf("%s is %q", f.Name, f.Value)
		}
	}
}

// TestAKeyInAnAddressIsNotShown has an app send its callers on with their key.
func TestAKeyInAnAddressIsNotShown(t *testing.T) {
	const key = "a-key-of-the-app=="
	got := ask(t.Context(), t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/api/g?code="+url.QueryEscape(r.Header.Get("X-Functions-Key")), http.StatusFound)
	}, form{}, key)
	if strings.Contains(got.To+got.Body, "a-key") || !strings.HasPrefix(got.To, "/api/g?code=•") {
		t.Errorf("to %q, the body is %q", got.To, got.Body)
	}
}

// TestWhatIsSentIsWhatWasFilledIn looks at a request as an app gets it.
func TestWhatIsSentIsWhatWasFilledIn(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for name, tt := range map[string]struct {
		in   form
		body string
		head map[string]string
	}{
		"a POST of JSON":      {form{Method: "POST", Body: `{"a": 1}`}, `{"a": 1}`, map[string]string{"Content-Type": "application/json", "Content-Length": "8"}},
		"text":                {form{Method: "PUT", Body: "a\nb"}, "a\nb", map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		"a type of one's own": {form{Method: "PATCH", Header: "content-type: text/csv\n\n X-A:  b: c \nX-A: d", Body: "a,b"}, "a,b", map[string]string{"Content-Type": "text/csv", "X-A": "b: c|d"}},
		"a large body":        {form{Method: "POST", Body: long}, long, nil},
		"GET has no body":     {form{Method: "GET", Body: "x"}, "", map[string]string{"Content-Type": "", "Content-Length": ""}},
		"claims of a proxy":   {form{Method: "GET", Header: "X-Forwarded-Proto: https"}, "", map[string]string{"X-Forwarded-Proto": "https"}},
	} {
		t.Run(name, func(t *testing.T) {
			ask(t.Context(), t, func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != tt.body {
					t.Errorf("the body is %.100q (%d bytes), %v", body, len(body), err)
				}
				if r.RemoteAddr != browser || r.Host != "orders.localhost:7071" || r.Method != tt.in.Method || r.URL.Path != "/api/f" {
					t.Errorf("%s %s of %s from %s", r.Method, r.URL, r.Host, r.RemoteAddr)
				}
				for name, want := range tt.head {
					if got := strings.Join(r.Header[name], "|"); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				if len(r.Header["Cookie"]) > 0 || len(r.Header["X-Functions-Key"]) > 0 {
					t.Errorf("%v", r.Header)
				}
			}, tt.in, "")
		})
	}
}

func TestWhatCannotBeSentIsSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		in   form
		want string
	}{
		"another host":         {form{Header: "Host: evil.example"}, "console.header.own"},
		"two requests in one":  {form{Header: "Transfer-Encoding: chunked"}, "console.header.own"},
		"a length of its own":  {form{Header: "content-length: 3"}, "console.header.own"},
		"a socket":             {form{Header: "upgrade: websocket"}, "console.header.own"},
		"a key in the headers": {form{Header: "X-FUNCTIONS-KEY: abc"}, "console.header.key"},
		"somebody else":        {form{Header: "X-MS-CLIENT-PRINCIPAL: e30="}, "console.header.front"},
		"with underscores":     {form{Header: "x_ms_client_principal_id: owner"}, "console.header.front"},
		"a token of a proxy":   {form{Header: "X-MS-TOKEN-AAD-ID-TOKEN: e30"}, "console.header.front"},
		"another address":      {form{Header: "x-forwarded-for: 10.0.0.1"}, "console.header.front"},
		"a certificate":        {form{Header: "X-ARR-ClientCert: MII"}, "console.header.front"},
		"the platform":         {form{Header: "X-MS-Platform-Internal: true"}, "console.header.front"},
		"no header":            {form{Header: "A: b\nnothing"}, "console.header.bad"},
		"a name with a blank":  {form{Header: "A b: c"}, "console.header.bad"},
		"no name":              {form{Header: ": c"}, "console.header.bad"},
		"a line in a value":    {form{Header: "A: b\rX-Functions-Key: c"}, "console.header.bad"},
		"too long headers":     {form{Header: "A: " + strings.Repeat("b", maxHeader)}, "console.header.long"},
		"too many":             {form{Header: strings.Repeat("A: b\n", maxLines+1)}, "console.lines"},
		"a long query":         {form{Query: "a=" + strings.Repeat("\u6f22", maxQuery/8)}, "console.query.long"},
		"a method of its own":  {form{Method: "GET / HTTP/1.1\r\nHost: evil"}, "console.method"},
		"a tunnel":             {form{Method: "CONNECT"}, "console.method"},
		"no method":            {form{}, "console.method"},
	} {
		if tt.want != "console.method" {
			tt.in.Method = http.MethodPost
		}
		_, bad := tt.in.request(t.Context(), function{Host: "orders.localhost", Route: parseRoute("api/f")}, "")
		if bad == nil || bad.Text != tt.want {
			t.Errorf("%s: %+v, want %s", name, bad, tt.want)
		}
	}
}

func TestWhatLooksLikeAKeyIsNotShownAgain(t *testing.T) {
	got := form{Query: "a=1\nCODE=secret\n code = x\ncode", typed: "secret", Body: "b"}.Shown()
	if got.typed != "" || got.Query != "a=1\ncode=\ncode=\ncode=" || got.Body != "b" {
		t.Errorf("%+v", got)
	}
}

// FuzzWhatIsTypedStaysInItsPlace puts anything into the fields: nothing becomes another
// host, another header than was named, or a key.
func FuzzWhatIsTypedStaysInItsPlace(f *testing.F) {
	f.Add("a=b", "A: b", "x")
	f.Add("code=c&d#e", "Host: x\nA: b\r\nX-Functions-Key: k", "\x00")
	f.Fuzz(func(t *testing.T, query, header, body string) {
		r, bad := form{Method: http.MethodPost, Query: query, Header: header, Body: body}.request(t.Context(), function{Host: "orders.localhost:7071", Route: parseRoute("api/f")}, "")
		if bad != nil {
			return
		}
		if r.URL.Host != "orders.localhost:7071" || r.Host != r.URL.Host || r.URL.Path != "/api/f" || r.URL.Fragment != "" {
			t.Errorf("it goes to %s of %s", r.URL, r.Host)
		}
		for name, values := range r.Header {
			if notSent[name] != "" || !token(name) {
				t.Errorf("it has the header %q", name)
			}
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("%s is %q", name, v)
				}
			}
		}
	})
}
