package witness

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/sealed"
	"github.com/latchkey/latchkey/internal/token"
)

// forged are tokens signed with the installation's own key that do not count, by
// what is wrong with them. They are made with the program's own packages from the
// state of a process that is not running.
func (p *process) forged(t *testing.T, object, tenant string) map[string]string {
	t.Helper()
	ctx := t.Context()
	raw, err := bolt.Open(ctx, filepath.Join(p.dir, "state.db"), clock.Real{})
	must(t, err)
	defer func() { must(t, raw.Close()) }()
	keys, err := keyset.OpenIn(ctx, sealed.Box(raw, sealed.KeysetKey), keyset.NewKEK("", filepath.Join(p.dir, keyset.KEKFile)), false)
	must(t, err)
	store := sealed.New(raw, keys)
	doc, err := store.Get(ctx, token.Prefix+"keys")
	must(t, err)
	var kept []struct {
		ID      string `json:"kid"`
		Private []byte `json:"private"`
	}
	must(t, json.Unmarshal(doc.Value, &kept))
	private, err := x509.ParsePKCS8PrivateKey(kept[0].Private)
	must(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kept[0].ID))
	must(t, err)
	who, err := identity.New(store, clock.Real{}).Get(ctx, object)
	must(t, err)
	mint := func(tenant, audience string, from time.Duration) string {
		at := time.Now().Add(from)
		text, err := jwt.Signed(signer).Claims(map[string]any{
			"aud": audience, "iss": token.IssuerV1(tenant), "iat": at.Unix(), "nbf": at.Unix(), "exp": at.Add(time.Hour).Unix(),
			"oid": object, "sub": object, "appid": uuid.NewString(), "tid": tenant, "ver": "1.0", "uti": uuid.NewString(),
			"lk_epoch": who.Epoch,
		}).Serialize()
		must(t, err)
		return text
	}
	right := mint(tenant, p.Management, 0)
	header, rest, _ := strings.Cut(right, ".")
	body, _, _ := strings.Cut(rest, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + body + "."
	return map[string]string{
		"right": right, "issuer": mint(uuid.NewString(), p.Management, 0), "audience": mint(tenant, "https://vault.azure.net", 0),
		"expired": mint(tenant, p.Management, -3*time.Hour), "unsigned": none,
		"stripped": header + "." + body + ".", "changed": header + "." + body + ".AAAA", "future": mint(tenant, p.Management, 3*time.Hour),
	}
}

// bad is a request that must be refused.
type bad struct {
	name   string
	method string // "" is GET
	path   string
	body   string
	header http.Header
	status int
	code   string
	says   string // a part of the message
}

// check sends a request and checks the refusal.
func (b bad) check(t *testing.T, c *caller) {
	t.Helper()
	if b.method == "" {
		b.method = http.MethodGet
	}
	a := c.send(t, request{method: b.method, path: b.path, body: b.body, header: b.header})
	code := a.text("error.code")
	if b.method == http.MethodHead {
		code = a.header.Get("X-Ms-Error-Code")
	}
	if a.status != b.status || code != b.code {
		t.Errorf("%s: %s, not %d %s", b.name, a, b.status, b.code)
		return
	}
	if !strings.Contains(a.text("error.message"), b.says) {
		t.Errorf("%s: the message does not say %q: %s", b.name, b.says, a)
	}
	if a.header.Get("X-Ms-Request-Id") == "" || b.method != http.MethodHead && !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: header %v", b.name, a.header)
	}
	if isWeb(b.path) && code != "InvalidRequestUri" && b.method != http.MethodHead && a.text("Message") == "" {
		t.Errorf("%s: clients of Microsoft.Web find no Message: %s", b.name, a)
	}
	challenge, how := a.header.Get("Www-Authenticate"), `invalid_token", error_description="`
	if strings.Contains(a.text("error.message"), "its principal is disabled, was deleted") { // clients are to get another one
		how = `insufficient_claims", claims="`
	}
	if want := fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="`, c.p.Management, c.cred.TenantID) + how; (a.status == 401) != strings.HasPrefix(challenge, want) {
		t.Errorf("%s: the challenge is %q", b.name, challenge)
	}
}

