package custom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/custom"
)

func TestForwardsOnlyPureHTTPFunctions(t *testing.T) {
	queue := funcapp.Binding{Name: "q", Type: "queue", Direction: funcapp.Out}
	blob := funcapp.Binding{Name: "b", Type: "blob", Direction: funcapp.In}
	for _, tc := range []struct {
		name    string
		change  func(*funcapp.Function)
		forward bool
	}{
		{"trigger and answer", func(*funcapp.Function) {}, true},
		{"trigger alone", func(f *funcapp.Function) { f.Bindings = f.Bindings[:1] }, true},
		{"another case", func(f *funcapp.Function) { f.Bindings[1].Type = "HTTP" }, true},
		{"a second output", func(f *funcapp.Function) { f.Bindings = append(f.Bindings, queue) }, false},
		{"another output", func(f *funcapp.Function) { f.Bindings[1] = queue }, false},
		{"a second input", func(f *funcapp.Function) { f.Bindings = append(f.Bindings, blob) }, false},
		{"another trigger", func(f *funcapp.Function) { f.Bindings[0] = funcapp.Binding{Name: "t", Type: "timerTrigger"} }, false},
	} {
		f := httpFunction("x")
		tc.change(f)
		for _, h := range []funcapp.CustomHandler{{Forward: true}, {Proxy: true}, {Legacy: true}, {}} {
			w := custom.New(custom.Config{App: &funcapp.App{Host: funcapp.HostConfig{CustomHandler: &h}}})
			on := h.Forward || h.Proxy || h.Legacy
			if got := w.Forwards(f); got != (tc.forward && on) {
				t.Errorf("%s with %+v: Forwards gave %v", tc.name, h, got)
			}
		}
	}
}

