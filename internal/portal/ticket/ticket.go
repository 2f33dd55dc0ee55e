// Package ticket owns the form of the secrets that the portal gives to browsers:
// whose it is, and 256 random bits. What is kept of one is its name, a digest, by
// which nobody can make it. It does not know what tickets are for.
package ticket

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// size is the number of random bytes.
const size = 32

// Ticket is a secret. The zero value is none.
type Ticket struct {
	owner  string // object id, lower case
	secret [size]byte
}

// New makes a ticket for a principal, by its object id.
func New(objectID string) (Ticket, error) {
	t := Ticket{owner: strings.ToLower(objectID)}
	if !isID(t.owner) {
		return t, problem.New(problem.Invalid, "tickets are made for object ids")
	}
	_, err := rand.Read(t.secret[:])
	return t, err
}

// isID reports whether a text has the one form of an object id: it becomes part of
// the name of a document.
func isID(text string) bool { return len(text) == 36 && uuid.Validate(text) == nil }

// Parse reads what [Ticket.Text] gave. It returns problem.Unauthenticated for
// anything else.
func Parse(text string) (Ticket, error) {
	owner, secret, found := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if !found || err != nil || len(raw) != size || !isID(owner) || owner != strings.ToLower(owner) {
		return Ticket{}, problem.New(problem.Unauthenticated, "this is no ticket")
	}
	return Ticket{owner, [size]byte(raw)}, nil
}

// Text gives the ticket as the browser keeps it: a secret, fit for a cookie and for
// a query.
func (t Ticket) Text() string {
	return t.owner + "." + base64.RawURLEncoding.EncodeToString(t.secret[:])
}

// Owner gives the object id it was made for.
func (t Ticket) Owner() string { return t.owner }

// Name gives what may be kept of it.
func (t Ticket) Name() string {
	sum := sha256.Sum256(t.secret[:])
	return hex.EncodeToString(sum[:])
}

// Derive gives another secret that only those can make who have the ticket.
func (t Ticket) Derive(purpose string) string {
	mac := hmac.New(sha256.New, t.secret[:])
	mac.Write([]byte(purpose))
	return hex.EncodeToString(mac.Sum(nil))
}
