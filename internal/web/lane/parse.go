package lane

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// request is one request with its context.
type request struct {
	http *http.Request
	ctx  requestContext
}

// parse reads a head of the lane and takes it from the buffer; nil, with nothing
// taken, when it is none.
func (c *conn) parse(head []byte) *request {
	if head == nil {
		return nil
	}
	n := len(head)
	text := string(head[:n-2])
	line, rest, _ := strings.Cut(text, "\r\n")
	r := &request{}
	r.ctx.conn = c
	r.http = new(http.Request).WithContext(&r.ctx)
	if !r.requestLine(line) || !r.fields(rest) {
		return nil
	}
	r.http.RemoteAddr = c.remote
	_, _ = c.br.Discard(n)
	return r
}

// requestLine takes "METHOD /target HTTP/1.1".
func (r *request) requestLine(line string) bool {
	method, rest, ok := strings.Cut(line, " ")
	target, proto, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || proto != "HTTP/1.1" || !plainMethod(method) || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return false
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return false
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	r.http.Method, r.http.URL, r.http.RequestURI = method, u, target
	r.http.Proto, r.http.ProtoMajor, r.http.ProtoMinor = "HTTP/1.1", 1, 1
	return true
}

func plainMethod(m string) bool {
	switch m {
	case "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// fields takes the header. Every field must be beyond doubt.
func (r *request) fields(rest string) bool {
	n := strings.Count(rest, "\r\n")
	header := make(http.Header, n)
	values := make([]string, n)
	hosts := 0
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !validValue(value) {
			return false
		}
		name, value = textproto.CanonicalMIMEHeaderKey(name), textproto.TrimString(value)
		switch verdict := r.special(name, value); {
		case verdict == refuse:
			return false
		case verdict == host:
			hosts++
			continue
		}
		if prior, ok := header[name]; ok {
			if name == "Content-Length" {
				return false
			}
			header[name] = append(prior, value)
			continue
		}
		values[0] = value
		header[name] = values[:1:1]
		values = values[1:]
	}
	r.http.Header = header
	return hosts == 1
}

const (
	ordinary = iota
	host
	refuse
)

// special deals with the fields that steer a connection or a message.
func (r *request) special(name, value string) int {
	switch name {
	case "Host":
		if value == "" || !httpguts.ValidHostHeader(value) {
			return refuse
		}
		r.http.Host = value
		return host
	case "Content-Length":
		n, ok := smallLength(value)
		if !ok {
			return refuse
		}
		r.http.ContentLength = n
	case "Connection":
		if !strings.EqualFold(value, "keep-alive") {
			return refuse
		}
	case "Transfer-Encoding", "Expect", "Upgrade", "Te", "Trailer", "Http2-Settings", "Keep-Alive", "Proxy-Connection":
		return refuse
	}
	return ordinary
}

// smallLength reads a length of at most maxBody written in the one usual way.
func smallLength(s string) (n int64, ok bool) {
	if s == "" || len(s) > 5 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, n <= maxBody && (s[0] != '0' || len(s) == 1)
}

// validValue refuses control characters; a carriage return or newline that is
// not part of a line's end is one.
func validValue(v string) bool {
	for i := range len(v) {
		if b := v[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}
