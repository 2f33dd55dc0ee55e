package nodeapp

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

const httpCode = `
const http = (name, handler, more = {}) => app.http(name, { authLevel: 'anonymous', handler, ...more });
http('echo', async (request) => ({
  status: 201,
  jsonBody: {
    method: request.method, url: new URL(request.url).pathname, query: Object.fromEntries(request.query),
    header: request.headers.get('x-asked'), params: request.params, body: await request.text(),
  },
}), { route: 'echo/{id}/{rest?}', methods: ['PUT'] });
http('json', async (request) => ({ jsonBody: { twice: (await request.json()).n * 2 } }));
http('bytes', async (request) => ({
  body: Buffer.from(await request.arrayBuffer()).reverse(), headers: { 'content-type': 'application/octet-stream' },
}));
http('size', async (request) => ({ body: String((await request.arrayBuffer()).byteLength) }));
http('big', async () => ({ body: Buffer.alloc(20 << 20, 7) }));
http('same', async (request) => ({ body: await request.blob() }));
http('cookies', async () => ({ cookies: [
  { name: 'a', value: '1', path: '/', httpOnly: true, secure: true, sameSite: 'Strict', maxAge: 60 },
  { name: 'b', value: 'x y' },
] }));
http('headers', async () => ({ headers: new Headers([['x-one', 'a'], ['x-one', 'b'], ['location', '/there']]), status: 302 }));
http('empty', async () => ({ status: 204 }));
http('nothing', async () => {});
http('object', async () => { const r = new HttpResponse({ body: 'made', status: 202 }); r.headers.set('x-made', 'yes'); return r; });
http('form', async (request) => { const f = await request.formData(); return { body: f.get('a') + (await f.get('file').text()) }; });
http('generator', async () => ({ body: (async function* () { yield 'one '; yield 'two'; })() }));
http('who', async (request) => ({ jsonBody: { user: request.user, key: request.headers.get('x-functions-key') } }), { authLevel: 'function' });
`

func TestHTTPFunctionsGetRequestsAndGiveAnswers(t *testing.T) {
	h := run(t, v4(httpCode))
	t.Run("everything about a request", func(t *testing.T) {
		var got struct {
			Method, URL, Header, Body string
			Query, Params             map[string]string
		}
		h.Send(t, testkit.Request{
			Method: "PUT", Path: "/api/echo/a%20b?q=1&q=2&r=%C3%A9", Header: map[string]string{"x-asked": "yes"}, Body: "grüß",
		}).WantStatus(t, 201).JSON(t, &got)
		if got.Method != "PUT" || got.URL != "/api/echo/a%20b" || got.Header != "yes" || got.Body != "grüß" || got.Params["id"] != "a b" {
			t.Errorf("the function saw %+v", got)
		}
		if got.Query["q"] != "1,2" || got.Query["r"] != "é" { // as on Azure, values of one name are joined
			t.Errorf("the function saw the query %q", got.Query)
		}
	})
	t.Run("json", func(t *testing.T) {
		a := h.Send(t, testkit.Request{Method: "POST", Path: "/api/json", Body: `{"n":21}`, Header: map[string]string{"content-type": "application/json"}})
		wantBody(t, a, `{"twice":42}`)
		if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
			t.Errorf("content type %q", got)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		a := h.Send(t, testkit.Request{Method: "POST", Path: "/api/bytes", Body: "\x00\xff\xfe\x01"})
		wantBody(t, a, "\x01\xfe\xff\x00")
	})
	t.Run("cookies", func(t *testing.T) {
		got := h.Get(t, "/api/cookies", "").Header.Values("Set-Cookie")
		if len(got) != 2 || !strings.HasPrefix(strings.ToLower(got[0]), "a=1;") || !strings.HasPrefix(got[1], "b=x%20y") {
			t.Fatalf("cookies %q", got)
		}
		for _, attribute := range []string{"path=/", "httponly", "secure", "samesite=strict", "max-age=60"} {
			if !strings.Contains(strings.ToLower(got[0]), attribute) {
				t.Errorf("cookie %q lacks %s", got[0], attribute)
			}
		}
	})
	t.Run("headers", func(t *testing.T) {
		a := h.Get(t, "/api/headers", "").WantStatus(t, 302)
		if one := strings.Join(a.Header.Values("x-one"), ", "); one != "a, b" || a.Header.Get("Location") != "/there" {
			t.Errorf("headers %v", a.Header)
		}
	})
	t.Run("no content", func(t *testing.T) {
		h.Get(t, "/api/empty", "").WantStatus(t, 204).WantEmpty(t)
		h.Get(t, "/api/nothing", "").WantStatus(t, 204).WantEmpty(t)
	})
	t.Run("a response object", func(t *testing.T) {
		a := h.Get(t, "/api/object", "").WantStatus(t, 202)
		if a.Body != "made" || a.Header.Get("x-made") != "yes" {
			t.Errorf("answer %+v", a)
		}
	})
	t.Run("a form", func(t *testing.T) {
		body := "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nfile\r\n--B--\r\n"
		wantBody(t, h.Send(t, testkit.Request{Method: "POST", Path: "/api/form", Body: body,
			Header: map[string]string{"content-type": "multipart/form-data; boundary=B"}}), "1file")
	})
	t.Run("a generator", func(t *testing.T) { wantBody(t, h.Get(t, "/api/generator", ""), "one two") })
	t.Run("the key stays with the host", func(t *testing.T) {
		h.Get(t, "/api/who", "").WantStatus(t, 401)
		if a := h.Get(t, "/api/who", h.HostKey(t)); strings.Contains(a.Body, h.HostKey(t)) || a.Status != 200 {
			t.Errorf("answer %+v", a)
		}
	})
}