// front serves one function through the worker, as the server at the edge does.
func front(t *testing.T, w *custom.Worker, inv worker.Invocation, outcome chan<- error) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inv := inv
		inv.Request = r
		if d := r.Header.Get("X-Test-Deadline"); d != "" {
			ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
			defer cancel()
			r = r.WithContext(ctx)
		}
		err := w.ServeInvocation(rw, r, &inv)
		outcome <- err
		var committed *worker.CommittedError
		if errors.As(err, &committed) {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// relayed sends one request through a worker with handler settings h.
func relayed(t *testing.T, h funcapp.CustomHandler, inv worker.Invocation, change func(*http.Request), path string) (seen, *http.Response) {
	t.Helper()
	f := newFixture(t, "serve")
	h.Executable = f.handler().Executable
	*f.handler() = h
	outcome := make(chan error, 1)
	s := front(t, f.start(t), inv, outcome)
	req, err := http.NewRequest(http.MethodPut, s.URL+path, strings.NewReader("the body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "test/1")
	change(req)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	var got seen
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got, resp
}

func TestForwardedRequestsArriveAsTheyAre(t *testing.T) {
	inv := *call(httpFunction("orders"))
	got, resp := relayed(t, funcapp.CustomHandler{Forward: true}, inv, func(r *http.Request) {
		r.Header["X-Many"] = []string{"1", "2"}
		r.Header.Set("X-Azure-Functions-InvocationId", "forged")
		r.Host = "shop.example"
	}, "/api/orders/a%2Fb?code=data&q=%C3%BC")
	if got.Method != "PUT" || got.Target != "/api/orders/a%2Fb?code=data&q=%C3%BC" || got.Body != "the body" || got.Host != "shop.example" {
		t.Errorf("handler saw %+v", got)
	}
	wantFields(t, got.Header, map[string]string{"X-Many": "1,2", "X-Azure-Functions-Invocationid": inv.ID,
		"X-Azure-Functions-Hostversion": "4.1037.0", "User-Agent": "test/1 Azure-Functions-Host/4.1037.0", "X-Latchkey-Key-Name": ""})
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-From") != "handler" {
		t.Errorf("client saw %v %v", resp.Status, resp.Header)
	}
}

func wantFields(t *testing.T, h http.Header, want map[string]string) {
	t.Helper()
	for name, v := range want {
		if got := strings.Join(h[name], ","); got != v {
			t.Errorf("handler saw %s: %q, want %q", name, got, v)
		}
	}
}

func TestTheKeyNeverReachesTheFunction(t *testing.T) {
	const key = "s3cret=="
	for _, tc := range []struct {
		name   string
		strip  bool
		change func(*http.Request)
		path   string
		target string
		header string // value of x-functions-key that may arrive
	}{
		{name: "in the header", strip: true, change: func(r *http.Request) { r.Header.Set("x-functions-key", key) },
			path: "/api/x?code=oauth&a=1", target: "/api/x?code=oauth&a=1"},
		{name: "in the query", strip: true, path: "/api/x?a=1&code=s3cret%3D%3D&b=", target: "/api/x?a=1&b="},
		{name: "in the query by another case", strip: true, path: "/api/x?CODE=s3cret==", target: "/api/x"},
		{name: "in both", strip: true, change: func(r *http.Request) { r.Header.Set("x-functions-key", key) },
			path: "/api/x?code=s3cret%3d%3D&code=other", target: "/api/x?code=other"},
		{name: "in the referring page", strip: true, change: func(r *http.Request) { r.Header.Set("Referer", "http://h/page?code=s3cret%3D%3D&z=1") },
			path: "/api/x?code=s3cret==", target: "/api/x"},
		{name: "not evaluated", change: func(r *http.Request) { r.Header.Set("x-functions-key", "data") },
			path: "/api/x?code=data", target: "/api/x?code=data", header: "data"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inv := *call(httpFunction("x"))
			inv.StripKey, inv.KeyName = tc.strip, "default"
			got, _ := relayed(t, funcapp.CustomHandler{Forward: true}, inv, func(r *http.Request) {
				r.Header.Set("X-Latchkey-Key-Name", "forged")
				r.Header["X_latchkey_key_name"] = []string{"forged"}
				r.Header.Set("Connection", "X-Latchkey-Key-Name")
				if tc.change != nil {
					tc.change(r)
				}
			}, tc.path)
			if got.Target != tc.target {
				t.Errorf("target %q, want %q", got.Target, tc.target)
			}
			wantFields(t, got.Header, map[string]string{"X-Functions-Key": tc.header, "X-Latchkey-Key-Name": "default", "X_latchkey_key_name": ""})
			if raw, _ := json.Marshal(got); strings.Contains(string(raw), "s3cret") {
				t.Errorf("the key reached the function: %s", raw)
			}
		})
	}
}

func newKey(t *testing.T, kind azfkey.Kind) string {
	t.Helper()
	key, err := azfkey.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestKeysThatWereNotAskedAboutDoNotReachTheFunction: a request may carry more keys
// than the one that was evaluated, even one that opens everything.
func TestKeysThatWereNotAskedAboutDoNotReachTheFunction(t *testing.T) {
	master, chosen := newKey(t, azfkey.Master), "a-key-somebody-chose"
	escaped := url.QueryEscape(master)
	twice := url.QueryEscape("/api/x?code=" + escaped)
	hex := ""
	for _, c := range []byte(master) {
		hex += fmt.Sprintf("%%%02X", c)
	}
	for _, tc := range []struct {
		name            string
		strip           bool
		header          []string
		path, target    string
		referer, passed string
	}{
		{name: "beside a key in the header", strip: true, header: []string{chosen}, path: "/api/x?code=" + escaped + "&code=oauth&a", target: "/api/x?code=oauth&a"},
		{name: "beside an empty header", strip: true, header: []string{""}, path: "/api/x?code=" + master, target: "/api/x"},
		{name: "behind another code", path: "/api/x?code=zzz&a=1&code=" + master, target: "/api/x?code=zzz&a=1"},
		{name: "behind the evaluated code", strip: true, path: "/api/x?code=zzz&code=" + master, target: "/api/x"},
		{name: "without padding, all escaped, another case", path: "/api/x?CODE=" + strings.TrimSuffix(hex, "%3D%3D") + "&b", target: "/api/x?b"},
		{name: "within a code", path: "/api/x?code=," + master, target: "/api/x"},
		{name: "in a header nobody looked at", header: []string{"x", master}, path: "/api/x", target: "/api/x"},
		{name: "in the referring page's query", path: "/", target: "/", referer: "http://h/p?a=1&code=" + escaped + "&b", passed: "http://h/p?a=1&b"},
		{name: "in its fragment", path: "/", target: "/", referer: "http://h/p#code=" + master + "&b", passed: "http://h/p#b"},
		{name: "in the fragment's text", path: "/", target: "/", referer: "http://h/p?a#/x/" + master, passed: "http://h/p?a#/x/hidden"},
		{name: "in another parameter", path: "/", target: "/", referer: "http://h/p?key=" + master, passed: "http://h/p?key=hidden"},
		{name: "nested", path: "/", target: "/", referer: "http://h/p?next=" + twice, passed: "http://h/p?next=%2Fapi%2Fx%3Fcode%3Dhidden%253D%253D"},
		{name: "nested, all escaped", path: "/", target: "/", referer: "http://h/p?next=%3Fcode%3D" + url.QueryEscape(hex), passed: "http://h/p"},
		{name: "in the page's path", path: "/", target: "/", referer: "http://h/" + hex, passed: ""},
		{name: "the evaluated one, nested", strip: true, path: "/?code=" + chosen, target: "/", referer: "http://h/p?next=%3Fcode%3D" + chosen, passed: "http://h/p"},
		{name: "none in the referring page", path: "/", target: "/", referer: "http://h/p?code=oauth&&#", passed: "http://h/p?code=oauth&&#"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inv := *call(httpFunction("x"))
			inv.StripKey = tc.strip
			got, _ := relayed(t, funcapp.CustomHandler{Forward: true}, inv, func(r *http.Request) {
				if tc.header != nil {
					r.Header["X-Functions-Key"] = tc.header
				}
				if tc.referer != "" {
					r.Header["Referer"] = []string{tc.referer}
				}
			}, tc.path)
			if got.Target != tc.target {
				t.Errorf("target %q, want %q", got.Target, tc.target)
			}
			wantFields(t, got.Header, map[string]string{"X-Functions-Key": "", "Referer": tc.passed})
		})
	}
}

func TestOnlyTheFirstReferringPageIsToldAndWithoutKeys(t *testing.T) {
	got, _ := relayed(t, funcapp.CustomHandler{Forward: true}, *call(httpFunction("x")), func(r *http.Request) {
		r.Header["Referer"] = []string{"http://h/p", "http://h/?code=" + newKey(t, azfkey.Function)}
	}, "/")
	wantFields(t, got.Header, map[string]string{"Referer": "http://h/p"})
}

func TestTheOlderHTTPWorkerIsCalledByFunctionName(t *testing.T) {
	got, _ := relayed(t, funcapp.CustomHandler{Legacy: true}, *call(httpFunction("Orders")), func(*http.Request) {}, "/api/some/route?a=1")
	if got.Target != "/Orders?a=1" {
		t.Errorf("target %q, want /Orders?a=1", got.Target)
	}
}

func TestProxyingNamesTheClient(t *testing.T) {
	inv := *call(httpFunction("x"))
	got, _ := relayed(t, funcapp.CustomHandler{Proxy: true, Forward: true}, inv, func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		r.Host = "shop.example"
	}, "/api/x")
	wantFields(t, got.Header, map[string]string{"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Host": "shop.example",
		"X-Forwarded-Proto": "http", "X-Ms-Invocation-Id": inv.ID, "User-Agent": "test/1", "X-Azure-Functions-Invocationid": inv.ID})
}

