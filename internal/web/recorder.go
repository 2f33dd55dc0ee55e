package web

import (
	"bufio"
	"net"
	"net/http"
)

// Recorder passes an answer on and remembers its status and size. It hands the
// optional powers of the writer below on through Unwrap, for
// [http.ResponseController].
type Recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	// BeforeHead, when set, runs once just before the head of the final answer
	// is written.
	BeforeHead func(http.Header)
}

// Reset makes the recorder ready for another answer.
func (r *Recorder) Reset(w http.ResponseWriter) { *r = Recorder{ResponseWriter: w} }

// Status gives the status written; 0 when nothing was written yet.
func (r *Recorder) Status() int { return r.status }

// Bytes gives the number of body bytes written so far.
func (r *Recorder) Bytes() int64 { return r.bytes }

// WriteHeader writes the head; interim (1xx) heads are passed on unrecorded.
func (r *Recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
		if r.BeforeHead != nil {
			r.BeforeHead(r.Header())
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write writes body bytes, after status 200 if no head was written.
func (r *Recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Hijack takes the connection over, for handlers that switch protocols.
func (r *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.status = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Unwrap gives the writer below.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
