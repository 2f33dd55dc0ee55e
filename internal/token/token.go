// Package token owns access tokens: the signing keys, which all nodes share
// through the state, minting in the cloud's two token shapes, verifying, and the
// published key set. It does not know how callers prove who they are, who is
// still welcome (it asks), or what a token permits.
package token

import (
	"context"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Defaults of a [Config], and limits.
const (
	DefaultSkew     = 5 * time.Minute
	DefaultKeyAge   = 90 * 24 * time.Hour
	DefaultLead     = 24 * time.Hour // resource servers read key sets about daily
	DefaultCached   = 4096
	MaxLifetime     = 24 * time.Hour
	MaxToken        = 16 << 10 // bytes
	DefaultLifetime = time.Hour
)

// Config is what an [Authority] works with. Store, Clock, Log and TenantID are
// needed; the zero value of the rest is the default.
type Config struct {
	Store    state.Store
	Clock    clock.Clock
	Log      *slog.Logger
	TenantID string // GUID: the tid of tokens

	// Active says whether an object id's tokens of an epoch count, on every
	// verification, and gives its name. Its error refuses the token. It is
	// identity.Directory's Accepts.
	Active func(ctx context.Context, objectID string, epoch int64) (name string, err error)

	Skew   time.Duration // how far clocks may be apart
	KeyAge time.Duration // how long a key signs before another takes over
	Lead   time.Duration // how long a key is published before it signs
	Cached int           // verified tokens that are remembered

	// Algorithm is what new keys sign with; "" is RS256. Tokens of the other one
	// verify as long as their key is in use. After a change [Authority.Run] rotates
	// to a new key in the ordinary way. A release without this setting cannot read
	// keys for ES256.
	Algorithm Algorithm
}

// Algorithm is how a key signs, by its name in JWTs.
type Algorithm string

// Algorithms. RS256, with 2048 bits, is what the cloud signs with and every client
// reads. ES256, on the curve P-256, is made much faster; the cloud does not use it.
const (
	RS256 Algorithm = "RS256"
	ES256 Algorithm = "ES256"
)

// Proof is how a client proved who it is, as the claims appidacr and azpacr say.
type Proof string

// Proofs.
const (
	ProofNone        Proof = "0" // the client proved nothing: a person did, to the portal
	ProofSecret      Proof = "1"
	ProofCertificate Proof = "2" // managed identities and federated credentials too
)

// Method is more precisely how somebody proved who they are, in a claim of ours.
type Method string

// Methods. Tokens of managed identities have none.
const (
	BySecret      Method = "secret"
	ByCertificate Method = "certificate"
	ByFederation  Method = "federated"
	ByLink        Method = "link" // to the portal
	ByOIDC        Method = "oidc" // to the portal, by a provider
)

// Claims are what a token is to say. Version 0 is 1.
type Claims struct {
	Version    int    // 1 or 2: the shape
	Audience   string // as the client asked, without "/.default"
	ObjectID   string
	AppID      string
	Proof      Proof
	Method     Method // may be ""
	ResourceID string // xms_mirid, for managed identities only
	Epoch      int64  // of the principal
}

// Token is a token that was made.
type Token struct {
	Raw     string // a secret
	ID      string // uti, for audit records
	KeyID   string // of the key that signed it; see [Authority.Signs]
	Issued  time.Time
	Expires time.Time
}

// Verified is what a valid token says.
type Verified struct {
	ObjectID   string
	AppID      string
	TenantID   string
	Name       string // what Config.Active gave
	Audience   string
	Proof      Proof
	Method     Method // "" if it does not say
	ResourceID string // xms_mirid; "" for most
	ID         string // uti
	Issued     time.Time
	Expires    time.Time
}

// Expect is what a token must be for.
type Expect struct {
	// Audiences are the accepted ones; see [SameAudience]. None accepts nothing.
	Audiences []string
}

// Reason says why a token was refused.
type Reason uint8

// Reasons.
const (
	Malformed     Reason = iota + 1 // not a token of ours at all
	BadSignature                    // not signed by a key in use
	WrongIssuer                     // another issuer or tenant
	Expired                         // too old
	NotYet                          // not valid yet
	WrongAudience                   // for another resource
	Revoked                         // its principal is disabled or gone
)

var reasonNames = [...]string{"", "malformed", "badSignature", "wrongIssuer", "expired", "notYet", "wrongAudience", "revoked"}

// String gives the reason's name as challenges and audit records show it.
func (r Reason) String() string { return reasonNames[r] }

// Refused is the error for a token that does not count. It matches
// problem.Unauthenticated. It never holds the token.
type Refused struct {
	Reason Reason
	Detail string // for people
	Err    error  // of Config.Active
}

// Error says why.
func (r *Refused) Error() string { return "the access token is refused: " + r.Detail }

// Unwrap gives the kind and the cause.
func (r *Refused) Unwrap() []error {
	if r.Err == nil {
		return []error{problem.Unauthenticated}
	}
	return []error{problem.Unauthenticated, r.Err}
}

func refuse(reason Reason, detail string) error { return &Refused{Reason: reason, Detail: detail} }
