package portal

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/portal/console"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/inner"
)

// tested is a portal with a function "hello" of level function, whose API has keys and
// whose app is a handler.
type tested struct {
	*fixture
	requests []string // that the app got
	runs     []console.Run
	refused  string // the end of paths that the API refuses

	unrecorded error // of the audit record
}

const testPage = "/portal/apps/rg/orders/functions/hello/test"

func newTested(t *testing.T, app http.HandlerFunc, perms []authz.Permission, patience time.Duration) *tested {
	t.Helper()
	tt, l, ended := &tested{}, inner.Listen(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- web.NewServer(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			tt.requests = append(tt.requests, r.Method+" "+r.Host+r.URL.RequestURI()+" "+r.RemoteAddr+" "+r.Header.Get("X-Functions-Key")+" "+string(body))
			app(w, r)
		}), slog.New(slog.DiscardHandler)).Run(ctx, time.Minute)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	tt.fixture = newFixtureWith(t, func(cfg *Config) {
		cfg.Console = console.Config{Dial: l.Dial, Patience: patience, Ran: tt.ran}
		cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.serve(w, r, perms) })
	})
	tt.signIn()
	return tt
}

func (tt *tested) ran(_ context.Context, r console.Run) error {
	tt.runs = append(tt.runs, r)
	return tt.unrecorded
}

func (tt *tested) serve(w http.ResponseWriter, r *http.Request, perms []authz.Permission) {
	tt.calls = append(tt.calls, r.Method+" "+r.URL.Path)
	say := func(text string) { _, _ = io.WriteString(w, text) }
	switch path := r.URL.Path; {
	case tt.refused != "" && strings.HasSuffix(path, tt.refused):
		w.WriteHeader(http.StatusForbidden)
		say(`{"error":{"code":"AuthorizationFailed","message":"no role allows it"}}`)
	case strings.HasSuffix(path, "/permissions"):
		_ = json.NewEncoder(w).Encode(map[string]any{"value": perms})
	case strings.HasSuffix(path, "/functions/hello"):
		say(`{"properties":{"name":"hello","href":"http://orders.localhost:7071/admin/functions/hello","invoke_url_template":"http://orders.localhost:7071/api/hello/{id:int}",` +
			`"config":{"bindings":[{"type":"httpTrigger","authLevel":"function","methods":["post"]}]}}}`)
	case strings.HasSuffix(path, "/functions/tick"):
		say(`{"properties":{"name":"tick","href":"http://orders.localhost:7071/admin/functions/tick","config":{"bindings":[{"type":"timerTrigger"}]}}}`)
	case strings.HasSuffix(path, "/functions/hello/keyMetadata"):
		say(`{"value":[{"properties":{"name":"<b>odd/one","kind":"function","state":"active"}},{"properties":{"name":"default","kind":"function","state":"active"}},` +
			`{"properties":{"name":"secret","kind":"function","state":"active","hashOnly":true}},{"properties":{"name":"old","kind":"function","state":"retiring","retires":"default"}}]}`)
	case strings.HasSuffix(path, "/host/default/keyMetadata"):
		say(`{"value":[{"properties":{"name":"_master","kind":"master","state":"active"}},{"properties":{"name":"partner","kind":"host","state":"disabled"}},{"properties":{"name":"queue","kind":"system","state":"active"}}]}`)
	case strings.HasSuffix(path, "/functions/hello/listkeys"):
		say(`{"default":"VALUE-OF-DEFAULT","<b>odd/one":"VALUE-OF-ODD"}`)
	case strings.HasSuffix(path, "/host/default/listkeys"):
		say(`{"masterKey":"VALUE-OF-MASTER","functionKeys":{"partner":"VALUE-OF-PARTNER"}}`)
	default:
		say(`{"name":"orders","properties":{}}`)
	}
}

func (tt *tested) run(path string, fields map[string]string, head ...string) string {
	tt.Helper()
	form := url.Values{"csrf": {tt.proof()}}
	for name, value := range fields {
		form.Set(name, value)
	}
	return tt.do("POST", path, form, head...).Body.String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<script>alert(1)</script> "+r.Header.Get("X-Functions-Key"))
}

