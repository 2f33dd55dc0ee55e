package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRenewalClaimsAskForALaterToken(t *testing.T) {
	for _, seconds := range []int64{1, 12, 123, 1234, 1_800_000_000} {
		text := RenewalClaims(time.Unix(seconds, 0))
		if strings.Contains(text, "=") {
			t.Errorf("%q is padded", text)
		}
		plain, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			AccessToken struct {
				NotBefore struct {
					Essential bool
					Value     string
				} `json:"nbf"`
			} `json:"access_token"`
		}
		if err := json.Unmarshal(plain, &got); err != nil || !got.AccessToken.NotBefore.Essential || got.AccessToken.NotBefore.Value != fmt.Sprint(seconds) {
			t.Errorf("%s: %v", plain, err)
		}
	}
}

func TestOnlyRevokedTokensAreRevoked(t *testing.T) {
	for err, want := range map[error]bool{
		&Refused{Reason: Revoked}: true, fmt.Errorf("a call failed: %w", &Refused{Reason: Revoked}): true,
		&Refused{Reason: Expired}: false, errors.New("revoked"): false,
	} {
		if IsRevoked(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}