func TestRelayFailuresAreTold(t *testing.T) {
	f := newFixture(t, "serve")
	f.handler().Forward = true
	w := f.start(t)
	outcome := make(chan error, 1)
	s := front(t, w, *call(httpFunction("x")), outcome)
	get := func(path, deadline string) error {
		req, _ := http.NewRequest(http.MethodGet, s.URL+path, nil)
		if deadline != "" {
			req.Header.Set("X-Test-Deadline", deadline)
		}
		if resp, err := s.Client().Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return <-outcome
	}
	wantKind(t, get("/hangup", ""), problem.Internal, "without an answer")
	wantKind(t, get("/hang", "yes"), problem.Timeout)
	var committed *worker.CommittedError
	if err := get("/half", ""); !errors.As(err, &committed) {
		t.Errorf("half an answer gave %v, want a CommittedError", err)
	}
	wantRedirect(t, s)
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	wantKind(t, get("/crash", ""), problem.Unavailable, "exit code 3")
	wantKind(t, get("/text", ""), problem.Unavailable)
}

// wantRedirect checks that redirects are relayed, not followed.
func wantRedirect(t *testing.T, s *httptest.Server) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodGet, s.URL+"/redirect", nil)
	resp, err := s.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "/text" {
		t.Errorf("a redirect became %v %v", resp.Status, resp.Header)
	}
}

func TestAClientThatLeavesIsNobodysFailure(t *testing.T) {
	f := newFixture(t, "serve")
	f.handler().Forward = true
	outcome := make(chan error, 1)
	s := front(t, f.start(t), *call(httpFunction("x")), outcome)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { f.logs.await(t, "hanging"); cancel() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/hang", nil)
	if _, err := s.Client().Do(req); err == nil {
		t.Fatal("the request succeeded")
	}
	if err := <-outcome; !errors.Is(err, worker.ErrClientGone) {
		t.Errorf("error %v, want ErrClientGone", err)
	}
}