func TestBodiesOf20MiBPassBothWays(t *testing.T) {
	h := run(t, v4(httpCode))
	large := strings.Repeat("0123456789abcdef", 20<<16)
	wantBody(t, h.Send(t, testkit.Request{Method: "POST", Path: "/api/size", Body: large}), "20971520")
	if a := h.Get(t, "/api/big", ""); a.Status != 200 || a.Body != strings.Repeat("\x07", 20<<20) {
		t.Errorf("status %d, %d bytes", a.Status, len(a.Body))
	}
	if a := h.Send(t, testkit.Request{Method: "POST", Path: "/api/same", Body: large}); a.Body != large {
		t.Errorf("status %d, %d bytes, or not the same", a.Status, len(a.Body))
	}
}

const streamCode = `
app.setup({ enableHttpStream: true });
app.http('same', { authLevel: 'anonymous', route: 'same/{id}', handler: async (request, context) => ({
  body: request.body, headers: { 'x-id': request.params.id, 'x-invocation': context.invocationId } }) });
app.http('size', { authLevel: 'anonymous', handler: async (request) => {
  let n = 0;
  for await (const chunk of request.body) n += chunk.length;
  return { body: String(n) };
} });
app.http('throws', { authLevel: 'anonymous', handler: async () => { throw new Error('streamed away'); } });
`

func TestStreamsPassBothWaysWhileTheyAreMade(t *testing.T) {
	h := run(t, v4(streamCode))
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", h.Base+"/api/same/7", reader)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = writer.Write([]byte("first\n")) }()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, next := range []string{"second\n", "third\n", ""} {
		line, err := lines.ReadString('\n') // while the request goes on
		if err != nil || line == "" {
			t.Fatalf("line %q: %v", line, err)
		}
		go func() {
			_, _ = writer.Write([]byte(next))
			if next == "" {
				writer.Close()
			}
		}()
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("rest %q: %v", rest, err)
	}
	if resp.Header.Get("x-id") != "7" || resp.Header.Get("x-invocation") == "" {
		t.Errorf("headers %v", resp.Header)
	}
	large := bytes.Repeat([]byte("x"), 20<<20)
	wantBody(t, h.Send(t, testkit.Request{Method: "POST", Path: "/api/size", Body: string(large)}), "20971520")
	h.Get(t, "/api/throws", "").WantStatus(t, 500)
	wantLog(t, h, "streamed away")
}

func TestHundredsOfRequestsAtOnceAreNotMixedUp(t *testing.T) {
	h := run(t, v4(httpCode))
	wrong := make(chan string, 400)
	done := make(chan struct{})
	for n := range 400 {
		go func() {
			defer func() { done <- struct{}{} }()
			body := strings.Repeat(string(rune('a'+n%26)), n*50)
			a, err := h.Try(t.Context(), testkit.Request{Method: "POST", Path: "/api/same", Body: body})
			if err != nil || a.Body != body {
				wrong <- "a body that is not its own, or none"
			}
		}()
	}
	for range 400 {
		receive(t, done)
	}
	close(wrong)
	if list := slices.Collect(func(yield func(string) bool) {
		for w := range wrong {
			if !yield(w) {
				return
			}
		}
	}); len(list) > 0 {
		t.Errorf("%d requests got %s", len(list), list[0])
	}
}
