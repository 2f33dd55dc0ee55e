package witness

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
)

// identity makes a user-assigned identity in the group "rg".
func (c goClient) identity(t testing.TB, name string) armmsi.Identity {
	t.Helper()
	f, err := armmsi.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	if err != nil {
		t.Fatal(err)
	}
	made, err := f.NewUserAssignedIdentitiesClient().CreateOrUpdate(t.Context(), "rg", name, armmsi.Identity{Location: to.Ptr("local")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.Identity
}

// subject is whom and what an access token is for.
type subject struct {
	ObjectID string `json:"oid"`
	AppID    string `json:"appid"`
	Audience string `json:"aud"`
	TenantID string `json:"tid"`
	Resource string `json:"xms_mirid"`
	Type     string `json:"idtyp"`
	Expires  int64  `json:"exp"`
}

func subjectOf(t testing.TB, token string) (c subject) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shop is an installation with a vault, two apps and an identity that both could
// have.
type shop struct {
	goClient
	orders, other workerApp
	user          armmsi.Identity // of orders
	own           string          // object id of the identity of orders itself
}

func openShop(t *testing.T) *shop {
	p := up(t, t.TempDir(), "--metrics-address", "")
	s := &shop{goClient: newGoClient(t, p.owner(t))}
	s.rg(t)
	s.vault(t, "shop-kv")
	set(t, s.secrets(t, "shop-kv"), "supplier", "hush")
	s.user = s.identity(t, "orders-id")
	s.orders = s.worker(t, "orders", identities(bothKinds, *s.user.ID), nil)
	s.other = s.worker(t, "other", identities(ownIdentity), nil)
	site, err := s.web.Get(t.Context(), "rg", "orders", nil)
	must(t, err)
	s.own = *site.Identity.PrincipalID
	if *site.Identity.Type != bothKinds || len(site.Identity.UserAssignedIdentities) != 1 {
		t.Errorf("identity of the app: %+v", site.Identity)
	}
	for id, u := range site.Identity.UserAssignedIdentities {
		if !strings.EqualFold(id, *s.user.ID) || *u.ClientID != *s.user.Properties.ClientID || *u.PrincipalID != *s.user.Properties.PrincipalID {
			t.Errorf("identity %s of the app: %+v", id, u)
		}
	}
	return s
}

func TestAppsUseTheirIdentities(t *testing.T) {
	s := openShop(t)
	t.Run("tokens by each selector", s.tokens)
	t.Run("secrets by the vault's name", s.readsSecrets)
	t.Run("permissions count at once", s.permissions)
	t.Run("tokens can be ended", s.expires)
	t.Run("nobody else gets them", s.strangers)
	t.Run("identities come and go", s.changes)
	t.Run("the endpoint can be switched off", s.switchesOff)
}

func (s *shop) tokens(t *testing.T) {
	user := s.user.Properties
	for _, tt := range []struct{ kind, id, want string }{
		{"", "", s.own}, {"default", "", s.own}, {"client", *user.ClientID, *user.PrincipalID},
		{"object", *user.PrincipalID, *user.PrincipalID}, {"resource", *s.user.ID, *user.PrincipalID},
		{"resource", strings.ToUpper(*s.user.ID), *user.PrincipalID},
	} {
		for _, resource := range []string{s.p.Management, strings.Replace(s.p.Management, "localhost", "vault.localhost", 1), "https://vault.azure.net"} {
			got := s.orders.ask(t, "token", "kind", tt.kind, "id", tt.id, "resource", resource)
			if got.Error != "" {
				t.Errorf("%s %s for %s: %s", tt.kind, tt.id, resource, got.Error)
				continue
			}
			c := subjectOf(t, got.Token)
			if c.ObjectID != tt.want || c.Audience != resource || c.TenantID != s.cred.TenantID || c.Type != "app" || c.Expires != got.Expires {
				t.Errorf("%s %s for %s: %+v", tt.kind, tt.id, resource, c)
			}
			if want := map[bool]string{true: s.site("rg", "orders"), false: *s.user.ID}[tt.want == s.own]; !strings.EqualFold(c.Resource, want) {
				t.Errorf("%s %s: the token names %s, not %s", tt.kind, tt.id, c.Resource, want)
			}
		}
	}
	for _, id := range []string{"11111111-2222-3333-4444-555555555555", *user.PrincipalID} {
		if got := s.orders.ask(t, "token", "kind", "client", "id", id, "resource", s.p.Management, "fresh", ""); got.Status != http.StatusBadRequest {
			t.Errorf("client id of nobody: %+v", got)
		}
	}
	list := s.do(t, "GET", s.group("rg")+"/providers/Microsoft.Web/sites?api-version=2023-12-01", "")
	if list.at("value.1") == nil {
		t.Errorf("apps: %s", list)
	}
}

// reads asks orders for the secret with an identity.
func (s *shop) reads(t testing.TB, pairs ...string) told {
	t.Helper()
	return s.orders.ask(t, "secret", append([]string{"vault", s.p.vaultURL("shop-kv"), "name", "supplier"}, pairs...)...)
}

func (s *shop) readsSecrets(t *testing.T) {
	env := s.orders.env(t, "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET")
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "shop-kv.vault.localhost"); (err != nil) != (env["HTTPS_PROXY"] != "") {
		t.Errorf("names of vaults are known here: %v; the workers' proxy is %q", err == nil, env["HTTPS_PROXY"])
	}
	for _, name := range []string{"SSL_CERT_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"} {
		if env[name] == "" {
			t.Errorf("the worker has no %s", name)
		}
	}
	if env["MSI_ENDPOINT"] != env["IDENTITY_ENDPOINT"] || env["MSI_SECRET"] != env["IDENTITY_HEADER"] {
		t.Error("the old variables are others than the new ones")
	}
	for _, kind := range []string{"", "default"} {
		if got := s.reads(t, "kind", kind); got.Code != "Forbidden" || got.Status != http.StatusForbidden || !strings.Contains(got.Error, "ForbiddenByRbac") {
			t.Errorf("%q without a role: %+v", kind, got)
		}
	}
	s.assign(t, s.vaultID("shop-kv"), secretsUser, s.own)
	for _, kind := range []string{"", "default"} {
		if got := s.reads(t, "kind", kind); got.Value != "hush" || !slices.Equal(got.Seen, []int{http.StatusOK}) {
			t.Errorf("%q: %+v", kind, got)
		}
	}
}

func (c goClient) vaultID(name string) string {
	return c.group("rg") + "/providers/Microsoft.KeyVault/vaults/" + name
}

// permissions uses one token all the time: the client in the worker keeps it.
func (s *shop) permissions(t *testing.T) {
	user := []string{"kind", "client", "id", *s.user.Properties.ClientID}
	if got := s.reads(t, user...); got.Status != http.StatusForbidden || !slices.Equal(got.Seen, []int{http.StatusUnauthorized, http.StatusForbidden}) {
		t.Errorf("without a role: %+v", got)
	}
	for range 3 {
		s.assign(t, s.vaultID("shop-kv")+"/secrets/supplier", secretsUser, *s.user.Properties.PrincipalID)
		if got := s.reads(t, user...); got.Value != "hush" || len(got.Seen) != 1 {
			t.Errorf("with a role: %+v", got)
		}
		s.unassign(t, s.vaultID("shop-kv"), *s.user.Properties.PrincipalID)
		if got := s.reads(t, user...); got.Status != http.StatusForbidden || len(got.Seen) != 1 {
			t.Errorf("after the role was taken away: %+v", got)
		}
	}
}

// unassign takes from a principal all roles at a scope and below.
func (c goClient) unassign(t testing.TB, scope, object string) {
	t.Helper()
	client, gone := c.roles.NewRoleAssignmentsClient(), 0
	for pager := client.NewListForScopePager(scope, nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Value {
			if *a.Properties.PrincipalID == object {
				gone++
				if _, err := client.DeleteByID(t.Context(), *a.ID, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if gone == 0 {
		t.Fatalf("%s has no role at %s", object, scope)
	}
}

func (s *shop) expires(t *testing.T) {
	if got := s.reads(t); len(got.Seen) != 1 {
		t.Fatalf("the client has no token: %+v", got)
	}
	for range 2 {
		s.do(t, "POST", "/providers/Latchkey.Directory/principals/"+s.own+"/expireTokens?api-version=2026-01-01", "")
		if got := s.reads(t); got.Value != "hush" || !slices.Equal(got.Seen, []int{http.StatusUnauthorized, http.StatusOK}) {
			t.Errorf("after its token was ended: %+v", got)
		}
	}
	reading, object := s.principal(t, "reading")
	s.assign(t, s.group("rg"), reader, object)
	them := newGoClient(t, reading)
	for range 2 {
		_, err := them.groups.Get(t.Context(), "rg", nil)
		must(t, err)
		s.do(t, "POST", "/providers/Latchkey.Directory/principals/"+object+"/expireTokens?api-version=2026-01-01", "")
	}
}

// endpoint is where a worker gets tokens.
type endpoint struct{ url, secret string }

func (w workerApp) endpoint(t testing.TB) endpoint {
	t.Helper()
	env := w.env(t, "IDENTITY_ENDPOINT", "IDENTITY_HEADER")
	return endpoint{env["IDENTITY_ENDPOINT"], env["IDENTITY_HEADER"]}
}

// get asks an endpoint for a token.
func (e endpoint) get(t testing.TB, method string, header http.Header, selector ...string) answer {
	t.Helper()
	q := url.Values{"resource": {"https://vault.azure.net"}, "api-version": {"2019-08-01"}}
	for i := 0; i < len(selector); i += 2 {
		q.Set(selector[i], selector[i+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), method, e.url+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func (s *shop) strangers(t *testing.T) {
	ours, theirs := s.orders.endpoint(t), s.other.endpoint(t)
	if ours.url == theirs.url || ours.secret == theirs.secret {
		t.Fatal("two apps share an endpoint")
	}
	proof := func(secret string) http.Header { return http.Header{"X-Identity-Header": {secret}} }
	for name, header := range map[string]http.Header{"no": {}, "an empty": proof(""), "a wrong": proof("x"), "another app's": proof(theirs.secret)} {
		if got := ours.get(t, "GET", header); got.status != http.StatusForbidden || len(got.body) != 0 {
			t.Errorf("with %s header: %s", name, got)
		}
	}
	if got := ours.get(t, "POST", proof(ours.secret)); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", got)
	}
	good := ours.get(t, "GET", proof(ours.secret))
	if _, err := strconv.ParseInt(good.text("expires_on"), 10, 64); err != nil || good.text("token_type") != "Bearer" || good.text("resource") != "https://vault.azure.net" ||
		subjectOf(t, good.text("access_token")).ObjectID != s.own {
		t.Errorf("with the right header: %d, %v", good.status, err)
	}
	for _, selector := range [][]string{{"client_id", *s.user.Properties.ClientID}, {"object_id", s.own}, {"principal_id", s.own}, {"mi_res_id", *s.user.ID}} {
		got := theirs.get(t, "GET", proof(theirs.secret), selector...)
		if got.status != http.StatusBadRequest || got.text("message") != "Unable to load the proper Managed Identity." || got.text("correlationId") == "" {
			t.Errorf("another app's identity by %v: %s", selector, got)
		}
	}
	until(t, "the refusals are on record", func() bool {
		found := map[float64]bool{} // by status
		list, _ := s.do(t, "GET", "/providers/Latchkey.Audit/events?api-version=2026-01-01&action=workloadToken", "").at("value").([]any)
		for _, one := range list {
			if e, _ := one.(map[string]any); e["outcome"] == "Denied" {
				status, _ := e["status"].(float64)
				found[status] = true
			}
		}
		return found[http.StatusForbidden] && found[http.StatusBadRequest]
	})
}

func (s *shop) changes(t *testing.T) {
	byClient := []string{"kind", "client", "id", *s.user.Properties.ClientID, "resource", s.p.Management, "fresh", ""}
	own := []string{"resource", s.p.Management, "fresh", ""}
	status := func(pairs []string) func() int {
		return func() int {
			got := s.orders.ask(t, "token", pairs...)
			if got.Error == "" {
				return http.StatusOK
			}
			return got.Status
		}
	}
	for name, step := range map[string]func() int{"user-assigned": status(byClient), "own": status(own)} {
		if got := step(); got != http.StatusOK {
			t.Fatalf("before anything changed, %s: %d", name, got)
		}
	}
	left := s.orders.assign(t, identities(ownIdentity))
	if *left.PrincipalID != s.own || len(left.UserAssignedIdentities) != 0 {
		t.Errorf("the app's own identity stays: %+v", left)
	}
	if got := status(byClient)(); got != http.StatusBadRequest {
		t.Errorf("an identity that was taken away: %d", got)
	}
	if got := status(own)(); got != http.StatusOK {
		t.Errorf("the one that stays: %d", got)
	}
	s.orders.assign(t, identities(userIdentity, *s.user.ID))
	if got := status(own)(); got != http.StatusBadRequest {
		t.Errorf("the app's own, taken away: %d", got)
	}
	if got := status(byClient)(); got != http.StatusOK {
		t.Errorf("an identity that came back: %d", got)
	}
	again := s.orders.assign(t, identities(bothKinds, *s.user.ID))
	if *again.PrincipalID == s.own {
		t.Error("an identity that was made anew is the old one")
	}
	got := s.orders.ask(t, "token", own...)
	if c := subjectOf(t, got.Token); c.ObjectID != *again.PrincipalID {
		t.Errorf("the new identity is %s, its token is of %s", *again.PrincipalID, c.ObjectID)
	}
	if got := s.reads(t, "kind", ""); got.Status != http.StatusForbidden {
		t.Errorf("the new identity has the old one's role: %+v", got)
	}
	s.recreates(t, byClient)
}

// recreates deletes the identity that an app has, and makes another of its name.
func (s *shop) recreates(t *testing.T, byOldClient []string) {
	f, err := armmsi.NewClientFactory(s.cred.SubscriptionID, s, s.options())
	must(t, err)
	_, err = f.NewUserAssignedIdentitiesClient().Delete(t.Context(), "rg", "orders-id", nil)
	must(t, err)
	if got := s.orders.ask(t, "token", byOldClient...); got.Status != http.StatusBadRequest {
		t.Errorf("an identity that is deleted: %+v", got)
	}
	site, err := s.web.Get(t.Context(), "rg", "orders", nil) // which is still there
	must(t, err)
	if len(site.Identity.UserAssignedIdentities) != 1 {
		t.Errorf("the app with an identity that is no more: %+v", site.Identity)
	}
	s.user = s.identity(t, "orders-id")
	s.orders.assign(t, identities(bothKinds, *s.user.ID))
	got := s.orders.ask(t, "token", "kind", "resource", "id", *s.user.ID, "resource", s.p.Management, "fresh", "")
	if got.Error != "" || subjectOf(t, got.Token).ObjectID != *s.user.Properties.PrincipalID {
		t.Errorf("the identity made anew: %+v", got)
	}
}

func (s *shop) switchesOff(t *testing.T) {
	settings, err := s.web.ListApplicationSettings(t.Context(), "rg", "other", nil)
	must(t, err)
	settings.Properties["WEBSITE_DISABLE_MSI"] = to.Ptr("true")
	_, err = s.web.UpdateApplicationSettings(t.Context(), "rg", "other", settings.StringDictionary, nil)
	must(t, err)
	until(t, "the worker runs without the endpoint", func() bool {
		env := s.other.env(t, "WEBSITE_DISABLE_MSI", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET")
		return len(env) == 1 && env["WEBSITE_DISABLE_MSI"] == "true"
	})
	site, err := s.web.Get(t.Context(), "rg", "other", nil)
	must(t, err)
	if site.Identity == nil || *site.Identity.Type != armappservice.ManagedServiceIdentityTypeSystemAssigned {
		t.Errorf("the identity went with the endpoint: %+v", site.Identity)
	}
}
