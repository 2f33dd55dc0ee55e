package armclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// APIVersion is sent where a path names none.
const APIVersion = "2023-12-01"

// Limits of answers.
const (
	maxAnswer   = 64 << 20
	callTimeout = 2 * time.Minute
)

// Client calls the management API. It is safe for concurrent use.
type Client struct {
	cred Credential
	base *url.URL
	http *http.Client

	mu     sync.Mutex
	tokens map[string]AccessToken // by resource
}

// AccessToken is a token that somebody may present to a resource.
type AccessToken struct {
	Raw     string // a secret
	Expires time.Time
}

// New makes a client. It returns problem.Invalid for a credential whose endpoint
// or authority's file is no good. It calls nobody.
func New(c Credential) (*Client, error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, problem.Wrap(problem.Invalid, "the authority's certificate cannot be read", err).
				WithNext("latchkey trust shows where it is")
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, problem.New(problem.Invalid, c.CAFile+" has no certificate")
		}
	}
	return &Client{cred: c, base: base, tokens: map[string]AccessToken{}, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DialContext: dialer(base), ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment},
		// Nobody we call redirects; a token must not follow if somebody does.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// dialer reaches hosts below the endpoint's own, such as app.scm.localhost, where
// the endpoint is: name servers do not know them.
func dialer(base *url.URL) func(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err == nil && strings.HasSuffix(host, "."+base.Hostname()) {
			addr = net.JoinHostPort(base.Hostname(), port)
		}
		return d.DialContext(ctx, network, addr)
	}
}

// Credential gives what the client signs in with, without the secret.
func (c *Client) Credential() Credential {
	cred := c.cred
	cred.ClientSecret = ""
	return cred
}

// Transport gives how hosts of the installation are reached, for streams with
// tokens of their own. It must not be changed.
func (c *Client) Transport() *http.Transport { return c.http.Transport.(*http.Transport) }

// SignIn gets a token, or keeps one that is good for a while. It returns
// problem.Unauthenticated if the credential is not accepted.
func (c *Client) SignIn(ctx context.Context) error {
	_, err := c.Token(ctx, c.cred.Endpoint)
	return err
}

// Token gets a token for a resource, such as https://vault.localhost:7443, or
// gives one it got before that is good for a while. Errors are those of
// [Client.SignIn], and problem.Invalid for what is no resource.
func (c *Client) Token(ctx context.Context, resource string) (AccessToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resource = strings.TrimSuffix(resource, "/")
	if t := c.tokens[resource]; t.Raw != "" && time.Now().Add(time.Minute).Before(t.Expires) {
		return t, nil
	}
	t, err := c.newToken(ctx, resource)
	if err == nil {
		c.tokens[resource] = t
	}
	return t, err
}

func (c *Client) newToken(ctx context.Context, resource string) (t AccessToken, err error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.cred.ClientID}, "client_secret": {c.cred.ClientSecret},
		"scope": {resource + "/.default"},
	}
	target := c.base.JoinPath(c.cred.TenantID, "oauth2/v2.0/token").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return t, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return t, c.unreachable(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token       string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxCredential)).Decode(&answer); err != nil || (answer.Token == "" && answer.Description == "") {
		return t, problem.New(problem.Unavailable, fmt.Sprintf("the token service at %s answered %s with something else than a token", c.cred.Endpoint, resp.Status))
	}
	text, _, _ := strings.Cut(answer.Description, " Trace ID")
	switch {
	case answer.Token == "" && (answer.Error == "invalid_resource" || answer.Error == "invalid_scope"):
		return t, problem.New(problem.Invalid, "there is no token for that: "+text)
	case answer.Token == "":
		return t, problem.New(problem.Unauthenticated, "signing in failed: "+text).WithNext("sign in again with latchkey login")
	}
	return AccessToken{answer.Token, time.Now().Add(time.Duration(answer.ExpiresIn) * time.Second)}, nil
}

// resourceOf gives what a token for a host of the installation must be for.
func (c *Client) resourceOf(u *url.URL) string {
	if strings.HasSuffix(u.Hostname(), ".vault."+c.base.Hostname()) {
		return c.VaultResource()
	}
	return c.cred.Endpoint
}

// VaultResource gives the resource that tokens for vaults are made for.
func (c *Client) VaultResource() string { return "https://vault." + c.base.Host }

// VaultURL gives the address of a vault, for [Client.Do]; problem.Invalid for what
// cannot be a vault's name.
func (c *Client) VaultURL(name string) (string, error) {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
			return "", problem.New(problem.Invalid, fmt.Sprintf("%.40q is no name of a vault", name))
		}
	}
	if name == "" {
		return "", problem.New(problem.Invalid, "the vault has no name")
	}
	return "https://" + name + ".vault." + c.base.Host, nil
}

func (c *Client) unreachable(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return problem.Wrap(problem.Unavailable, "the certificate of "+c.cred.Endpoint+" is not trusted", err).
			WithNext("give the installation's ca.pem as caFile, or run latchkey trust")
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return problem.Wrap(problem.Unavailable, "the management API at "+c.cred.Endpoint+" cannot be reached", err).
		WithNext("start it with latchkey up, or sign in to another with latchkey login")
}