// isWeb reports whether a path is Microsoft.Web's, whose clients read errors of
// another form too.
func isWeb(path string) bool {
	path = strings.ToLower(path)
	return strings.HasPrefix(path[strings.LastIndex(path, "/providers/")+1:], "providers/microsoft.web/")
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestBadInputIsRefusedInWords(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	first := p.owner(t)
	_, object := first.principal(t, "target")
	p.stop(t)
	tokens := p.forged(t, object, first.cred.TenantID)
	p.start(t)
	c := p.owner(t)
	c.app(t, "bad", "orders", "http://127.0.0.1:1")
	t.Run("tokens", func(t *testing.T) { badTokens(t, c, tokens) })
	t.Run("principals", func(t *testing.T) { badPrincipals(t, c) })
	t.Run("requests", func(t *testing.T) { badRequests(t, c) })
	t.Run("bodies", func(t *testing.T) { badBodies(t, c) })
	t.Run("token service and deployment", func(t *testing.T) { badElsewhere(t, c) })
	if text := p.said(); strings.Contains(text, "panic") || strings.Contains(text, "handler panicked") {
		t.Errorf("the program panicked:\n%s", text)
	}
}

func badTokens(t *testing.T, c *caller, tokens map[string]string) {
	path := c.site("bad", "orders") + "?api-version=2023-12-01"
	(bad{"a token of ours, to compare with", "", path, "", bearer(tokens["right"]), 403, "AuthorizationFailed", "'Microsoft.Web/sites/read' over scope '" + c.site("bad", "orders") + "'"}).check(t, c)
	const invalid = "InvalidAuthenticationToken"
	for _, b := range []bad{
		{"no token", "", path, "", http.Header{"Authorization": {""}}, 401, "AuthenticationFailed", "missing"},
		{"a password", "", path, "", http.Header{"Authorization": {"Basic eDp5"}}, 401, invalid, "bearer"},
		{"an empty token", "", path, "", http.Header{"Authorization": {"Bearer "}}, 401, invalid, ""},
		{"no JWT", "", path, "", bearer("nonsense"), 401, invalid, ""},
		{"a long token", "", path, "", bearer(strings.Repeat("x", 20_000)), 401, invalid, ""},
		{"another audience", "", path, "", bearer(tokens["audience"]), 401, invalid, "vault.azure.net"},
		{"another issuer", "", path, "", bearer(tokens["issuer"]), 401, invalid, "issuer"},
		{"an expired token", "", path, "", bearer(tokens["expired"]), 401, "ExpiredAuthenticationToken", "expired"},
		{"a token of the future", "", path, "", bearer(tokens["future"]), 401, invalid, "valid from"},
		{"an unsigned token", "", path, "", bearer(tokens["unsigned"]), 401, invalid, ""},
		{"a token without its signature", "", path, "", bearer(tokens["stripped"]), 401, invalid, ""},
		{"another signature", "", path, "", bearer(tokens["changed"]), 401, invalid, ""},
		{"another audience, of the token service", "", path, "", bearer(c.tokenFor(t, "https://storage.azure.com")), 401, invalid, "storage.azure.com"},
		{"no token for what does not exist", "", c.site("bad", "nobody") + "?api-version=2023-12-01", "", http.Header{"Authorization": {""}}, 401, "AuthenticationFailed", ""},
		{"no token and no version", "", c.site("bad", "orders"), "", http.Header{"Authorization": {""}}, 401, "AuthenticationFailed", ""},
	} {
		b.check(t, c)
	}
}

// tokenFor gets a token for a resource from the token service.
func (c *caller) tokenFor(t *testing.T, resource string) string {
	t.Helper()
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	must(t, err)
	return got.Token
}

// badPrincipals is what happens to tokens when their principal is disabled or
// deleted.
func badPrincipals(t *testing.T, c *caller) {
	const path = "/subscriptions?api-version=2022-12-01" // a token is enough for it
	const principals, version = "/providers/Latchkey.Directory/principals/", "?api-version=2026-01-01"
	other, object := c.principal(t, "leaving")
	old := bearer(other.token(t))
	c.do(t, "POST", principals+object+"/disable"+version, "")
	(bad{"a disabled principal", "", path, "", old, 401, "InvalidAuthenticationToken", "disabled"}).check(t, c)
	if _, err := newCaller(t, c.p, other.cred).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.p.Management + "/.default"}}); err == nil {
		t.Error("a disabled principal gets a token")
	}
	c.do(t, "POST", principals+object+"/enable"+version, "")
	if a := c.send(t, request{method: "GET", path: path, header: old}); a.status != http.StatusOK {
		t.Errorf("enabled again: %s", a)
	}
	c.do(t, "DELETE", principals+object+version, "")
	(bad{"a deleted principal", "", path, "", old, 401, "InvalidAuthenticationToken", ""}).check(t, c)
}

