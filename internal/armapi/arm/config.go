package arm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// Config is what an API works with.
type Config struct {
	// Authenticate tells who sends a request by its bearer token. It is called only
	// for requests that have an Authorization header. It fails with [InvalidToken],
	// [ExpiredToken], or any problem: Unauthenticated is an invalid token.
	Authenticate func(ctx context.Context, r *http.Request) (Caller, error)
	Authorize    Authorizer

	// Audit gets every call of an operation that is not public, when its outcome is
	// known and before it is answered. Its error withholds the answer of calls that
	// changed something or read secrets; nil records nothing.
	Audit func(ctx context.Context, e AuditEntry) error

	// Admit is asked after the authorisation and before the handler; nil admits.
	// It is where a missing resource group is refused.
	Admit func(c *Call) error

	// SubscriptionID is the only subscription there is; paths with another one are
	// not found. "" is any.
	SubscriptionID string

	// LoginURL gives where tokens are got, with the tenant and without a trailing
	// slash, for the host and port that a client used for this API.
	LoginURL func(host string) string

	Region string // in x-ms-routing-request-id; "" is LOCAL
	Log    *slog.Logger
	Clock  clock.Clock

	BodyTime time.Duration // longest a body may take to arrive; 0 is a minute

	// SlowPolling leaves out the header that lets Terraform poll without waiting.
	SlowPolling bool
	// StrictTransport sends Strict-Transport-Security. It is for hosts of their own:
	// browsers apply it to every port of a host, so that it would cut them off from
	// functions served over plain HTTP on localhost.
	StrictTransport bool
}

// AuditEntry is what is recorded of a call.
type AuditEntry struct {
	Time          time.Time
	Method        string
	Path          string // as sent, without the query
	Action        string // "" for operations that need a token only
	Scope         string
	Caller        Caller
	Remote        string // address of the connection
	Status        int
	Code          string // of the error, "" for success
	CorrelationID string
	Changed       bool   // something was changed, or may have been as the handler failed
	Secret        bool   // secrets were in the answer
	Denied        string // why the call was refused; "" if it was not
}

func (c Config) complete() (Config, error) {
	if c.Authenticate == nil || c.Authorize == nil {
		return c, errors.New("arm: Authenticate and Authorize must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Region == "" {
		c.Region = "LOCAL"
	}
	if c.BodyTime <= 0 {
		c.BodyTime = time.Minute
	}
	if c.LoginURL == nil {
		c.LoginURL = func(host string) string { return "https://" + host + "/common" }
	}
	if c.Audit == nil {
		c.Audit = func(context.Context, AuditEntry) error { return nil }
	}
	if c.Admit == nil {
		c.Admit = func(*Call) error { return nil }
	}
	return c, nil
}