// TestWhatIsRunIsTheFunction runs one as every kind of key has it: the app gets the
// key, nobody else does, and who ran what is told.
func TestWhatIsRunIsTheFunction(t *testing.T) {
	owner := []authz.Permission{{Actions: []string{"*"}}}
	for name, c := range map[string]struct {
		path       string
		fields     map[string]string
		want, told string
	}{
		"a key of the function": {testPage, map[string]string{"method": "POST", "p0": "4/2", "key": "function/default", "query": "a=b", "body": "x\r\ny"},
			"POST orders.localhost:7071/api/hello/4%2F2?a=b 192.0.2.1:1234 VALUE-OF-DEFAULT x\ny", "POST /api/hello/4/2 function/default"},
		"an odd name":     {testPage, map[string]string{"method": "GET", "p0": "1", "key": "function/<b>odd/one"}, "GET orders.localhost:7071/api/hello/1 192.0.2.1:1234 VALUE-OF-ODD ", "GET /api/hello/1 function/<b>odd/one"},
		"a host key":      {testPage, map[string]string{"method": "GET", "p0": "1", "key": "host/partner"}, "GET orders.localhost:7071/api/hello/1 192.0.2.1:1234 VALUE-OF-PARTNER ", "GET /api/hello/1 host/partner"},
		"the master key":  {testPage, map[string]string{"method": "GET", "p0": "1", "key": "master/_master"}, "GET orders.localhost:7071/api/hello/1 192.0.2.1:1234 VALUE-OF-MASTER ", "GET /api/hello/1 master/_master"},
		"one's own":       {testPage, map[string]string{"method": "GET", "p0": "1", "key": "typed", "typed": "VALUE-OF-OWN"}, "GET orders.localhost:7071/api/hello/1 192.0.2.1:1234 VALUE-OF-OWN ", "GET /api/hello/1 typed"},
		"none":            {testPage, map[string]string{"method": "GET", "p0": "1", "key": "none", "typed": "VALUE-OF-OWN"}, "GET orders.localhost:7071/api/hello/1 192.0.2.1:1234  ", "GET /api/hello/1 none"},
		"that of a timer": {strings.Replace(testPage, "hello", "tick", 1), map[string]string{"method": "DELETE", "key": "master/_master", "body": `"in"`}, `POST orders.localhost:7071/admin/functions/tick 192.0.2.1:1234 VALUE-OF-MASTER {"input":"\"in\""}`, "POST /admin/functions/tick master/_master"},
	} {
		for _, partial := range []string{"", "true"} {
			f := newTested(t, echo, owner, 0)
			body := f.run(c.path, c.fields, "HX-Request", partial)
			if len(f.requests) != 1 || f.requests[0] != c.want {
				t.Errorf("%s: the app got %q, want %q", name, f.requests, c.want)
			}
			if len(f.runs) != 1 {
				t.Fatalf("%s: %d runs are told", name, len(f.runs))
			}
			run := f.runs[0]
			if told := run.Method + " " + run.Path + " " + run.Key; told != c.told || run.Who.ObjectID != alice.ObjectID || run.Remote != "192.0.2.1:1234" || run.Status != 200 {
				t.Errorf("%s: told is %+v, want %q", name, run, c.told)
			}
			if strings.Contains(body, "VALUE-OF") || !strings.Contains(body, "200 OK") || !strings.Contains(body, "&lt;script&gt;alert(1)") || strings.Contains(body, "<script>alert") {
				t.Errorf("%s: the page is %s", name, body)
			}
			if whole := strings.Contains(body, "<!DOCTYPE html>"); whole == (partial != "") {
				t.Errorf("%s: a whole page: %v", name, whole)
			}
		}
	}
}

// TestWhatMayNotBeReadIsNotUsed has no role for keys: the page says which is missing
// and offers none of them; asking for one all the same runs nothing.
func TestWhatMayNotBeReadIsNotUsed(t *testing.T) {
	const missing = "Microsoft.Web/sites/functions/listkeys/action"
	f := newTested(t, echo, []authz.Permission{{Actions: []string{"*/read"}}}, 0)
	f.fixture.calls = nil
	body := f.do("GET", testPage, nil).Body.String()
	if strings.Contains(body, `value="function/`) || strings.Contains(body, `value="master/`) || !strings.Contains(body, "<code>"+missing+"</code>") || !strings.Contains(body, `<option value="typed" selected>`) {
		t.Errorf("the page of a reader: %s", body)
	}
	f.refused = "/listkeys"
	body = f.run(testPage, map[string]string{"method": "GET", "p0": "1", "key": "function/default"})
	if !strings.Contains(body, missing) || !strings.Contains(body, "no role allows it") || !strings.Contains(body, "was not run") || len(f.requests) > 0 || len(f.runs) > 0 {
		t.Errorf("%d requests, %d runs: %s", len(f.requests), len(f.runs), body)
	}
	if body = f.run(testPage, map[string]string{"method": "GET", "p0": "1", "key": "typed", "typed": "VALUE-OF-OWN"}); len(f.requests) != 1 || strings.Contains(body, "VALUE-OF") {
		t.Errorf("with a key of one's own: %q", f.requests)
	}
	f.refused = "/functions/hello"
	if w := f.do("GET", testPage, nil); w.Code != http.StatusForbidden {
		t.Errorf("of a function that may not be read: %d", w.Code)
	}
	if f.run(testPage, map[string]string{"method": "GET", "p0": "1", "key": "none"}); len(f.requests) != 1 {
		t.Error("a function that may not be read is run")
	}
}

