package ingress

import (
	"bufio"
	"net"
	"net/http"
)

// answer passes an answer on to the client, with what the ingress adds to its head.
type answer struct {
	http.ResponseWriter
	visit    *visit
	keep     keeper
	wrote    bool // the final head
	hijacked bool
}

// WriteHeader adds what the app's settings ask for to the final head.
func (a *answer) WriteHeader(status int) {
	if status >= 200 && !a.wrote {
		a.wrote = true
		a.decorate(a.Header())
	}
	a.keep.move()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) decorate(h http.Header) {
	v := a.visit
	if v.at.app.Sticky && v.token != v.on.token {
		stay(h, v.on.token, v.r.TLS != nil)
	}
	if p := v.at.app.Policy; p.Shares(v.r) {
		p.Decorate(h, v.r)
	}
}

// Write implements io.Writer.
func (a *answer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.keep.move()
	return n, err
}

// Hijack takes the connection over for another protocol, which may be quiet for as
// long as it likes.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.decorate(a.Header())
	a.hijacked = true
	a.keep.timer.Stop()
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// Unwrap gives the writer below.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
