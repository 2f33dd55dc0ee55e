package ingress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/hop"
)

// errQuiet ends requests for which nothing moved for too long.
var errQuiet = errors.New("nothing moved for too long")

// errClosing ends connections of other protocols when the ingress ends.
var errClosing = errors.New("the ingress ends")

// maxKept is the largest body, in bytes, that is read before it is sent, so that
// it can be sent to another replica; a larger one is not touched before a
// connection is there.
const maxKept = 16 << 10

// deliver hands the request to its replica and the answer to the client. again is
// true if the replica did not take the connection, so that another one can have the
// request.
func (v *visit) deliver() (again bool) {
	on := v.on
	defer on.release()
	a := answer{ResponseWriter: v.w, visit: v}
	a.keep.start(v.ctx, v.in.cfg.Timeout)
	defer a.keep.end()
	if err := v.keepBody(&a.keep); err != nil {
		v.unsent(&a)
		return false
	}
	r := v.r.WithContext(a.keep.ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &movingBody{ReadCloser: r.Body, keep: &a.keep}
	}
	err := v.send(&a, r, on.target(v.at.port))
	if err == nil {
		return false
	}
	if a.wrote || a.hijacked {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	if (refused(err) || v.repeat(err)) && v.ctx.Err() == nil && !a.keep.fired.Load() {
		v.on, v.tried = nil, append(v.tried, on)
		v.rewind()
		return true
	}
	v.broken(&a, err)
	return false
}

// send picks the way to a replica.
func (v *visit) send(a *answer, r *http.Request, to *target) error {
	app := v.at.app
	r = unswitched(r)
	if upgrade := len(r.Header["Upgrade"]) > 0; upgrade || app.TLS || app.Transport == HTTP2 {
		return v.in.other.send(a, r, v, to.addr, upgrade)
	}
	req := hop.Request{Target: requestTarget(r), Set: v.fields(), Drop: dropped[:]}
	return to.client.Relay(a, r, &req)
}

// unswitched keeps a client from switching to HTTP/2 on its connection, which nobody
// must grant: what it would ask there would reach the replica unseen, with fields of
// the client's choice about where it comes from and whose certificate it has.
func unswitched(r *http.Request) *http.Request {
	for _, line := range r.Header["Upgrade"] {
		for one := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(one), "/")
			if strings.EqualFold(name, "h2c") || strings.EqualFold(name, "h2") || strings.EqualFold(name, "HTTP") || strings.EqualFold(name, "TLS") {
				out := *r
				out.Header = r.Header.Clone()
				out.Header.Del("Upgrade")
				out.Header.Del("HTTP2-Settings")
				return &out
			}
		}
	}
	return r
}

// requestTarget gives the path and query as the client sent them.
func requestTarget(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") && !strings.Contains(r.RequestURI, "#") {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// refused reports whether a replica did not take the connection.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// repeat reports whether a request that a replica had, and did not answer, is made
// once more: the replica may have been on its way out. Doing it twice must do no
// harm.
func (v *visit) repeat(err error) bool {
	if v.repeated || problem.KindOf(err) != problem.Unavailable || errors.Is(err, worker.ErrClientGone) {
		return false
	}
	switch v.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
	default:
		return false
	}
	if _, once := v.r.Body.(openBody); once || len(v.r.Header["Upgrade"]) > 0 {
		return false
	}
	v.repeated = true
	return true
}

// broken answers a request that a replica had and did not answer.
func (v *visit) broken(a *answer, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case a.keep.fired.Load():
		plain(v.w, http.StatusGatewayTimeout, "stream timeout")
	case v.ctx.Err() != nil, errors.Is(err, worker.ErrClientGone):
		panic(http.ErrAbortHandler)
	case errors.As(err, &tooLarge), problem.KindOf(err) == problem.TooLarge:
		plain(v.w, http.StatusRequestEntityTooLarge, "The request is too large.")
	case problem.KindOf(err) == problem.Invalid:
		plain(v.w, http.StatusBadRequest, "The request line is not valid.")
	case problem.KindOf(err) == problem.Unavailable:
		plain(v.w, http.StatusServiceUnavailable, "The replica ended the connection before it answered.")
	default:
		plain(v.w, http.StatusBadGateway, "The replica's answer is not valid HTTP.")
	}
	v.in.cfg.Log.Debug("a replica did not answer", "revision", v.to.revision.ref.String(), "reason", err)
}

