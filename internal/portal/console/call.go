package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a run.
const (
	Patience   = 100 * time.Second // for the whole answer
	maxShown   = 256 << 10         // bytes of a body that are read
	maxAnswer  = 64 << 10          // bytes of an answer's headers
	maxAll     = 32                // runs at a time
	maxOf      = 4                 // of one principal
	leastToken = 8                 // bytes of a key that is looked for in answers
)

// Dial connects to the apps, as a client at an address: "192.0.2.1:4711".
type Dial func(ctx context.Context, remote string) (net.Conn, error)

// answer is what came back, as it is shown.
type answer struct {
	Status  int
	Took    time.Duration
	Headers []field
	Body    string
	Size    int    // bytes of the body that came
	Cut     bool   // there is more of the body
	Binary  bool   // the body is no text
	Type    string // as the answer says
	Broken  string // key of a text: why it ended before its end, or did not begin
	Request string // what a refused caller can ask with
	To      string // where a redirection would lead
}

type field struct{ Name, Value string }

// call sends a request and reads the answer, as far as it is shown. It follows nothing.
// key is left out of what comes back.
func call(r *http.Request, dial Dial, remote, key string) answer {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, remote) },
		DisableKeepAlives:      true,
		DisableCompression:     true, // the body is shown as it comes
		MaxResponseHeaderBytes: maxAnswer,
	}
	defer t.CloseIdleConnections()
	began := time.Now() // how long somebody waits is the machine's time, in a drill too
	res, err := t.RoundTrip(r)
	if err != nil {
		return answer{Took: time.Since(began), Broken: brokenBy(r.Context(), err, "console.broken.none")}
	}
	defer res.Body.Close()
	a := answer{Status: res.StatusCode, Type: res.Header.Get("Content-Type")}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxShown+1))
	a.Took = time.Since(began)
	if err != nil {
		a.Broken = brokenBy(r.Context(), err, "console.broken.off")
	}
	a.take(res.Header, key)
	a.read(body, key)
	return a
}

// brokenBy gives the text for an answer that did not come whole.
func brokenBy(ctx context.Context, err error, other string) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "console.broken.late"
	case strings.Contains(err.Error(), "server response headers exceeded"): // net/http has no name for it
		return "console.broken.headers"
	}
	return other
}

// take takes the headers down.
func (a *answer) take(h http.Header, key string) {
	for name, values := range h {
		for _, v := range values {
			a.Headers = append(a.Headers, field{shown(name, key), shown(v, key)})
		}
	}
	slices.SortStableFunc(a.Headers, func(x, y field) int { return strings.Compare(x.Name, y.Name) })
	if a.Status >= 300 && a.Status < 400 {
		a.To = shown(h.Get("Location"), key)
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		if id := h.Get("X-Ms-Request-Id"); looksLikeID(id) {
			a.Request = id
		}
	}
}

// looksLikeID reports whether a text is of the form of those that the host gives out. A
// function can send any.
func looksLikeID(id string) bool {
	return len(id) == 36 && !strings.ContainsFunc(id, func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f')
	})
}

// shown makes text of what an app sent, without the key.
func shown(text, key string) string {
	if len(key) >= leastToken {
		text = strings.ReplaceAll(text, key, "••••••••")
		if bare := strings.TrimRight(key, "="); len(bare) >= leastToken { // as addresses have it: "…%3D%3D"
			text = strings.ReplaceAll(text, bare, "••••••••")
		}
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// read takes the body down.
func (a *answer) read(body []byte, key string) {
	if a.Cut = len(body) > maxShown; a.Cut {
		body = body[:maxShown]
	}
	a.Size = len(body)
	if a.Binary = !isText(body, a.Cut || a.Broken != "") || encoded(a); !a.Binary {
		a.Body = shown(string(body), key)
	}
}

// encoded reports whether the body is compressed, or text of another encoding than
// what pages have.
func encoded(a *answer) bool {
	for _, f := range a.Headers {
		if f.Name == "Content-Encoding" && !strings.EqualFold(f.Value, "identity") {
			return true
		}
	}
	_, params, err := mime.ParseMediaType(a.Type)
	return err == nil && strings.HasPrefix(strings.ToLower(params["charset"]), "utf-16")
}

// isText reports whether a body can be shown; one that was cut can end in the middle of
// a character.
func isText(body []byte, cut bool) bool {
	for range utf8.UTFMax - 1 {
		if last, size := utf8.DecodeLastRune(body); !cut || last != utf8.RuneError || size != 1 {
			break
		}
		body = body[:len(body)-1]
	}
	return utf8.Valid(body) && !bytes.ContainsFunc(body, func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\x1b'
	})
}
