// Package entra owns tokens of the real Microsoft Entra for resources outside
// Latchkey: which identity of an installation stands for which principal there,
// what that proves itself by, and what Entra's refusals mean. It does not keep
// tokens, decide who may use an identity, or know the endpoint that apps ask.
package entra

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

// Defaults of a [Config].
const (
	DefaultTimeout  = 10 * time.Second
	DefaultParallel = 16
)

// Config is what [New] needs. Log must be set; the zero value of the rest is the
// default.
type Config struct {
	// Mappings are asked in order; the first that fits identity and resource counts.
	Mappings []Mapping
	// Ours says of a resource that Latchkey issues tokens for it. Such a one goes
	// upstream only where a mapping names it without a wildcard. nil: none is ours.
	Ours  func(resource string) bool
	Clock clock.Clock // nil is the system's
	Log   *slog.Logger

	Timeout  time.Duration     // of one token in all, waiting for others included
	Parallel int               // tokens asked for at the same time
	Direct   http.RoundTripper // to the machine's identity endpoint; nil uses no proxy
	Outbound http.RoundTripper // to Entra; nil is http.DefaultTransport
}

// Upstream gets tokens from Entra. It is safe for concurrent use. Every mapping
// asks for one token at a time.
type Upstream struct {
	cfg         Config
	credentials []*credential // one for each mapping, in order
}

// New makes an upstream. It returns problem.Invalid, naming the mapping and its
// field, for what can never work. It reads no file and asks nobody: see
// [Upstream.Check].
func New(cfg Config) (*Upstream, error) {
	if cfg.Log == nil {
		return nil, problem.New(problem.Invalid, "tokens of Entra need a log")
	}
	cfg = cfg.withDefaults()
	u := &Upstream{cfg: cfg}
	slots := make(chan struct{}, cfg.Parallel)
	for i, m := range cfg.Mappings {
		if err := m.check(); err != nil {
			return nil, problem.Wrap(problem.Invalid, fmt.Sprintf("mapping %d (%q)", i, m.Identity), err)
		}
		u.credentials = append(u.credentials, newCredential(m, cfg, slots))
	}
	return u, nil
}

func (c Config) withDefaults() Config {
	if c.Ours == nil {
		c.Ours = func(string) bool { return false }
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Parallel <= 0 {
		c.Parallel = DefaultParallel
	}
	if c.Outbound == nil {
		c.Outbound = http.DefaultTransport
	}
	if c.Direct == nil {
		c.Direct = &http.Transport{MaxIdleConns: 4, IdleConnTimeout: time.Minute} // without Proxy
	}
	return c
}

// Token gives a token of Entra for a resource, such as "https://storage.azure.com/",
// if a mapping is for it; else handled is false and there is no error. Issued is when
// Entra was asked. Errors say what Entra said, as code and short text, and never hold
// a secret: problem.Denied when it refuses or what the mapping proves itself by
// cannot be used, problem.Invalid when it knows no such resource, problem.Throttled,
// problem.Unavailable when it cannot be reached, problem.Timeout.
func (u *Upstream) Token(ctx context.Context, who identity.Assigned, resource string) (t token.Token, handled bool, err error) {
	c := u.find(who, resource, u.cfg.Ours(resource))
	if c == nil {
		return token.Token{}, false, nil
	}
	got, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope(resource)}})
	if err != nil {
		return token.Token{}, true, err
	}
	// Entra and its library live in real time. What is left of it counts from now on
	// by our clock, which a drill may have moved.
	now := u.cfg.Clock.Now()
	return token.Token{Raw: got.Token, Issued: now, Expires: now.Add(time.Until(got.ExpiresOn).Round(time.Second))}, true, nil
}

// Credential gives the mapped credential of an identity, for clients of the real
// cloud; false if there is no mapping. It asks with the mapping that fits each
// resource, also such as are ours: who uses it knows that it talks to the real one.
// Its errors are as those of [Upstream.Token].
func (u *Upstream) Credential(who identity.Assigned) (azcore.TokenCredential, bool) {
	for _, c := range u.credentials {
		if c.mapping.isFor(who) {
			return &mapped{u, who}, true
		}
	}
	return nil, false
}

// Check reads what each mapping proves itself by and gives what is wrong, by the
// mapping's place: for a start log or a diagnosis. It does not ask Entra.
func (u *Upstream) Check() map[int]error {
	faults := map[int]error{}
	for i, c := range u.credentials {
		if err := c.check(); err != nil {
			faults[i] = err
		}
	}
	return faults
}

// find gives the credential for an identity and a resource, or nil.
func (u *Upstream) find(who identity.Assigned, resource string, named bool) *credential {
	for _, c := range u.credentials {
		if c.mapping.isFor(who) && c.mapping.covers(resource, named) {
			return c
		}
	}
	return nil
}

// mapped is what [Upstream.Credential] gives.
type mapped struct {
	upstream *Upstream
	who      identity.Assigned
}

// GetToken implements azcore.TokenCredential.
func (m *mapped) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(options.Scopes) != 1 {
		return azcore.AccessToken{}, problem.New(problem.Invalid, "a token is for one scope")
	}
	resource := strings.TrimSuffix(options.Scopes[0], defaultScope)
	if c := m.upstream.find(m.who, resource, false); c != nil {
		return c.GetToken(ctx, options)
	}
	return azcore.AccessToken{}, problem.New(problem.Denied, fmt.Sprintf("no mapping of %s covers the resource %q", m.who.ResourceID, resource)).
		WithNext("add the resource to the mapping's resources")
}

const defaultScope = "/.default"

// scope gives the scope of a resource. A slash at its end is part of it, so that the
// audience gets one too.
func scope(resource string) string {
	return strings.TrimSuffix(resource, defaultScope) + defaultScope
}
