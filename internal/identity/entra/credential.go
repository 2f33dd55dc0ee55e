package entra

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/latchkey/latchkey/internal/problem"
)

// credential gets tokens for a mapping, one at a time.
type credential struct {
	mapping Mapping
	cfg     Config
	slots   chan struct{} // shared by all: how many ask at a time
	turn    chan struct{} // whoever has put a value in has what follows
	options policy.ClientOptions

	inner    azcore.TokenCredential
	material []byte // what the file held when it could last be used
	warned   string
}

func newCredential(m Mapping, cfg Config, slots chan struct{}) *credential {
	c := &credential{mapping: m, cfg: cfg, slots: slots, turn: make(chan struct{}, 1)}
	host, base := m.AuthorityHost, cfg.Outbound
	if host == "" {
		host = DefaultAuthorityHost
	}
	if m.Mode == Machine {
		base = cfg.Direct
	}
	c.options = policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: host},
		Transport: newWitness(base),
		Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 2 * time.Second},
	}
	return c
}

// GetToken implements azcore.TokenCredential. The library answers from its memory
// while a token has time left.
func (c *credential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if options.TenantID != "" && c.mapping.TenantID != "" && !strings.EqualFold(options.TenantID, c.mapping.TenantID) {
		return azcore.AccessToken{}, problem.New(problem.Denied, fmt.Sprintf("a token of tenant %q was asked for, the mapping of %q is for %q", options.TenantID, c.mapping.Identity, c.mapping.TenantID))
	}
	call, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	leave, err := c.enter(call)
	if err != nil {
		return azcore.AccessToken{}, c.late(ctx)
	}
	defer leave()
	if err := c.ready(); err != nil {
		return azcore.AccessToken{}, err
	}
	call, seen := observe(call)
	got, err := c.inner.GetToken(call, options)
	if err != nil {
		return azcore.AccessToken{}, c.fault(ctx, call, seen)
	}
	return got, nil
}

// enter waits for the mapping's turn, which the library would without regard to ctx,
// and for a slot.
func (c *credential) enter(ctx context.Context) (leave func(), err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots; <-c.turn }, nil
	case <-ctx.Done():
		<-c.turn
		return nil, ctx.Err()
	}
}

// check says whether what the mapping proves itself by can be used now.
func (c *credential) check() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.renew()
}

// ready makes the library's credential, anew if the file changed. What the file held
// last stays in use while it is no good.
func (c *credential) ready() error {
	err := c.renew()
	switch {
	case err == nil:
		c.warned = ""
	case c.inner == nil:
		return err
	case c.warned != err.Error():
		c.warned = err.Error()
		c.cfg.Log.Warn("the last good credential for Entra is still used", slog.String("identity", c.mapping.Identity), slog.String("error", err.Error()), slog.String("next", problem.NextOf(err)))
	}
	return nil
}

func (c *credential) renew() error {
	var material []byte
	if file := c.mapping.file(); file != "" {
		var err error
		if material, err = read(file, c.mapping.Mode != Workload); err != nil {
			return err
		}
	}
	if c.inner != nil && (c.mapping.Mode == Workload || bytes.Equal(material, c.material)) {
		c.material = material // the library asks for an assertion each time
		return nil
	}
	inner, err := c.build(material)
	if err != nil {
		return err
	}
	if c.inner != nil {
		c.cfg.Log.Info("the credential for Entra was replaced", slog.String("identity", c.mapping.Identity), slog.String("file", c.mapping.file()))
	}
	c.inner, c.material = inner, material
	return nil
}

// build makes the library's credential. Its errors never say what a file holds.
func (c *credential) build(material []byte) (azcore.TokenCredential, error) {
	m := c.mapping
	var made azcore.TokenCredential
	var err error
	switch m.Mode {
	case Secret:
		made, err = azidentity.NewClientSecretCredential(m.TenantID, m.ClientID, string(material), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: c.options, DisableInstanceDiscovery: m.DisableInstanceDiscovery,
		})
	case Certificate:
		chain, key, parsed := azidentity.ParseCertificates(material, nil)
		if parsed != nil {
			return nil, problem.New(problem.Denied, "file "+m.CertificateFile+" holds no certificate with its private key").
				WithNext("put both there as PEM, or as PKCS #12 without a password")
		}
		made, err = azidentity.NewClientCertificateCredential(m.TenantID, m.ClientID, chain, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: c.options, DisableInstanceDiscovery: m.DisableInstanceDiscovery, SendCertificateChain: true,
		})
	case Workload:
		assertion := func(context.Context) (string, error) { return string(c.material), nil } // within a turn
		made, err = azidentity.NewClientAssertionCredential(m.TenantID, m.ClientID, assertion, &azidentity.ClientAssertionCredentialOptions{
			ClientOptions: c.options, DisableInstanceDiscovery: m.DisableInstanceDiscovery,
		})
	default:
		options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.options}
		if m.ClientID != "" {
			options.ID = azidentity.ClientID(m.ClientID)
		}
		made, err = azidentity.NewManagedIdentityCredential(options)
	}
	if err != nil {
		return nil, problem.New(problem.Denied, fmt.Sprintf("no credential of mode %q can be made for %q", m.Mode, m.Identity)).
			WithNext("check the mapping's settings and, for mode machine, the environment that Latchkey runs in")
	}
	return made, nil
}
