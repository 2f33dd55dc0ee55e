package custom

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/view"
)

func understood(body, httpName, dataType string) (*worker.Result, error) {
	w := New(Config{})
	inv := &worker.Invocation{Function: &funcapp.Function{Name: "f", Bindings: []funcapp.Binding{
		{Name: "req", Type: "httpTrigger"},
		{Name: httpName, Type: "http", Direction: funcapp.Out, DataType: dataType},
		{Name: "queueOut", Type: "queue", Direction: funcapp.Out},
	}}}
	return w.result(inv, http.StatusOK, []byte(body))
}

func TestHTTPAnswersOfFunctions(t *testing.T) {
	plain := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	for _, tc := range []struct {
		name, body, binding, dataType string
		want                          *worker.HTTPResult
	}{
		{"an object", `{"Outputs":{"res":{"statusCode":201,"body":"hi","headers":{"X-A":"1","content-type":"text/html"}}}}`, "res", "",
			&worker.HTTPResult{Status: 201, Header: http.Header{"X-A": {"1"}, "Content-Type": {"text/html"}}, Body: []byte("hi")}},
		{"status as text", `{"outputs":{"res":{"status":"404","body":""}}}`, "res", "", &worker.HTTPResult{Status: 404, Header: http.Header{}, Body: []byte{}}},
		{"statusCode before status", `{"Outputs":{"res":{"status":404,"STATUSCODE":"202"}}}`, "res", "", &worker.HTTPResult{Status: 202, Header: http.Header{}}},
		{"a status that is no number", `{"Outputs":{"res":{"status":"fine"}}}`, "res", "", &worker.HTTPResult{Status: 200, Header: http.Header{}}},
		{"an object as text", `{"Outputs":{"res":"{\"status\":204}"}}`, "res", "", &worker.HTTPResult{Status: 204, Header: http.Header{}}},
		{"a name in another case", `{"Outputs":{"RES":{"status":204}}}`, "res", "", &worker.HTTPResult{Status: 204, Header: http.Header{}}},
		{"a JSON body", `{"Outputs":{"res":{"body":{"a":[1]}}}}`, "res", "",
			&worker.HTTPResult{Status: 200, Header: plain, Body: []byte("{\n  \"a\": [\n    1\n  ]\n}")}},
		{"text that could be base64", `{"Outputs":{"res":{"body":"test"}}}`, "res", "", &worker.HTTPResult{Status: 200, Header: plain, Body: []byte("test")}},
		{"base64 of a binary binding", `{"Outputs":{"res":{"body":"/wA="}}}`, "res", "binary",
			&worker.HTTPResult{Status: 200, Header: http.Header{"Content-Type": {"application/octet-stream"}}, Body: []byte{0xff, 0}}},
		{"a list of header values", `{"Outputs":{"res":{"headers":{"set-cookie":["a=1","b=2"],"x-n":5,"x-null":null,"transfer-encoding":"chunked"}}}}`, "res", "",
			&worker.HTTPResult{Status: 200, Header: http.Header{"Set-Cookie": {"a=1", "b=2"}, "X-N": {"5"}}}},
		{"a returned text", `{"ReturnValue":"test"}`, "$return", "", &worker.HTTPResult{Status: 200, Header: plain, Body: []byte("test")}},
		{"a returned object with a body", `{"returnvalue":{"body":"x","status":418}}`, "$return", "", &worker.HTTPResult{Status: 418, Header: plain, Body: []byte("x")}},
		{"a returned object with a body as text", `{"ReturnValue":"{\"body\":null,\"status\":418}"}`, "$return", "", &worker.HTTPResult{Status: 418, Header: http.Header{}}},
		{"a returned object without a body", `{"ReturnValue":{"a":1}}`, "$return", "", &worker.HTTPResult{Status: 200, Header: plain, Body: []byte("{\n  \"a\": 1\n}")}},
		{"no answer", `{"Outputs":{},"ReturnValue":null}`, "res", "", nil},
		{"nothing returned", ``, "$return", "", nil},
	} {
		res, err := understood(tc.body, tc.binding, tc.dataType)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, res.HTTP); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestOtherOutputsAreSortedByBinding(t *testing.T) {
	res, err := understood(`{"Outputs":{"queueOut":["a"],"unknown":1},"ReturnValue":"r"}`, "res", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Outputs) != 1 || string(res.Outputs["queueOut"]) != `["a"]` || string(res.Return) != `"r"` || res.HTTP != nil {
		t.Errorf("result %+v", res)
	}
}

func TestAnswersThatCannotBeSentAreErrors(t *testing.T) {
	for _, body := range []string{
		`{"Outputs":{"res":"SomeBlah"}}`, `{"Outputs":{"res":5}}`, `{"Outputs":{"res":{"status":99}}}`, `{"Outputs":{"res":{"status":101}}}`,
		`{"Outputs":{"res":{"status":100000}}}`, `{"Outputs":{"res":{"headers":{"content-type":null}}}}`, `{"Outputs":{"res":{"headers":{"a b":"x"}}}}`,
		`{"Outputs":{"res":{"headers":{"a":"x\r\ny: z"}}}}`, `{"Outputs":{"res":{"headers":"x"}}}`, `[]`, `{"Outputs":5}`, `{} {}`, `OK`,
	} {
		if res, err := understood(body, "res", ""); err == nil {
			t.Errorf("%s gave %+v, want an error", body, res.HTTP)
		}
	}
}

func TestConsoleLevels(t *testing.T) {
	for _, tc := range []struct {
		from                 child.Stream
		text, level, message string
	}{
		{child.Stdout, "error: all is well", "info", "error: all is well"},
		{child.Stderr, "Warning: error ahead", "warn", "Warning: error ahead"},
		{child.Stderr, "it FAILED", "error", "it FAILED"},
		{child.Stderr, "Unhandled exception.", "error", "Unhandled exception."},
		{child.Stderr, "listening", "info", "listening"},
		{child.Stdout, "LanguageWorkerConsoleLogstarting", "info", "starting"},
		{child.Stdout, "LanguageWorkerConsoleLog[error] broken", "error", "broken"},
		{child.Stderr, "LanguageWorkerConsoleLog[x] odd", "info", "[x] odd"},
	} {
		if level, message := child.Classify(tc.from, tc.text); level != tc.level || message != tc.message {
			t.Errorf("%q: %s %q, want %s %q", tc.text, level, message, tc.level, tc.message)
		}
	}
}

func TestLinesAreCutAndCleaned(t *testing.T) {
	var got []string
	child.ReadLines(strings.NewReader("a\r\n\nb\xff\n"+strings.Repeat("x", (64<<10)+1)+"\nend"), func(l string) { got = append(got, l) })
	want := []string{"a", "", "b\uFFFD", strings.Repeat("x", 64<<10), "x", "end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTheTailKeepsTheLastTen(t *testing.T) {
	var tl child.Tail
	for c := 'a'; c <= 'z'; c++ {
		tl.Add(string(c))
	}
	if got := strings.Join(tl.Lines(), ""); got != "qrstuvwxyz" {
		t.Errorf("tail %q", got)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"Outputs":{"res":{"statusCode":"201","headers":{"a":["b"]},"body":{}}},"Logs":["x"],"ReturnValue":1}`, `{"Outputs":{"res":"{}"}}`, `null`, ``} {
		f.Add(s, "res", "")
		f.Add(s, "$return", "binary")
	}
	f.Fuzz(func(t *testing.T, body, name, dataType string) {
		res, err := understood(body, name, dataType)
		if err != nil || res.HTTP == nil {
			return
		}
		if res.HTTP.Status < 200 || res.HTTP.Status > 999 {
			t.Errorf("status %d cannot be written", res.HTTP.Status)
		}
		for field, values := range res.HTTP.Header {
			if strings.ContainsAny(field+strings.Join(values, ""), "\r\n\x00") {
				t.Errorf("field %q: %q can be split", field, values)
			}
		}
	})
}

func TestTheSchemeIsTheConnectionsNotTheClients(t *testing.T) {
	for _, tc := range []struct {
		target string
		tls    bool
		want   string
	}{
		{"/api/x", false, "http"}, {"/api/x", true, "https"},
		{"https://h/api/x", false, "http"}, {"http://h/api/x", true, "https"}, {"ftp://h/api/x", false, "http"},
	} {
		r := httptest.NewRequest(http.MethodGet, tc.target, nil)
		if r.TLS = nil; tc.tls {
			r.TLS = &tls.ConnectionState{}
		}
		inv := &worker.Invocation{Request: r}
		if got := httpInput(inv).URL; !strings.HasPrefix(got, tc.want+"://") {
			t.Errorf("%s, TLS %v: the handler is told %s", tc.target, tc.tls, got)
		}
		for _, f := range view.ProxyFields(r, inv) {
			if f.Name == "X-Forwarded-Proto" && f.Value != tc.want {
				t.Errorf("%s, TLS %v: %s %s", tc.target, tc.tls, f.Name, f.Value)
			}
		}
	}
}

func FuzzKeyStripping(f *testing.F) {
	f.Add("a=1&code=key&b", "key")
	f.Add("%63ode=k%65y&CODE=key", "key")
	f.Add("&&=&code", "")
	f.Fuzz(func(t *testing.T, query, header string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{}}
		inv := &worker.Invocation{StripKey: true}
		left := view.Find(r, inv).Query(query)
		for _, p := range view.ParseQuery(left) {
			if strings.EqualFold(p.Name, "code") {
				t.Errorf("%q became %q, which still has a code", query, left)
			}
		}
		r.Header.Set(view.HeaderKey, header)
		for _, p := range view.ParseQuery(view.Find(r, inv).Query(query)) {
			if strings.EqualFold(p.Name, "code") && header != "" && p.Value == header {
				t.Errorf("%q still repeats the key", query)
			}
		}
		if kept := (view.Credential{}).Query(query); kept != query {
			t.Errorf("%q became %q without a key", query, kept)
		}
	})
}