// dropped are fields that say what only this ingress can know.
var dropped = [...]string{"X-Forwarded-Client-Cert"}

// fields are those that tell the app about its client.
func (v *visit) fields() []hop.Field {
	proto := "http"
	if v.r.TLS != nil {
		proto = "https"
	}
	from := callerOf(v.r).String()
	if prior := v.r.Header["X-Forwarded-For"]; len(prior) > 0 {
		from = strings.Join(prior, ", ") + ", " + from
	}
	set := append(make([]hop.Field, 0, 4),
		hop.Field{Name: "X-Forwarded-For", Value: from},
		hop.Field{Name: "X-Forwarded-Proto", Value: proto},
		hop.Field{Name: "X-Forwarded-Host", Value: v.r.Host})
	if v.at.app.Policy.ForwardsCertificate() {
		if text := certificate(v.r); text != "" {
			set = append(set, hop.Field{Name: "X-Forwarded-Client-Cert", Value: text})
		}
	}
	return set
}

// certificate gives the client's certificate for the app.
func certificate(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	var chain []byte
	for _, c := range r.TLS.PeerCertificates {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	own := r.TLS.PeerCertificates[0].Raw
	sum := sha256.Sum256(own)
	escaped := func(text []byte) string { return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20") }
	return "Hash=" + hex.EncodeToString(sum[:]) +
		`;Cert="` + escaped(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own})) + `";Chain="` + escaped(chain) + `";`
}

// keptBody is a small body that can be sent again.
type keptBody struct {
	bytes.Reader
	text []byte
}

// Close implements io.Closer.
func (*keptBody) Close() error { return nil }

// openBody is a large body. Clients of replicas close what they could not send;
// it stays open for the next try, and the server closes it.
type openBody struct{ io.Reader }

// Close implements io.Closer.
func (openBody) Close() error { return nil }

// unsent ends a request whose client did not send all of it.
func (v *visit) unsent(a *answer) {
	if !a.keep.fired.Load() {
		panic(http.ErrAbortHandler)
	}
	v.w.Header().Set("Connection", "close")
	plain(v.w, http.StatusRequestTimeout, "The request's body did not come in time.")
}

// keepBody makes the body one that survives a replica that refuses.
func (v *visit) keepBody(k *keeper) error {
	switch b := v.r.Body.(type) {
	case nil, *keptBody, openBody:
		return nil
	default:
		if b == http.NoBody || v.r.ContentLength == 0 {
			return nil
		}
	}
	r := *v.r
	if n := r.ContentLength; n > 0 && n <= maxKept {
		text := make([]byte, n)
		// Reading does not end with a context.
		unblock := context.AfterFunc(k.ctx, func() { _ = http.NewResponseController(v.w).SetReadDeadline(time.Unix(1, 0)) })
		_, err := io.ReadFull(&movingBody{r.Body, k}, text)
		if unblock(); err != nil {
			return err
		}
		kept := &keptBody{text: text}
		kept.Reset(text)
		r.Body = kept
	} else {
		r.Body = openBody{r.Body}
	}
	v.r = &r
	return nil
}

// rewind makes the body ready to be sent again.
func (v *visit) rewind() {
	if b, ok := v.r.Body.(*keptBody); ok {
		b.Reset(b.text)
	}
}

// keeper gives a request up for which nothing moves. It goes by real time: it is
// about silence on the network.
type keeper struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration
	moved  atomic.Int64 // time of the last byte, since start
	begun  time.Time
	timer  *time.Timer
	fired  atomic.Bool
}

func (k *keeper) start(ctx context.Context, limit time.Duration) {
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.limit, k.begun = limit, time.Now()
	k.timer = time.AfterFunc(limit, k.check)
}

func (k *keeper) check() {
	quiet := time.Since(k.begun) - time.Duration(k.moved.Load())
	if quiet < k.limit {
		k.timer.Reset(k.limit - quiet)
		return
	}
	k.fired.Store(true)
	k.cancel(errQuiet)
}

// move says that something moved.
func (k *keeper) move() { k.moved.Store(int64(time.Since(k.begun))) }

func (k *keeper) end() {
	k.timer.Stop()
	k.cancel(nil)
}

// movingBody notices what of a body moves.
type movingBody struct {
	io.ReadCloser
	keep *keeper
}

// Read implements io.Reader.
func (b *movingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.keep.move()
	}
	return n, err
}
