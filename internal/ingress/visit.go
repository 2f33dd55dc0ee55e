package ingress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// visit is one request on its way.
type visit struct {
	in    *Ingress
	at    *route
	ctx   context.Context     // ends with the client
	w     http.ResponseWriter // nil for a connection that is no HTTP
	r     *http.Request
	to    *share   // the revision it is for
	on    *replica // nil while it waits
	tried []*replica
	// repeated says that a replica had the request and did not answer.
	repeated bool
	token    string // of the replica that the client was with

	pause time.Duration // before the replicas that were tried are tried again
	until time.Time     // when it stops waiting, the zero time before it waits
	queue *site         // where it has a place among those who wait
}

// Why a request gets no replica.
var (
	errGone   = errors.New("the app is gone")
	errNobody = errors.New("no revision of the app takes requests")
	errFailed = errors.New("the revision failed")
	errFull   = errors.New("too many requests wait")
	errLate   = errors.New("no replica was ready in time")
)

// serve answers the request.
func (v *visit) serve() {
	if !v.admit() {
		return
	}
	if v.at.app.Sticky {
		v.token = affinity(v.r)
	}
	if v.to = v.first(); v.to == nil {
		refuse(v.w, errNobody)
		return
	}
	v.to.revision.begin()
	defer func() { v.to.revision.end() }()
	for {
		if err := v.board(); err != nil {
			v.fail(err)
			return
		}
		if again := v.deliver(); !again {
			return
		}
	}
}

// admit reports whether the request may go on; if not, it is answered.
func (v *visit) admit() bool {
	a, caller := v.at.app, callerOf(v.r)
	switch {
	case a.Closed:
		denied(v.w, "This app's ingress settings cannot be understood, so nobody is let in.")
	case v.at.inside && !v.in.isInside(caller):
		unknown(v.w)
	case len(a.Revisions) == 0:
		unknown(v.w)
	case v.r.Method == http.MethodConnect:
		plain(v.w, http.StatusMethodNotAllowed, "CONNECT is not served.")
	case !a.Policy.AdmitsAddress(caller):
		denied(v.w, "Access from this address is denied.")
	case v.redirect():
	case !a.Policy.AdmitsCertificate(v.r):
		denied(v.w, "A client certificate is required.")
	case a.Policy.Preflight(v.w, v.r):
	default:
		return true
	}
	return false
}

// isInside reports whether a caller is one of the environment. Everybody on this
// machine's loopback is.
func (in *Ingress) isInside(caller netip.Addr) bool {
	return caller.IsLoopback() || in.cfg.Inside != nil && caller.IsValid() && in.cfg.Inside(caller)
}

// callerOf gives the address of the connection.
func callerOf(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	a, _ := netip.ParseAddr(host)
	return a.Unmap()
}

// redirect sends a client to HTTPS if the app wants that and it can be had.
func (v *visit) redirect() bool {
	if v.at.app.AllowInsecure || v.r.TLS != nil || v.in.cfg.HTTPS == nil {
		return false
	}
	host := v.in.cfg.HTTPS(v.at.host)
	if host == "" {
		return false
	}
	v.w.Header().Set("Location", "https://"+host+v.r.URL.RequestURI())
	v.w.WriteHeader(http.StatusMovedPermanently)
	return true
}

// first gives the revision to begin with: that of the replica the client was with,
// or the one whose turn it is. nil: none takes requests.
func (v *visit) first() *share {
	if v.at.fixed != nil {
		return v.at.fixed
	}
	if v.token != "" {
		for _, s := range v.at.app.shares {
			if v.on = s.revision.pickToken(v.at.port, v.token, nil); v.on != nil {
				return s
			}
		}
	}
	return v.at.app.choose()
}

// board gets the request a replica. While there is none it waits; its body is not
// read. Meanwhile the app may change, and with it the revision it is for.
func (v *visit) board() error {
	defer v.leave()
	for v.on == nil {
		news := v.at.app.site.listen()
		if err := v.follow(); err != nil {
			return err
		}
		if v.on != nil || v.seat() {
			break
		}
		if v.to.failed {
			return errFailed
		}
		if err := v.wait(news); err != nil {
			return err
		}
	}
	return nil
}

// seat takes a replica if one is ready.
func (v *visit) seat() bool {
	rev, port := v.to.revision, v.at.port
	if v.token != "" {
		v.on = rev.pickToken(port, v.token, v.tried)
	}
	if v.on == nil {
		v.on = rev.pick(port, v.tried)
	}
	return v.on != nil
}

// follow takes up what has changed of the app.
func (v *visit) follow() error {
	at, ok := v.in.table.Load().again(v.at)
	switch {
	case ok && at == v.at:
		return nil
	case !ok || len(at.app.Revisions) == 0:
		return errGone
	}
	had := v.to
	v.at = at
	if v.to = v.same(had); v.to == nil {
		v.to = v.first()
	}
	if v.to == nil {
		v.to = had // it has been counted there
		return errNobody
	}
	if v.to.revision != had.revision {
		v.move(had)
	}
	return nil
}

// same gives the share that a revision has now, nil if it gets no requests of this
// kind any more.
func (v *visit) same(had *share) *share {
	among := v.at.app.shares
	if v.at.fixed != nil {
		among = []*share{v.at.fixed}
	}
	i := slices.IndexFunc(among, func(s *share) bool { return s.revision == had.revision })
	if i < 0 {
		return nil
	}
	return among[i]
}

// move counts the request at another revision.
func (v *visit) move(from *share) {
	v.to.revision.begin()
	if v.queue != nil {
		from.revision.waiting.Add(-1)
		v.to.revision.waiting.Add(1)
	}
	from.revision.end()
	v.tried, v.pause = nil, 0
}

// wait waits for news, with a place among those who do. Replicas that refused are
// asked again after a while, as they can be ready before they listen.
func (v *visit) wait(news <-chan struct{}) error {
	if v.queue == nil {
		if !v.in.enter(v.at.app.site) {
			return errFull
		}
		v.queue = v.at.app.site
		v.to.revision.waiting.Add(1)
	}
	now := v.in.cfg.Clock.Now()
	if v.until.IsZero() {
		v.until = now.Add(v.in.cfg.Timeout)
	}
	left := v.until.Sub(now)
	if left <= 0 {
		return errLate
	}
	if v.in.cfg.Activate != nil {
		v.in.cfg.Activate(v.to.revision.ref)
	}
	if len(v.tried) > 0 {
		v.pause = min(max(2*v.pause, firstPause), longestPause)
		left = min(left, v.pause)
	}
	timer := v.in.cfg.Clock.NewTimer(left)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C():
		v.tried = nil
	case <-v.ctx.Done():
		return context.Cause(v.ctx)
	case <-v.in.ctx.Done():
		return errGone
	}
	return nil
}

// Pauses before a replica that refused a connection is asked again.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = time.Second
)

// leave gives the place among those who wait back.
func (v *visit) leave() {
	if v.queue != nil {
		v.in.leave(v.queue)
		v.to.revision.waiting.Add(-1)
		v.queue = nil
	}
}

// fail answers a request that got no replica.
func (v *visit) fail(err error) {
	if v.ctx.Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there to be told
	}
	refuse(v.w, err)
}
