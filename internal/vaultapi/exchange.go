package vaultapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
)

// exchange is one request on its way to its answer.
type exchange struct {
	*service
	w      http.ResponseWriter
	r      *http.Request
	vault  vault.Vault
	target target
	query  query
	event  Event

	values  [8]string // of header fields; see field
	used    int
	handled bool // the secrets were asked to do something
}

// reply is what is answered.
type reply struct {
	status int
	body   []byte // JSON; nil for none
}

// ServeHTTP answers without ever redirecting.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{service: s, w: w, r: r}
	x.begin()
	re, err := x.guarded()
	if err != nil {
		re = x.failure(err)
	}
	if err := x.audit(re.status); err != nil {
		re = x.failure(err)
	}
	x.event.Status, x.event.Latency = re.status, s.Clock.Now().Sub(x.event.Time)
	x.send(re)
	s.OnEvent(x.event)
}

// begin sets what all answers have.
func (x *exchange) begin() {
	x.event.Time = x.Clock.Now()
	x.event.Source = x.Source(x.r)
	x.event.RequestID = uuid.NewString()
	x.event.CorrelationID = plainID(x.r.Header.Get("X-Ms-Correlation-Request-Id"))
	if x.event.CorrelationID == "" {
		x.event.CorrelationID = x.event.RequestID
	}
	h := x.w.Header()
	h["Cache-Control"], h["Pragma"], h["Expires"] = noStore, noCache, expired
	h["X-Content-Type-Options"], h["X-Ms-Keyvault-Service-Version"] = noSniff, serviceVersion
	if x.StrictTransport {
		h["Strict-Transport-Security"] = strictTransport
	}
	x.field("X-Ms-Request-Id", x.event.RequestID)
	x.field("X-Ms-Keyvault-Region", x.Region)
	x.field("X-Ms-Keyvault-Network-Info", networkInfo(x.event.Source))
	if id := plainID(x.r.Header.Get("X-Ms-Client-Request-Id")); id != "" {
		x.field("X-Ms-Client-Request-Id", id)
	}
}

// Header fields that are the same in all answers. They are shared and never
// changed.
var (
	noStore         = []string{"no-cache, no-store"}
	noCache         = []string{"no-cache"}
	expired         = []string{"-1"}
	noSniff         = []string{"nosniff"}
	serviceVersion  = []string{"1.9.2150.1"}
	strictTransport = []string{"max-age=31536000"}
	jsonType        = []string{"application/json; charset=utf-8"}
)

// field sets a header field, whose name must be in canonical form, without making
// a slice for it.
func (x *exchange) field(name, value string) {
	if x.used == len(x.values) {
		x.w.Header().Set(name, value)
		return
	}
	x.values[x.used] = value
	x.w.Header()[name] = x.values[x.used : x.used+1 : x.used+1]
	x.used++
}

func networkInfo(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "conn_type=Unknown;"
	case a.Is6():
		return "conn_type=Ipv6;addr=" + a.String() + ";act_addr_fam=InterNetworkV6;"
	}
	return "conn_type=Ipv4;addr=" + a.String() + ";act_addr_fam=InterNetwork;"
}

// plainID gives an id that a client made up, or "" for text that is none and could
// confuse who reads it in a log.
func plainID(text string) string {
	if len(text) > 64 {
		return ""
	}
	for _, c := range []byte(text) {
		if !(c == '-' || c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return ""
		}
	}
	return text
}

// failure makes the answer for an error.
func (x *exchange) failure(err error) reply {
	f, hidden := faultOf(err)
	if hidden {
		x.Log.ErrorContext(x.r.Context(), "vault: a request failed",
			"vault", x.event.Vault, "operation", x.event.Operation, "request", x.event.RequestID, "error", err)
		f.message = "The request could not be served; the server's log has the reason under request id " + x.event.RequestID + "."
	}
	x.event.Code, x.event.Reason = f.code, f.code
	if f.inner != "" {
		x.event.Reason = f.inner
	}
	if f.reason != "" {
		x.event.Reason = f.reason
	}
	if f.status == http.StatusUnauthorized {
		x.field("Www-Authenticate", x.challenge(f.renew))
	}
	if f.allow != "" {
		x.field("Allow", f.allow)
	}
	if f.wait > 0 {
		x.field("Retry-After", strconv.Itoa(int(math.Ceil(f.wait.Seconds()))))
	}
	return reply{f.status, f.envelope(nil)}
}

// challenge tells where to get a token for what. Clients take it apart at blanks
// and equals signs, so that it has no others. With renew it also makes them not
// use the token they have.
func (x *exchange) challenge(renew bool) string {
	text := `Bearer authorization="` + plainURL(x.LoginURL(x.r.Host)) + `", resource="` + plainURL(x.Resource(x.r.Host)) + `"`
	if renew {
		text += `, error="insufficient_claims", claims="` + token.RenewalClaims(x.event.Time) + `"`
	}
	return text
}

func plainURL(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '"' || r == '=' || r == '\\' || r == ',' {
			return -1
		}
		return r
	}, s)
}

// send writes the answer.
func (x *exchange) send(re reply) {
	if re.body != nil {
		x.w.Header()["Content-Type"] = jsonType
		x.field("Content-Length", strconv.Itoa(len(re.body)))
	}
	x.w.WriteHeader(re.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(re.body) // the client is gone: nobody is left to tell
	}
}

// auditTime bounds how long recording a request may take once its client is gone.
const auditTime = 10 * time.Second

// audit records what was changed or backed up. Its error says that the answer
// must be withheld.
func (x *exchange) audit(status int) error {
	x.event.Status = status
	if !x.handled || !x.target.endpoint.audited() {
		return nil
	}
	// A write that failed half way may have happened all the same.
	done := x.event.Code == "" || status >= statusGone
	x.event.Changed = done && x.target.endpoint != backupSecret
	if !done {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), auditTime)
	defer cancel()
	if err := x.Audit(ctx, x.event); err != nil {
		x.Log.ErrorContext(ctx, "vault: an operation could not be recorded",
			"vault", x.event.Vault, "operation", x.event.Operation, "request", x.event.RequestID, "error", err)
		return problem.New(problem.Unavailable, "the operation was carried out but could not be recorded, so its answer is withheld").WithNext("try again later")
	}
	x.event.Audited = true
	return nil
}

// errPanic is what a request fails with that made its server panic. What it
// panicked with is not kept: it could hold a value.
var errPanic = errors.New("the handler panicked")