func badRequests(t *testing.T, c *caller) {
	const version = "?api-version=2023-12-01"
	site, other := c.site("bad", "orders"), "/subscriptions/"+uuid.NewString()
	web := c.group("bad") + "/providers/Microsoft.Web"
	for _, b := range []bad{
		{"no version", "", site, "", nil, 400, "MissingApiVersionParameter", "api-version"},
		{"no version of a date", "", site + "?api-version=latest", "", nil, 400, "InvalidApiVersionParameter", "latest"},
		{"an unknown namespace", "", c.group("bad") + "/providers/Microsoft.Nope/things/x" + version, "", nil, 404, "InvalidResourceNamespace", "Microsoft.Web"},
		{"an unknown type", "", web + "/things/x" + version, "", nil, 404, "InvalidResourceType", "sites"},
		{"an unknown action", "POST", site + "/explode" + version, "", nil, 404, "InvalidResourceType", "restart"},
		{"an unknown path", "", "/nowhere" + version, "", nil, 404, "NotFound", "/nowhere"},
		{"another subscription", "", other + "/resourceGroups/bad" + version, "", nil, 404, "SubscriptionNotFound", ""},
		{"no subscription", "", "/subscriptions/nope/resourceGroups/bad" + version, "", nil, 400, "InvalidSubscriptionId", "nope"},
		{"no group", "PUT", c.site("nope", "x") + version, `{"location":"local"}`, nil, 404, "ResourceGroupNotFound", "nope"},
		{"no app", "", c.site("bad", "nobody") + version, "", nil, 404, "ResourceNotFound", "nobody"},
		{"no app, by HEAD", "HEAD", c.site("bad", "nobody") + version, "", nil, 404, "ResourceNotFound", ""},
		{"settings of no app", "POST", c.site("bad", "nobody") + "/config/appsettings/list" + version, "", nil, 404, "ResourceNotFound", "nobody"},
		{"keys of no app", "POST", c.site("bad", "nobody") + "/host/default/listkeys" + version, "", nil, 404, "ResourceNotFound", "nobody"},
		{"keys of no function", "POST", site + "/functions/nope/listkeys" + version, "", nil, 404, "NotFound", "nope"},
		{"an absent key", "DELETE", site + "/host/default/functionkeys/nope" + version, "", nil, 404, "ResourceNotFound", "no key"},
		{"no key type", "PUT", site + "/host/default/otherkeys/x" + version, "{}", nil, 404, "InvalidResourceType", "functionKeys"},
		{"no method of a group", "POST", c.group("bad") + version, "{}", nil, 405, "MethodNotAllowed", "PUT"},
		{"a method that there is not", "BREW", site + version, "", nil, 405, "MethodNotAllowed", "GET"},
		{"a thousand segments", "", strings.Repeat("/x", 1000) + version, "", nil, 400, "InvalidRequestUri", "64 segments"},
		{"a long path", "", "/" + strings.Repeat("x", 9000) + version, "", nil, 400, "InvalidRequestUri", "bytes"},
		{"a step up", "", "/subscriptions/%2e%2e/resourceGroups" + version, "", nil, 400, "InvalidRequestUri", "folder"},
		{"a slash in a name", "", c.site("bad", "a%2Fb") + version, "", nil, 400, "InvalidRequestUri", "slash"},
		{"a control character", "", c.site("bad", "a%00b") + version, "", nil, 400, "InvalidRequestUri", "control"},
		{"no number", "", web + "/sites" + version + "&$top=x", "", nil, 400, "InvalidTopParameter", "$top"},
		{"no skip token", "", web + "/sites" + version + "&$skiptoken=!!", "", nil, 400, "InvalidSkipToken", "skiptoken"},
		{"another version of what is there", "PUT", site + "/config/appsettings" + version, `{"properties":{}}`, http.Header{"If-Match": {`"no"`}}, 412, "PreconditionFailed", ""},
		{"not to be there", "PUT", site + version, `{"location":"local"}`, http.Header{"If-None-Match": {"*"}}, 412, "PreconditionFailed", ""},
		{"no principal", "PUT", site + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString() + version,
			`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + reader + `","principalId":"` + uuid.NewString() + `"}}`, nil, 400, "PrincipalNotFound", ""},
		{"a query to Resource Graph", "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2019-04-01", `{"query":"drop table"}`, nil, 400, "BadRequest", ""},
	} {
		b.check(t, c)
	}
}

func badBodies(t *testing.T, c *caller) {
	const version, invalid = "?api-version=2023-12-01", "InvalidRequestContent"
	site := c.site("bad", "orders")
	plan := c.group("bad") + "/providers/Microsoft.Web/serverfarms/p"
	big := `{"properties":{"A":"` + strings.Repeat("x", 10<<20) + `"}}`
	for _, b := range []bad{
		{"no JSON", "PUT", site + version, "{\n  \"location\": local }", nil, 400, invalid, "line 2"},
		{"half of JSON", "PUT", site + version, `{"location":"local"`, nil, 400, invalid, "line 1"},
		{"no body", "PUT", site + version, "", nil, 400, invalid, "empty"},
		{"an array", "PUT", site + version, `[]`, nil, 400, "BadRequest", "object"},
		{"null", "PUT", c.site("bad", "fresh") + version, `null`, nil, 400, "LocationRequired", ""},
		{"a number for a text", "PUT", site + version, `{"location":1}`, nil, 400, "BadRequest", "'location'"},
		{"a text for an object", "PUT", site + version, `{"location":"local","properties":"x"}`, nil, 400, "BadRequest", "properties"},
		{"a text for a switch", "PUT", site + version, `{"location":"local","properties":{"enabled":"yes"}}`, nil, 400, "BadRequest", "enabled"},
		{"settings as an object", "PUT", site + version, `{"location":"local","properties":{"siteConfig":{"appSettings":{"A":"1"}}}}`, nil, 400, "BadRequest", "appSettings"},
		{"no location", "PUT", c.site("bad", "fresh") + version, `{}`, nil, 400, "LocationRequired", "location"},
		{"another location", "PUT", site + version, `{"location":"moon"}`, nil, 409, "InvalidResourceLocation", "moon"},
		{"a name no host has", "PUT", c.site("bad", "no_host") + version, `{"location":"local"}`, nil, 400, "BadRequest", ""},
		{"a plan that is none", "PUT", c.site("bad", "fresh") + version, `{"location":"local","properties":{"serverFarmId":"nonsense"}}`, nil, 400, "BadRequest", "serverFarmId"},
		{"no properties", "PUT", site + "/config/appsettings" + version, `{"A":"1"}`, nil, 400, invalid, "properties"},
		{"a number as setting", "PUT", site + "/config/appsettings" + version, `{"properties":{"A":{"b":1}}}`, nil, 400, "BadRequest", "A"},
		{"a type of connection", "PUT", site + "/config/connectionstrings" + version, `{"properties":{"Db":{"value":"x","type":"Nope"}}}`, nil, 400, "BadRequest", "Db"},
		{"a key as number", "PUT", site + "/host/default/functionkeys/k" + version, `{"properties":{"value":1}}`, nil, 400, invalid, "value"},
		{"a policy that is none", "PUT", site + "/basicPublishingCredentialsPolicies/scm" + version, `{"properties":{"allow":"yes"}}`, nil, 400, invalid, "allow"},
		{"a policy without its member", "PUT", site + "/basicPublishingCredentialsPolicies/scm" + version, `{"properties":{}}`, nil, 400, "BadRequest", "allow"},
		{"a plan of no size", "PUT", plan + version, `{"location":"local","sku":{"name":5}}`, nil, 400, "BadRequest", "sku"},
		{"a group without location", "PUT", c.group("fresh") + version, `{}`, nil, 400, "LocationRequired", "location"},
		{"tags that are none", "PUT", c.group("fresh") + version, `{"location":"local","tags":[1]}`, nil, 400, invalid, "tags"},
		{"10 MiB", "PUT", site + "/config/appsettings" + version, big, nil, 413, "RequestEntityTooLarge", "bytes"},
		{"10 MiB to a group", "PUT", c.group("fresh") + version, big, nil, 413, "RequestEntityTooLarge", "bytes"},
		{"deep", "PUT", site + "/config/web" + version, `{"properties":{"cors":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`, nil, 400, invalid, ""},
	} {
		b.check(t, c)
	}
	c.endless(t, site+"/config/appsettings"+version)
	a := c.do(t, "POST", site+"/config/appsettings/list"+version, "")
	if a.has("properties.FUNCTIONS_WORKER_RUNTIME=custom") != nil {
		t.Errorf("what was refused changed the settings: %s", a)
	}
}

// endless sends a body whose length nobody knows before.
func (c *caller) endless(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := io.MultiReader(strings.NewReader(`{"properties":{"A":"`), io.LimitReader(endlessText{}, 10<<20))
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.p.Management+path, body)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+c.token(t))
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("10 MiB of unknown length: %v", err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("10 MiB of unknown length: %d %s", resp.StatusCode, text)
	}
}

