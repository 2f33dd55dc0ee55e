// Package identity owns the principals of an installation: service principals,
// managed identities and users, with what they prove themselves by: client
// secrets, certificates and federated credentials. It answers whether a proof
// is right. It does not know tokens, HTTP, roles or what a principal may do.
package identity

import (
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Kind says what a principal is; the values are those of a role assignment's
// principalType, where a managed identity is a ServicePrincipal too (see
// [Kind.AssignmentType]).
type Kind string

// Kinds of principals.
const (
	ServicePrincipal Kind = "ServicePrincipal"
	ManagedIdentity  Kind = "ManagedIdentity"
	User             Kind = "User"
)

// AssignmentType gives the principalType that role assignments show.
func (k Kind) AssignmentType() string {
	if k == User {
		return "User"
	}
	return "ServicePrincipal"
}

// Limits of a principal.
const (
	MaxName         = 120
	MaxSecrets      = 20
	MaxCertificates = 20
	MaxFederated    = 20 // Azure's limit
)

// Principal is one who calls. Its JSON form holds nothing secret.
type Principal struct {
	ObjectID string `json:"objectId"`        // lower-case GUID; roles are assigned to it
	AppID    string `json:"appId,omitempty"` // lower-case GUID, "client id"; users have none
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	// ResourceID is, for a managed identity, the resource it belongs to or is.
	ResourceID string `json:"resourceId,omitempty"`
	Disabled   bool   `json:"disabled,omitempty"` // gets no tokens, and those it has are refused
	// Epoch is said by tokens of the principal; those of an earlier one count no
	// longer.
	Epoch   int64     `json:"epoch,omitempty"`
	Created time.Time `json:"created"`

	Secrets      []Secret      `json:"secrets,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	Federated    []Federated   `json:"federated,omitempty"`

	// Revision is that of the document. It is not stored.
	Revision state.Revision `json:"-"`
}

// Secret is what may be known of a client secret.
type Secret struct {
	ID      string    `json:"id"` // GUID
	Name    string    `json:"name"`
	Hint    string    `json:"hint"` // the first three characters
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// LastUsed is the day it was last accepted, "2006-01-02" in UTC; "" for never.
	LastUsed string `json:"lastUsed,omitempty"`
}

// Certificate is a registered public key.
type Certificate struct {
	ID        string    `json:"id"` // GUID
	Name      string    `json:"name"`
	Subject   string    `json:"subject"`
	SHA1      string    `json:"sha1"`   // upper-case hex, Azure's "thumbprint"
	SHA256    string    `json:"sha256"` // upper-case hex
	NotBefore time.Time `json:"notBefore"`
	Expires   time.Time `json:"expires"`
	Created   time.Time `json:"created"`
	LastUsed  string    `json:"lastUsed,omitempty"` // as of a [Secret]
	DER       []byte    `json:"der"`
}

// Federated trusts the tokens of another issuer. Comparisons are exact and
// case-sensitive.
type Federated struct {
	Name      string    `json:"name"` // unique within the principal, case ignored
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Audiences []string  `json:"audiences"`
	Created   time.Time `json:"created"`
	LastUsed  string    `json:"lastUsed,omitempty"` // as of a [Secret]
}

// Reason says why a proof was refused.
type Reason uint8

// Reasons.
const (
	UnknownApp          Reason = iota + 1 // no principal has the app id
	UnknownPrincipal                      // no principal has the object id
	Disabled                              // the principal is switched off
	WrongSecret                           // no secret of the principal is this one
	SecretExpired                         // it was right once
	MalformedAssertion                    // the assertion is no JWT that can be considered
	UnknownCertificate                    // the assertion names no registered certificate
	CertificateExpired                    // the registered certificate is out of its validity
	WrongSignature                        // the signature is not of the certificate
	WrongAudience                         // the assertion was made for somebody else
	WrongIssuer                           // issuer or subject are not the client's
	AssertionExpired                      // the assertion is too old, or not valid yet
	AssertionTooLong                      // the assertion is valid for too long
	NoFederated                           // the principal has no federated credential at all
	NoFederatedIssuer                     // no federated credential has the assertion's issuer
	NoFederatedSubject                    // none with that issuer has the subject
	NoFederatedAudience                   // the credential does not list the audience
	IssuerUnavailable                     // the issuer's keys cannot be had
	TokensExpired                         // the principal's tokens were expired before their time
)

var reasonText = [...]string{
	"", "unknown app", "unknown principal", "disabled", "wrong secret", "secret expired", "malformed assertion",
	"unknown certificate", "certificate expired", "wrong signature", "wrong audience", "wrong issuer or subject",
	"assertion expired", "assertion valid for too long", "no federated credential", "no federated credential for the issuer",
	"no federated credential for the subject", "no federated credential for the audience", "the issuer's keys cannot be had",
	"its tokens were expired",
}

// String gives the reason in words.
func (r Reason) String() string { return reasonText[r] }

// Refused is the error of every refused proof. It matches
// problem.Unauthenticated.
type Refused struct {
	Reason Reason
	Detail string // what exactly, for people; never a secret
}

// Error says why.
func (r *Refused) Error() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}

// Unwrap makes the error problem.Unauthenticated.
func (r *Refused) Unwrap() error { return problem.Unauthenticated }

func refuse(reason Reason, detail string) error { return &Refused{reason, detail} }
