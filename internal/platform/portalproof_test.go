package platform

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/token"
)

// TestALinkGivesNoMoreThanTheProofItWasAskedForWith has the ends of sessions by what
// the caller of the management API had shown, and when.
func TestALinkGivesNoMoreThanTheProofItWasAskedForWith(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		method token.Method
		age    time.Duration // of the token
		left   time.Duration // of its life
		want   time.Duration // until the end; 0 is that of sessions
	}{
		"a secret, just now":                  {token.BySecret, time.Second, time.Hour, 0},
		"a certificate, just now":             {token.ByCertificate, freshProof, time.Hour, 0},
		"a secret, some time ago":             {token.BySecret, freshProof + time.Second, 50 * time.Minute, 50 * time.Minute},
		"a long token of a secret":            {token.BySecret, time.Hour, 23 * time.Hour, 23 * time.Hour},
		"a proof of another issuer":           {token.ByFederation, 0, time.Hour, time.Hour},
		"a long token of such":                {token.ByFederation, 0, 24 * time.Hour, time.Hour},
		"an old token of such":                {token.ByFederation, 50 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		"a session of the portal":             {token.ByLink, 0, 10 * time.Minute, 10 * time.Minute},
		"a token that does not say":           {"", 0, 24 * time.Hour, time.Hour},
		"a token that says something strange": {"x", 0, 24 * time.Hour, time.Hour},
	} {
		end := sessionEnd(arm.Token{Method: tt.method, Issued: now.Add(-tt.age), Expires: now.Add(tt.left)}, now)
		if want := now.Add(tt.want); tt.want == 0 && !end.IsZero() || tt.want != 0 && !end.Equal(want) {
			t.Errorf("%s: the session ends at %v, want %v after %v", name, end, tt.want, now)
		}
	}
}