type endlessText struct{}

// Read implements io.Reader.
func (endlessText) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte("x"), len(p)))
	return len(p), nil
}

// badElsewhere is what is no management call, at the same address.
func badElsewhere(t *testing.T, c *caller) {
	form := http.Header{"Authorization": {""}, "Content-Type": {"application/x-www-form-urlencoded"}}
	at := "/" + c.cred.TenantID + "/oauth2/v2.0/token"
	scm := strings.Replace(c.p.Management, "://", "://orders.scm.", 1)
	zipped := http.Header{"Content-Type": {"application/zip"}}
	for _, b := range []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		says                     string
		challenged               bool
	}{
		{"a wrong secret", "POST", at, "grant_type=client_credentials&client_id=" + c.cred.ClientID + "&client_secret=x&scope=" + escape(c.p.Management+"/.default"), form, 401, "AADSTS7000215", false},
		{"no such app", "POST", at, "grant_type=client_credentials&client_id=" + uuid.NewString() + "&client_secret=x&scope=" + escape(c.p.Management+"/.default"), form, 400, "AADSTS700016", false},
		{"another grant", "POST", at, "grant_type=password", form, 400, "AADSTS", false},
		{"a tenant that there is not", "GET", "/" + uuid.NewString() + "/v2.0/.well-known/openid-configuration", "", form, 400, "AADSTS90002", false},
		{"deploying without a credential", "POST", scm + "/api/zipdeploy", "x", http.Header{"Authorization": {""}}, 401, "", true},
		{"deploying with a bad token", "POST", scm + "/api/zipdeploy", "x", bearer("nonsense"), 401, "", true},
		{"deploying what is no zip", "POST", scm + "/api/zipdeploy", "no zip", zipped, 400, "", false},
		{"deploying to no app", "POST", strings.Replace(scm, "orders", "nobody", 1) + "/api/zipdeploy", "x", zipped, 404, "", false},
		{"an endpoint that there is not", "GET", scm + "/api/nothing", "", nil, 404, "", false},
	} {
		a := c.send(t, request{method: b.method, path: b.path, body: b.body, header: b.header})
		if a.status != b.status || !strings.Contains(string(a.body), b.says) || b.challenged != (a.header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: %s, challenge %q; not %d %s", b.name, a, a.header.Get("Www-Authenticate"), b.status, b.says)
		}
	}
}
