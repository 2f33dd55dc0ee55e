package platform_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/localissuer"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestAUserSignsInToThePortalByTheIssuer goes the whole way: a user whom nobody knows,
// one whom an operator has made, whose roles come by a group that the issuer says, and
// who loses them with the group.
func TestAUserSignsInToThePortalByTheIssuer(t *testing.T) {
	i := localissuer.Start(t, time.Now)
	p := platformtest.Start(t, platform.Config{Portal: platform.PortalConfig{Issuer: platform.PortalIssuer{
		Issuer: i.URL, ClientID: localissuer.Client, ClientSecret: localissuer.Secret, Name: "Example", Client: i.Client(),
		GroupsClaim: "groups", Groups: map[string]string{"azure-ops": "operators"},
	}}})
	up := platformtest.Upstream(t, http.NotFoundHandler())
	p.CreateApp(t, "orders", up)
	var group struct{ ObjectID string }
	p.Do(t, http.MethodPost, "/providers/Latchkey.Directory/groups", map[string]string{"name": "operators"}, &group)

	if body := visitByIssuer(t, p, "/portal/"); !strings.Contains(body, "nobody is registered") {
		t.Fatalf("an unknown person reads %s", body)
	}
	const principals = "/providers/Latchkey.Directory/principals"
	var robin struct{ ObjectID string }
	p.Do(t, http.MethodPost, principals, map[string]string{"name": "robin", "kind": "User"}, &robin)
	p.Do(t, http.MethodPut, principals+"/"+robin.ObjectID+"/federatedCredentials/portal", map[string]any{
		"issuer": i.URL, "subject": "robin", "audiences": []string{localissuer.Client},
	}, nil)
	const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	scope := p.Subscription()
	p.Do(t, http.MethodPut, scope+"/providers/Microsoft.Authorization/roleAssignments/77777777-7777-4777-8777-777777777777", map[string]any{
		"properties": map[string]string{"roleDefinitionId": scope + "/providers/Microsoft.Authorization/roleDefinitions/" + reader, "principalId": group.ObjectID},
	}, nil)

	if body := visitByIssuer(t, p, "/portal/apps/rg/orders"); !strings.Contains(body, "Your roles do not allow this") {
		t.Fatalf("a user without roles reads %s", body)
	}
	i.Claims["groups"] = []string{"other", "azure-ops"}
	if body := visitByIssuer(t, p, "/portal/apps/rg/orders"); !strings.Contains(body, "Instances") || !strings.Contains(body, "robin") {
		t.Fatalf("a user in the group reads %s", body)
	}
	i.Claims["groups"] = []string{"other"}
	if body := visitByIssuer(t, p, "/portal/apps/rg/orders"); !strings.Contains(body, "Your roles do not allow this") {
		t.Fatalf("a user who is not in the group any more reads %s", body)
	}
	p.Do(t, http.MethodPost, principals+"/"+robin.ObjectID+"/disable", nil, nil)
	if body := visitByIssuer(t, p, "/portal/"); !strings.Contains(body, "You were not let in") {
		t.Fatalf("a disabled user reads %s", body)
	}
}

// visitByIssuer signs in by the issuer in a browser of its own and gives what the
// page says that it is led to.
func visitByIssuer(t *testing.T, p *platformtest.Platform, page string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: platformtest.Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // two authorities of the test
	t.Cleanup(c.CloseIdleConnections)
	get := func(address string) (int, string) {
		answer, err := c.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	status, body := get(p.Cred.Endpoint + "/portal/signin/oidc?next=" + url.QueryEscape(page))
	if status != http.StatusOK {
		return body
	}
	_, body = get(p.Cred.Endpoint + page)
	return body
}
