package vaultapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
)

// authority gives a real token authority and what asks it as the platform does.
// A principal named "gone" is no longer welcome.
func authority(t *testing.T, c clock.Clock, tenantID string) (*token.Authority, func(context.Context, *http.Request, string) (vault.Caller, error)) {
	t.Helper()
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	a, err := token.New(token.Config{Store: store, Clock: c, Log: slog.New(slog.DiscardHandler), TenantID: tenantID,
		Active: func(_ context.Context, objectID string, _ int64) (string, error) {
			if objectID == "gone" {
				return "", problem.New(problem.Unauthenticated, "the principal was deleted")
			}
			return objectID, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return a, func(ctx context.Context, r *http.Request, resource string) (vault.Caller, error) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return vault.Caller{}, problem.New(problem.Unauthenticated, "the Authorization header has no bearer token")
		}
		v, err := a.Verify(ctx, raw, token.Expect{Audiences: []string{resource, "https://vault.azure.net", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"}})
		return vault.Caller{ObjectID: v.ObjectID, AppID: v.AppID, TenantID: v.TenantID, Issuer: token.IssuerV1(v.TenantID)}, err
	}
}

func TestTokensOfTheAuthority(t *testing.T) {
	c := clock.NewManual(time.Unix(1_700_000_000, 0))
	ours, verify := authority(t, c, tenant)
	others, _ := authority(t, c, tenant)
	e := newEnv(t, func(cfg *Config) { cfg.Authenticate = verify })
	tests := []struct {
		name      string
		authority *token.Authority
		claims    token.Claims
		later     time.Duration
		status    int
		message   string
	}{
		{"for the vaults here", ours, token.Claims{Audience: "https://vault.localhost:7443"}, 0, 200, ""},
		{"for the cloud's vaults", ours, token.Claims{Audience: "https://vault.azure.net/"}, 0, 200, ""},
		{"by app id", ours, token.Claims{Audience: "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", Version: 2}, 0, 200, ""},
		{"for the management API", ours, token.Claims{Audience: "https://management.azure.com"}, 0, 401, "AKV10022: Invalid audience. Expected https://vault.localhost:7443, found: https://management.azure.com."},
		{"of another installation", others, token.Claims{Audience: "https://vault.azure.net"}, 0, 401, "[InvalidToken]"},
		{"of a principal that is gone", ours, token.Claims{Audience: "https://vault.azure.net", ObjectID: "gone"}, 0, 401, "[InvalidToken]"},
		{"expired", ours, token.Claims{Audience: "https://vault.azure.net"}, 2 * time.Hour, 401, "[TokenExpired] Error validating token: 'S2S12086'."},
		{"of the time before the clock was set back", ours, token.Claims{Audience: "https://vault.azure.net"}, -2 * time.Hour, 401, "[InvalidToken]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.claims.ObjectID == "" {
				tt.claims.ObjectID = "oid"
			}
			tt.claims.AppID, tt.claims.Proof = "app", token.ProofSecret
			made, err := tt.authority.Mint(t.Context(), tt.claims, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			c.Advance(tt.later)
			w := e.send("GET", "/secrets/n?api-version=7.4", "", "Bearer "+made.Raw)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.message) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			want := map[int]string{401: wantChallenge}[tt.status]
			if tt.claims.ObjectID == "gone" || tt.later != 0 { // the client may get another token, and must not use this one again
				want += `, error="insufficient_claims", claims="` + token.RenewalClaims(e.clock.Now()) + `"`
			}
			if diff := cmp.Diff(want, w.Header().Get("WWW-Authenticate")); diff != "" {
				t.Error(diff)
			}
			if tt.status == 200 && e.last().Caller.ObjectID != "oid" {
				t.Errorf("caller %+v", e.last().Caller)
			}
		})
	}
}
