// Package msi owns the endpoint at which a workload gets tokens of its managed
// identities, in the two dialects that client libraries speak: that of App
// Service, Functions and Container Apps, and that of virtual machines (IMDS). One
// handler serves one workload. It does not know which identities are assigned, how
// tokens are made, or what becomes of the events it reports: it asks and tells.
package msi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/token"
)

// Config is what a handler needs. Identities, Issue, Clock and Log must be set.
type Config struct {
	// Header is the secret that the workload proves itself with. Without it, the
	// handler of [New] refuses everything, and [Listen] makes one. IMDS has none.
	Header string
	// Identities gives what is assigned to the workload. It is asked for every
	// request, so that changes act at once.
	Identities func(context.Context) ([]identity.Assigned, error)
	// Issue gives a token of an identity for a resource as the client named it. It
	// is that of tokens.Issuer: problem.Invalid is about the resource, NotFound,
	// Unauthenticated and Denied about the identity, and all three are final.
	Issue func(ctx context.Context, who identity.Assigned, resource string) (token.Token, error)
	Clock clock.Clock
	Log   *slog.Logger

	// WindowsErrors words errors as the platform does on Windows, where the members
	// have other names than on Linux.
	WindowsErrors bool
	TenantID      string // IMDS tells it
	Location      string // likewise, for clients that look for the region
	// OnEvent takes the outcome of every token request. It must not block. May be
	// nil.
	OnEvent func(Event)
	// Fault is asked before a token is given to a client that proved itself: its
	// error makes the request fail as a broken token service does. May be nil.
	Fault func(context.Context) error
}

// Event is the outcome of a token request. It holds nothing secret.
type Event struct {
	Time          time.Time
	Granted       bool
	Status        int
	Reason        string            // of a denial, or what is odd about a grant; for operators
	Identity      identity.Assigned // the zero value until it is known
	Selector      string            // "client_id=…" as asked; "" for none
	Resource      string            // as asked
	TokenID       string            // the token's uti
	Source        string
	CorrelationID string // as answered; "" where it was not
	Client        string // the library, as it says
}

// service is what both dialects have in common. It is safe for concurrent use.
type service struct {
	Config
}

func newService(cfg Config) *service {
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	if cfg.Fault == nil {
		cfg.Fault = func(context.Context) error { return nil }
	}
	return &service{cfg}
}

// exchange is one request on its way.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	event Event
}

func (s *service) begin(w http.ResponseWriter, r *http.Request) *exchange {
	source, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address stands for all unknown ones
	return &exchange{w: w, r: r, event: Event{
		Time: s.Clock.Now().UTC(), Source: source.Addr().Unmap().String(), Client: clip(r.UserAgent()),
	}}
}

// chooser gives the identity that a query asks for. The note is for operators; the
// error a *fault or *missing.
type chooser func(assigned []identity.Assigned, q query) (who identity.Assigned, note string, err error)

// give does what an exchange is for, up to the answer, once the client has proved
// itself.
func (s *service) give(x *exchange, q query, choose chooser) (token.Token, error) {
	x.event.Selector, x.event.Resource = q.selector(), clip(q.resource)
	t, err := s.try(x, q, choose)
	var refused *identity.Refused
	if errors.As(err, &refused) && refused.Reason == identity.TokensExpired {
		return s.try(x, q, choose) // its tokens were expired since it was looked up
	}
	return t, err
}

func (s *service) try(x *exchange, q query, choose chooser) (token.Token, error) {
	ctx := x.r.Context()
	assigned, err := s.Identities(ctx)
	if err != nil {
		return token.Token{}, retried(err)
	}
	who, note, err := choose(assigned, q)
	x.event.Identity, x.event.Reason = who, note
	if err != nil {
		return token.Token{}, err
	}
	if err := s.Fault(ctx); err != nil {
		return token.Token{}, retried(err)
	}
	t, err := s.Issue(ctx, who, q.resource)
	x.event.TokenID = t.ID
	return t, err
}

// retried makes an error one that clients try again after, whatever its kind: it
// says nothing about their request.
func retried(err error) error {
	return &fault{status: http.StatusInternalServerError, code: "server_error", text: textFailed, reason: err.Error()}
}

// correlate gives the exchange's correlation id, which only those answers have
// that say something went wrong.
func (x *exchange) correlate() string {
	if x.event.CorrelationID == "" {
		x.event.CorrelationID = uuid.NewString()
	}
	return x.event.CorrelationID
}
