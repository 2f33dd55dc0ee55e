package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of what is asked, beside that of the form.
const (
	maxLines  = 100      // of parameters and of headers
	maxQuery  = 8 << 10  // bytes
	maxHeader = 32 << 10 // bytes
)

// keyHeader carries a key; an address would be written down by others.
const keyHeader = "X-Functions-Key"

// methods are those that can be chosen.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}

// form is what was filled in. A key that was typed is never shown again.
type form struct {
	Method string
	Values []string // of the route's parameters
	Query  string   // "name=value" by lines
	Header string   // "Name: value" by lines
	Body   string
	Key    string // "none", "typed", or section and name of one to be looked up
	typed  string
}

// readForm takes what was filled in for a function.
func readForm(r *http.Request, f function) form {
	in := r.PostForm
	got := form{
		Method: in.Get("method"), Query: lines(in.Get("query")), Header: lines(in.Get("headers")), Body: lines(in.Get("body")),
		Key: in.Get("key"), typed: strings.TrimSpace(in.Get("typed")),
	}
	if got.Key == "" {
		got.Key = noKey
	}
	for i := range f.Route.Params {
		got.Values = append(got.Values, in.Get("p"+strconv.Itoa(i)))
	}
	return got
}

// lines undoes what browsers make of the ends of lines.
func lines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// Shown gives the form to be shown again, without what is a key or looks like one.
func (f form) Shown() form {
	f.typed = ""
	kept := strings.Split(f.Query, "\n")
	for i, line := range kept {
		if name, _, _ := strings.Cut(line, "="); strings.EqualFold(strings.TrimSpace(name), "code") {
			kept[i] = "code="
		}
	}
	f.Query = strings.Join(kept, "\n")
	return f
}

// Value gives what was filled in for a parameter, for templates.
func (f form) Value(i int) string { return valueOf(f.Values, i) }

// request makes what is sent to a function with a key; "" is none. It is for the app
// that the management API named, and for no other.
func (f form) request(ctx context.Context, to function, key string) (*http.Request, *fault) {
	if to.Admin {
		return f.adminRequest(ctx, to, key)
	}
	path, bad := to.Route.path(f.Values)
	if bad != nil {
		return nil, bad
	}
	query, bad := readQuery(f.Query)
	if bad != nil {
		return nil, bad
	}
	header, bad := readHeader(f.Header)
	if bad != nil {
		return nil, bad
	}
	if query != "" {
		path += "?" + query
	}
	body := []byte(f.Body)
	if f.Method == http.MethodGet || f.Method == http.MethodHead {
		body = nil
	}
	if len(body) > 0 && header.Get("Content-Type") == "" {
		header.Set("Content-Type", typeOf(body))
	}
	return newRequest(ctx, f.Method, to.Host, path, header, body, key)
}

// adminRequest asks the runtime API to run a function that no request starts.
func (f form) adminRequest(ctx context.Context, to function, key string) (*http.Request, *fault) {
	body, err := json.Marshal(map[string]string{"input": f.Body})
	if err != nil {
		return nil, &fault{Text: "console.method"}
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return newRequest(ctx, http.MethodPost, to.Host, "/admin/functions/"+url.PathEscape(to.Name), header, body, key)
}

func newRequest(ctx context.Context, method, host, path string, header http.Header, body []byte, key string) (*http.Request, *fault) {
	known := false
	for _, m := range methods {
		known = known || m == method
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil || !known || r.URL.Host != host || r.URL.User != nil {
		return nil, &fault{Text: "console.method"}
	}
	r.Header = header
	if key != "" {
		r.Header[keyHeader] = []string{key}
	}
	if header.Get("User-Agent") == "" {
		r.Header["User-Agent"] = []string{"latchkey-portal"}
	}
	return r, nil
}

func typeOf(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// each gives the lines of a text that say something, with their numbers.
func each(text string, take func(line, number string) *fault) *fault {
	n := 0
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if n++; n > maxLines {
			return &fault{Text: "console.lines", Name: strconv.Itoa(maxLines)}
		}
		if bad := take(line, strconv.Itoa(i+1)); bad != nil {
			return bad
		}
	}
	return nil
}

func readQuery(text string) (string, *fault) {
	var pairs []string
	bad := each(text, func(line, _ string) *fault {
		name, value, has := strings.Cut(line, "=")
		pair := url.QueryEscape(strings.TrimSpace(name))
		if has {
			pair += "=" + url.QueryEscape(value)
		}
		pairs = append(pairs, pair)
		return nil
	})
	query := strings.Join(pairs, "&")
	if bad == nil && len(query) > maxQuery {
		bad = &fault{Text: "console.query.long"}
	}
	return query, bad
}

// notSent are headers that are the connection's, or that would say something else than
// the rest of the form.
var notSent = map[string]string{
	"Host": "console.header.own", "Content-Length": "console.header.own", "Connection": "console.header.own", "Keep-Alive": "console.header.own",
	"Proxy-Connection": "console.header.own", "Te": "console.header.own", "Trailer": "console.header.own", "Transfer-Encoding": "console.header.own",
	"Upgrade": "console.header.own", "Expect": "console.header.own", "Http2-Settings": "console.header.own", keyHeader: "console.header.key",
}

func readHeader(text string) (http.Header, *fault) {
	header, size := http.Header{}, 0
	bad := each(text, func(line, number string) *fault {
		name, value, has := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !has || !token(name) || strings.ContainsFunc(value, control) {
			return &fault{Text: "console.header.bad", Name: number}
		}
		if text := notSent[http.CanonicalHeaderKey(name)]; text != "" {
			return &fault{Text: text, Name: name}
		}
		if Vouched(name) {
			return &fault{Text: "console.header.front", Name: name}
		}
		size += len(line)
		header.Add(name, value)
		return nil
	})
	if bad == nil && size > maxHeader {
		bad = &fault{Text: "console.header.long"}
	}
	return header, bad
}

func control(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// token reports whether a text can be a header's name.
func token(name string) bool {
	const others = "!#$%&'*+-.^_`|~"
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune(others, c)
	})
}
