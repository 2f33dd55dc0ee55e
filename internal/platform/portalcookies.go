package platform

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/page"
)

// apart keeps the portal and an app that may be at the same host from each other, as
// browsers do not: a cookie of a host goes to all of its ports, and any of them can set
// it. The app gets none of the portal's cookies, and sets none. Call end when the app
// has answered.
func apart(w http.ResponseWriter, r *http.Request) *partedAnswer {
	hideFromApps(r)
	return &partedAnswer{ResponseWriter: w}
}

// hideFromApps takes the portal's cookies from a request for an app.
func hideFromApps(r *http.Request) {
	lines := r.Header["Cookie"]
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, page.Cookie) }) {
		return
	}
	var kept []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			if part = strings.TrimSpace(part); part != "" && !portals(part) {
				kept = append(kept, part)
			}
		}
	}
	r.Header.Del("Cookie")
	if len(kept) > 0 {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
}

// portals reports whether a cookie is the portal's, by the beginning of its field. A
// cookie without a name is sent as its value alone, which can look like another one
// with a name.
func portals(field string) bool {
	name := strings.TrimLeft(field, " \t=\"")
	return len(name) >= len(page.Cookie) && strings.EqualFold(name[:len(page.Cookie)], page.Cookie)
}

// partedAnswer is an app's answer without cookies of the portal.
type partedAnswer struct {
	http.ResponseWriter
	wrote    bool // the final head
	hijacked bool
}

// Header gives the fields of the answer. Who took the connection over writes the head
// from what this gives: it is clean whenever it is asked for.
func (a *partedAnswer) Header() http.Header {
	h := a.ResponseWriter.Header()
	if a.hijacked {
		part(h)
	}
	return h
}

// WriteHeader implements http.ResponseWriter, for heads of interim answers too.
func (a *partedAnswer) WriteHeader(status int) {
	if !a.wrote {
		part(a.ResponseWriter.Header())
		a.wrote = status >= http.StatusOK || status == http.StatusSwitchingProtocols
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (a *partedAnswer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(b)
}

// FlushError sends what there is, the head too.
func (a *partedAnswer) FlushError() error {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Hijack takes the connection over.
func (a *partedAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	a.hijacked = err == nil
	return conn, buffered, err
}

// Unwrap gives the writer below.
func (a *partedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// end takes cookies out of what follows the body.
func (a *partedAnswer) end() {
	if !a.hijacked {
		part(a.ResponseWriter.Header())
	}
}

// part takes the portal's cookies out of an answer's fields.
func part(h http.Header) {
	for _, name := range []string{"Set-Cookie", http.TrailerPrefix + "Set-Cookie"} {
		set := h[name]
		if !slices.ContainsFunc(set, portals) {
			continue
		}
		if set = slices.DeleteFunc(slices.Clone(set), portals); len(set) == 0 {
			delete(h, name)
			continue
		}
		h[name] = set
	}
}