// TestKeysAreOfferedByName leaves out those whose values nobody gets.
func TestKeysAreOfferedByName(t *testing.T) {
	f := newTested(t, echo, []authz.Permission{{Actions: []string{"*"}}}, 0)
	body := f.do("GET", testPage, nil).Body.String()
	for _, want := range []string{`value="function/default" selected`, `value="function/&lt;b&gt;odd/one"`, `value="master/_master"`, `value="host/partner"`, "does not work now", "<option selected>POST"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, other := range []string{"function/secret", "function/old", "queue", "VALUE-OF"} {
		if strings.Contains(body, other) {
			t.Errorf("the page has %s", other)
		}
	}
	for _, call := range f.calls {
		if strings.HasSuffix(call, "/listkeys") {
			t.Error("values are read to show names")
		}
	}
}

// TestFaultsAreSaidAndNothingIsRun fills in what cannot be sent: no key is read for it.
func TestFaultsAreSaidAndNothingIsRun(t *testing.T) {
	for name, c := range map[string]struct {
		fields map[string]string
		says   string
	}{
		"nothing":          {map[string]string{"method": "GET", "key": "function/default"}, "Fill in <bdi>id</bdi>"},
		"a way out":        {map[string]string{"method": "GET", "p0": "..", "key": "function/default"}, "cannot be"},
		"another host":     {map[string]string{"method": "GET", "p0": "1", "headers": "Host: evil.example", "key": "function/default"}, "belongs to the connection"},
		"no method":        {map[string]string{"method": "TRACE", "p0": "1", "key": "function/default"}, "Choose a method"},
		"no key typed":     {map[string]string{"method": "GET", "p0": "1", "key": "typed"}, "Type a key"},
		"a key nobody has": {map[string]string{"method": "GET", "p0": "1", "key": "function/none"}, "There is no key <bdi>none</bdi>"},
		"a system key":     {map[string]string{"method": "GET", "p0": "1", "key": "system/queue"}, "There is no key"},
	} {
		f := newTested(t, echo, []authz.Permission{{Actions: []string{"*"}}}, 0)
		f.fixture.calls = nil
		body := f.run(testPage, c.fields)
		if !strings.Contains(body, c.says) || !strings.Contains(body, "The function was not run") || len(f.requests) > 0 || len(f.runs) > 0 {
			t.Errorf("%s: %d requests: %s", name, len(f.requests), body)
		}
		for _, call := range f.calls {
			if c.fields["key"] == "function/default" && strings.HasSuffix(call, "/listkeys") {
				t.Errorf("%s: the key is read", name)
			}
		}
	}
}

// TestAnAnswerThatDoesNotComeIsSaid shows a page at the end of the patience, and a run
// that was made is told all the same.
func TestAnAnswerThatDoesNotComeIsSaid(t *testing.T) {
	f := newTested(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, []authz.Permission{{Actions: []string{"*"}}}, time.Second)
	body := f.run(testPage, map[string]string{"method": "GET", "p0": "1", "key": "none"})
	if !strings.Contains(body, "no whole answer within <bdi>1</bdi> seconds") || len(f.runs) != 1 || f.runs[0].Status != 0 {
		t.Errorf("%+v: %s", f.runs, body)
	}
}

func TestARunThatIsNotRecordedIsSaid(t *testing.T) {
	f := newTested(t, echo, []authz.Permission{{Actions: []string{"*"}}}, 0)
	f.unrecorded = io.ErrUnexpectedEOF
	if body := f.run(testPage, map[string]string{"method": "GET", "p0": "1", "key": "none"}); !strings.Contains(body, "200 OK") || !strings.Contains(body, "could not be written to the audit record") {
		t.Error(body)
	}
}

// TestTheAddressOfAFunctionHasAKeyWhenAskedFor shows none before, and reads none.
func TestTheAddressOfAFunctionHasAKeyWhenAskedFor(t *testing.T) {
	const at = "/portal/apps/rg/orders/functions/hello/address"
	f := newTested(t, echo, []authz.Permission{{Actions: []string{"*"}}}, 0)
	body := f.do("GET", at, nil).Body.String()
	if !strings.Contains(body, "http://orders.localhost:7071/api/hello/{id:int}?code=") || strings.Contains(body, "VALUE-OF") || strings.Contains(strings.Join(f.calls, " "), "listkeys") {
		t.Errorf("before it is asked for: %s", body)
	}
	for key, want := range map[string]string{
		"function/default": `data-value="http://orders.localhost:7071/api/hello/{id:int}?code=VALUE-OF-DEFAULT"`,
		"master/_master":   `data-value="http://orders.localhost:7071/api/hello/{id:int}?code=VALUE-OF-MASTER"`,
		"none":             `data-value="http://orders.localhost:7071/api/hello/{id:int}"`,
		"function/none":    "There is no key",
	} {
		for _, partial := range []string{"", "true"} {
			if body := f.run(at, map[string]string{"key": key}, "HX-Request", partial); !strings.Contains(body, want) {
				t.Errorf("%s: %s", key, body)
			}
		}
	}
	f.refused = "/listkeys"
	if body := f.run(at, map[string]string{"key": "function/default"}); !strings.Contains(body, "Microsoft.Web/sites/functions/listkeys/action") || strings.Contains(body, "VALUE-OF") {
		t.Errorf("without the right to: %s", body)
	}
	if w := f.do("GET", strings.Replace(at, "hello", "tick", 1), nil); w.Code != http.StatusNotFound {
		t.Errorf("of a function that has none: %d", w.Code)
	}
	if len(f.requests) > 0 {
		t.Error("the app was asked")
	}
}
