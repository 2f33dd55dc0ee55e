package issuer

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/latchkey/latchkey/internal/problem"
)

// attemptSize is the length of an attempt's secret in bytes.
const attemptSize = 32

// Attempt is one attempt to sign in. Its secret is kept by the browser alone: state,
// nonce and PKCE verifier follow from it, so that nodes need to remember nothing of
// strangers and any node can take the answer.
type Attempt struct{ secret [attemptSize]byte }

// NewAttempt begins an attempt.
func NewAttempt() Attempt {
	var a Attempt
	_, _ = rand.Read(a.secret[:]) // it never fails
	return a
}

// ParseAttempt reads what [Attempt.Text] gave; problem.Unauthenticated for anything
// else.
func ParseAttempt(text string) (Attempt, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != attemptSize {
		return Attempt{}, problem.New(problem.Unauthenticated, "this browser has not begun to sign in, or too long ago")
	}
	return Attempt{[attemptSize]byte(raw)}, nil
}

// Text gives the attempt for a cookie: a secret.
func (a Attempt) Text() string { return base64.RawURLEncoding.EncodeToString(a.secret[:]) }

func (a Attempt) state() string    { return a.derive("state") }
func (a Attempt) nonce() string    { return a.derive("nonce") }
func (a Attempt) verifier() string { return a.derive("verifier") }

func (a Attempt) derive(purpose string) string {
	mac := hmac.New(sha256.New, a.secret[:])
	mac.Write([]byte(purpose))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