// Do calls the API: in, if not nil, is sent as JSON, and the answer is decoded
// into out, if not nil. path begins with a slash; it can have a query. Errors have
// the kind and the message of the API's answer.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	_, err := c.Exchange(ctx, Request{Method: method, Path: path}, in, out)
	return err
}

// Exchange is [Client.Do] for a call with more to it; Body and Out of the request
// are not used.
func (c *Client) Exchange(ctx context.Context, r Request, in, out any) (Answer, error) {
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return Answer{}, err
		}
		r.Body, r.ContentType = bytes.NewReader(text), "application/json"
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body bytes.Buffer
	r.Out = &body
	answer, err := c.Send(ctx, r)
	if errors.Is(err, context.DeadlineExceeded) {
		err = problem.Wrap(problem.Timeout, "the management API did not answer in time", err)
	}
	if err != nil || out == nil || body.Len() == 0 {
		return answer, err
	}
	if err := json.Unmarshal(body.Bytes(), out); err != nil {
		return answer, problem.Wrap(problem.Unavailable, "the management API's answer cannot be understood", err)
	}
	return answer, nil
}

// Stream calls the API with a body as it is and copies the answer to out, of which
// at most 64 MiB if it is in memory. The context bounds the time.
func (c *Client) Stream(ctx context.Context, method, path, contentType string, body io.Reader, out io.Writer) error {
	_, err := c.Send(ctx, Request{Method: method, Path: path, ContentType: contentType, Body: body, Out: out})
	return err
}

// Request is one call.
type Request struct {
	Method      string
	Path        string    // begins with a slash; it can have a query
	Body        io.Reader // nil is none
	Size        int64     // of the body, if it is known; 0 is unknown
	ContentType string    // of the body
	IfMatch     string    // the ETag that what is changed must still have; "" is any
	IfAbsent    bool      // what is made must not be there yet
	Out         io.Writer // gets the answer's body; nil drops it
}

// Answer is what is known of an answer besides its body.
type Answer struct {
	Status int
	ETag   string
}

// Send makes a call. The context bounds the time. Errors are those of
// [Client.Do]; what went to Out before one is of no use.
func (c *Client) Send(ctx context.Context, r Request) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, c.url(r.Path), r.Body)
	if err != nil {
		return Answer{}, err
	}
	token, err := c.Token(ctx, c.resourceOf(req.URL))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Raw)
	if r.Body != nil {
		req.Header.Set("Content-Type", r.ContentType)
	}
	if r.Size > 0 {
		req.ContentLength = r.Size
	}
	if r.IfMatch != "" {
		req.Header.Set("If-Match", r.IfMatch)
	}
	if r.IfAbsent {
		req.Header.Set("If-None-Match", "*")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, c.unreachable(err)
	}
	defer resp.Body.Close()
	answer := Answer{resp.StatusCode, resp.Header.Get("ETag")}
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what arrived of it says what there is to say
		return answer, apiError(resp.StatusCode, text)
	}
	return answer, copyAnswer(r.Out, resp.Body)
}

func copyAnswer(out io.Writer, body io.Reader) error {
	if out == nil {
		out = io.Discard
	}
	if _, inMemory := out.(*bytes.Buffer); inMemory {
		body = io.LimitReader(body, maxAnswer+1)
	}
	written, err := io.Copy(out, body)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the answer broke off", err)
	}
	if _, inMemory := out.(*bytes.Buffer); inMemory && written > maxAnswer {
		return problem.New(problem.TooLarge, fmt.Sprintf("the answer has more than %d MiB", maxAnswer>>20))
	}
	return nil
}

// url makes the whole URL of a path, with an api-version. A path that is a whole
// URL must be of the installation: it gets our token.
func (c *Client) url(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		u = &url.URL{Path: path}
	}
	if u.Host == "" {
		u.Scheme, u.Host = c.base.Scheme, c.base.Host
	} else if u.Scheme != "https" || (u.Hostname() != c.base.Hostname() && !strings.HasSuffix(u.Hostname(), "."+c.base.Hostname())) {
		u.Scheme, u.Host = c.base.Scheme, c.base.Host
	}
	q := u.Query()
	if !q.Has("api-version") {
		q.Set("api-version", APIVersion)
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// List gets all pages of a list.
func List[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	list := []T{}
	for path != "" {
		var page struct {
			Value    []T    `json:"value"`
			NextLink string `json:"nextLink"`
		}
		if err := c.Do(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Value...)
		path = page.NextLink
	}
	return list, nil
}

// Identity is who a client is, as its own token says.
type Identity struct {
	ObjectID string `json:"oid"`
	TenantID string `json:"tid"`
}

// Identity signs in and reads the token it gets. The token is ours: it is not
// verified, which is for those it is presented to.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	var id Identity
	token, err := c.Token(ctx, c.cred.Endpoint)
	if err != nil {
		return id, err
	}
	parts := strings.Split(token.Raw, ".")
	if len(parts) == 3 {
		var claims []byte
		if claims, err = base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			err = json.Unmarshal(claims, &id)
		}
	}
	if len(parts) != 3 || err != nil || id.ObjectID == "" {
		return id, problem.New(problem.Unavailable, "the token of "+c.cred.Endpoint+" cannot be understood")
	}
	return id, nil
}
