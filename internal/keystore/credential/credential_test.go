package credential_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestTokensOfASourceAreForTheResourceOfTheScope(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	var asked string
	c := credential.FromFunc(func(_ context.Context, resource string) (string, time.Time, error) {
		asked = resource
		return "a token", expires, nil
	})
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	if err != nil || got.Token != "a token" || !got.ExpiresOn.Equal(expires) || asked != "https://vault.azure.net" {
		t.Errorf("%+v %v, asked for %q", got, err, asked)
	}
	if _, err := c.GetToken(t.Context(), policy.TokenRequestOptions{}); !errors.Is(err, problem.Invalid) {
		t.Errorf("without a scope: %v", err)
	}
}

func TestErrorsOfASourceStayWhatTheyAre(t *testing.T) {
	c := credential.FromFunc(func(context.Context, string) (string, time.Time, error) {
		return "", time.Time{}, problem.New(problem.Denied, "no such identity")
	})
	if _, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"x"}}); !errors.Is(err, problem.Denied) {
		t.Error(err)
	}
}

func TestIdentitiesAreMadeWithoutAskingAnybody(t *testing.T) {
	const tenant, client, secret = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", "very-secret"
	tests := map[string]struct {
		request credential.Request
		kind    error
	}{
		"system-assigned":    {request: credential.Request{Kind: credential.Managed}},
		"user-assigned":      {request: credential.Request{Kind: credential.Managed, ClientID: client}},
		"by resource id":     {request: credential.Request{Kind: credential.Managed, ResourceID: "/subscriptions/x"}},
		"app registration":   {request: credential.Request{Kind: credential.AppRegistration, TenantID: tenant, ClientID: client, ClientSecret: secret}},
		"of another cloud":   {request: credential.Request{Kind: credential.AppRegistration, TenantID: tenant, ClientID: client, ClientSecret: secret, Authority: "https://login.microsoftonline.us/"}},
		"environment":        {request: credential.Request{}},
		"no tenant":          {request: credential.Request{Kind: credential.AppRegistration, TenantID: "not a tenant", ClientID: client, ClientSecret: secret}, kind: problem.Invalid},
		"authority in clear": {request: credential.Request{Kind: credential.AppRegistration, TenantID: tenant, ClientID: client, ClientSecret: secret, Authority: "http://login"}, kind: problem.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := credential.New(tt.request)
			if !errors.Is(err, tt.kind) || (err == nil) != (c != nil) {
				t.Fatalf("%v %v", c, err)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the secret is in the error")
			}
		})
	}
}
