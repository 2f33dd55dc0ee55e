package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// IsRevoked reports whether an error of [Authority.Verify] says that a token would
// count had it not been revoked, so that its principal may well get another one.
func IsRevoked(err error) bool {
	var r *Refused
	return errors.As(err, &r) && r.Reason == Revoked
}

// RenewalClaims gives what a challenge asks for in its parameter "claims", next to
// error="insufficient_claims", when a token was revoked: one made later than now.
// Without that, client libraries offer the token they have until it is over. The
// text has no padding: some clients take a challenge apart at equals signs.
func RenewalClaims(now time.Time) string {
	text := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, now.Unix())
	text += strings.Repeat(" ", (3-len(text)%3)%3)
	return base64.StdEncoding.EncodeToString([]byte(text))
}
