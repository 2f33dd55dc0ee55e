package msi_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/tokens"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/tokenapi/msi"
)

var (
	own   = identity.Assigned{System: true, ResourceID: "/subscriptions/s/sites/app", ObjectID: "aaaaaaaa-0000-0000-0000-000000000001", AppID: "aaaaaaaa-0000-0000-0000-000000000002"}
	other = identity.Assigned{ResourceID: "/subscriptions/s/userAssignedIdentities/one", ObjectID: "bbbbbbbb-0000-0000-0000-000000000001", AppID: "bbbbbbbb-0000-0000-0000-000000000002"}
)

// running starts an endpoint with the real issuer behind it and sets the test's
// environment to find it.
func running(t *testing.T, assigned ...identity.Assigned) *token.Authority {
	t.Helper()
	e, authority := listen(t, func() []identity.Assigned { return assigned })
	for name, value := range e.Env() {
		t.Setenv(name, value)
	}
	return authority
}

func listen(t testing.TB, assigned func() []identity.Assigned) (*msi.Endpoint, *token.Authority) {
	t.Helper()
	c, log := clock.Real{}, slog.New(slog.DiscardHandler)
	authority, err := token.New(token.Config{Store: memory.New(c), Clock: c, Log: log, TenantID: "11111111-1111-1111-1111-111111111111"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	followed := make(chan struct{})
	go func() { defer close(followed); authority.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-followed })
	issuer, err := tokens.New(tokens.Config{Authority: authority, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	e, err := msi.Listen(t.Context(), msi.Config{
		Clock: c, Log: log, Issue: issuer.Get,
		Identities: func(context.Context) ([]identity.Assigned, error) { return assigned(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, authority
}

func TestTheClientLibraryGetsTokens(t *testing.T) {
	authority := running(t, own, other)
	for name, tt := range map[string]struct {
		id   azidentity.ManagedIDKind
		want identity.Assigned
	}{
		"own":         {nil, own},
		"client-id":   {azidentity.ClientID(other.AppID), other},
		"object-id":   {azidentity.ObjectID(other.ObjectID), other},
		"resource-id": {azidentity.ResourceID(strings.ToUpper(other.ResourceID)), other},
	} {
		audience := unique(name)
		got, err := ask(t, tt.id, audience)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v, err := authority.Verify(t.Context(), got.Token, token.Expect{Audiences: []string{audience}})
		if err != nil || v.ObjectID != tt.want.ObjectID || v.ResourceID != tt.want.ResourceID {
			t.Errorf("%s: token of %+v %v", name, v, err)
		}
		if left := time.Until(got.ExpiresOn); left < 12*time.Hour {
			t.Errorf("%s: the library sees %s left", name, left)
		}
	}
}

// unique gives an audience that was never asked for: the library keeps tokens for
// the whole process.
func unique(name string) string { return "https://" + name + "." + uuid.NewString() + ".example" }

func ask(t *testing.T, id azidentity.ManagedIDKind, audience string) (got struct {
	Token     string
	ExpiresOn time.Time
}, err error) {
	t.Helper()
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
	got.Token, got.ExpiresOn = answer.Token, answer.ExpiresOn
	return got, err
}

func TestTheClientLibraryUnderstandsRefusals(t *testing.T) {
	running(t, own)
	if _, err := ask(t, azidentity.ClientID(other.AppID), unique("refused")); err == nil || !strings.Contains(err.Error(), "Unable to load the proper Managed Identity.") {
		t.Errorf("an identity that is not assigned: %v", err)
	}
	t.Setenv("IDENTITY_HEADER", "wrong")
	if _, err := ask(t, nil, unique("wrong")); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a wrong secret: %v", err)
	}
}
