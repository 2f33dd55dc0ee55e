package witness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// caller is a principal at a running process, as a client library sees it: an
// endpoint, an authority to trust and a client secret.
type caller struct {
	p    *process
	cred armclient.Credential
	http *http.Client
	azcore.TokenCredential
}

// owner gives the principal that the first start made.
func (p *process) owner(t testing.TB) *caller {
	t.Helper()
	return newCaller(t, p, p.credential(t))
}

func newCaller(t testing.TB, p *process, cred armclient.Credential) *caller {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("ca.pem has no certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: toLoopback, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	c := &caller{p: p, cred: cred, http: &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	c.TokenCredential, err = azidentity.NewClientSecretCredential(cred.TenantID, cred.ClientID, cred.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: c.options().ClientOptions, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// toLoopback stands for the host entries that a machine has: name servers do not
// know names below localhost.
func toLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// options point the Go libraries at the process.
func (c *caller) options() *azarm.ClientOptions {
	return &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: c.http, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: c.p.Management + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: c.p.Management, Audience: c.p.Management},
			},
		},
	}}
}

// token gets a token as the libraries do.
func (c *caller) token(t testing.TB) string {
	t.Helper()
	got, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.p.Management + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	return got.Token
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s", a.status, a.body[:min(len(a.body), 2000)])
}

// at gives the member of the JSON body that a path such as "value.0.name" leads
// to, and nil if there is none.
func (a answer) at(path string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	if path == "" {
		return v
	}
	for name := range strings.SplitSeq(path, ".") {
		switch w := v.(type) {
		case map[string]any:
			v = w[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(w) {
				return nil
			}
			v = w[i]
		default:
			return nil
		}
	}
	return v
}

// text is at for a string.
func (a answer) text(path string) string {
	s, _ := a.at(path).(string)
	return s
}

// request is an HTTP request spelled out.
type request struct {
	method, path string // path begins at the management address, or is a whole URL
	body         string
	header       http.Header
}

// send sends a request with the caller's token, unless it has an Authorization
// field of its own.
func (c *caller) send(t testing.TB, r request) answer {
	t.Helper()
	target := r.path
	if strings.HasPrefix(target, "/") {
		target = c.p.Management + target
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, target, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if req.Header["Authorization"] == nil {
		req.Header.Set("Authorization", "Bearer "+c.token(t))
	}
	if r.body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// do is send for requests that must succeed.
func (c *caller) do(t testing.TB, method, path, body string) answer {
	t.Helper()
	a := c.send(t, request{method: method, path: path, body: body})
	if a.status >= 400 {
		t.Fatalf("%s %s: %s", method, path, a)
	}
	return a
}

func (c *caller) subscription() string { return "/subscriptions/" + c.cred.SubscriptionID }

func (c *caller) group(name string) string { return c.subscription() + "/resourceGroups/" + name }

func (c *caller) site(group, name string) string {
	return c.group(group) + "/providers/Microsoft.Web/sites/" + name
}

// principal makes a service principal with a secret of its own.
func (c *caller) principal(t testing.TB, name string) (*caller, string) {
	t.Helper()
	const version = "?api-version=2026-01-01"
	made := c.do(t, "POST", "/providers/Latchkey.Directory/principals"+version, `{"name":"`+name+`"}`)
	object := made.text("objectId")
	secret := c.do(t, "POST", "/providers/Latchkey.Directory/principals/"+object+"/addSecret"+version, `{"name":"witness","days":1}`)
	cred := c.cred
	cred.ClientID, cred.ClientSecret = made.text("appId"), secret.text("secret")
	if object == "" || cred.ClientID == "" || cred.ClientSecret == "" {
		t.Fatalf("principal %s: %s", name, made)
	}
	return newCaller(t, c.p, cred), object
}

// deploy uploads a package of an app with the function f the way the command-line
// clients do, and waits for nothing: the answer comes when it is done.
func (c *caller) deploy(t testing.TB, app string, files map[string]string) {
	t.Helper()
	c.deployZip(t, app, platformtest.Package(t, []string{"f"}, files))
}

func (c *caller) deployZip(t testing.TB, app string, zip []byte) {
	t.Helper()
	target := strings.Replace(c.p.Management, "://", "://"+app+".scm.", 1) + "/api/zipdeploy"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(zip))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token(t))
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("deploying %s: %d %s", app, resp.StatusCode, text)
	}
}

// calls calls a function until it answers a status.
func (p *process) calls(t testing.TB, app, key string, want int) {
	t.Helper()
	last := 0
	until(t, fmt.Sprintf("%s answers %d", app, want), func() bool {
		status, err := p.call(t.Context(), app, "/api/f", key)
		if err != nil {
			t.Fatal(err)
		}
		if status != want && status != last {
			t.Logf("%s answers %d, not %d yet", app, status, want)
		}
		last = status
		return status == want
	})
}

// app makes an app in a group, with the function f if upstream is not "".
func (c *caller) app(t testing.TB, group, name, upstream string) {
	t.Helper()
	c.do(t, "PUT", c.group(group)+"?api-version=2021-04-01", `{"location":"local"}`)
	body, err := json.Marshal(map[string]any{"location": "local", "kind": "functionapp,linux", "properties": map[string]any{
		"siteConfig": map[string]any{"appSettings": []map[string]string{
			{"name": testkit.UpstreamSetting, "value": upstream}, {"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"},
			{"name": "REF", "value": "@Microsoft.KeyVault(VaultName=kv;SecretName=s)"},
		}, "connectionStrings": []map[string]string{{"name": "REF", "connectionString": "@Microsoft.KeyVault(VaultName=kv;SecretName=s)", "type": "Custom"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.do(t, "PUT", c.site(group, name)+"?api-version=2023-12-01", string(body))
}

// escape is url.QueryEscape with %20 for a space, as most clients write it.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
