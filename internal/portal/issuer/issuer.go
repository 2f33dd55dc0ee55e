// Package issuer owns signing in by an OpenID Connect provider: the address that a
// browser is sent to, and what the provider says about who comes back, with an
// authorization code, PKCE, state and nonce. It does not know principals, sessions or
// pages.
package issuer

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds.
const (
	patience   = 15 * time.Second // for an answer of the provider
	mostGroups = 1000             // of one person that are looked at
)

// algorithms are those that keys are published for. A secret that both have, or no
// signature at all, proves nothing here.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// Config is what is agreed with the provider. Issuer, ClientID, Redirect, Clock and
// Name are needed.
type Config struct {
	Issuer       string // exactly as its discovery document and its tokens say
	ClientID     string
	ClientSecret string // "" for a public client, which PKCE alone protects
	GroupsClaim  string // "" takes no groups
	Scopes       []string
	Name         string // of the provider, for the button
	Redirect     string // address of the page that takes the answer
	Clock        clock.Clock
	Client       *http.Client // nil is one with bounds
}

// Person is who the provider says comes.
type Person struct {
	Issuer, Subject string // who it is; nothing else is compared
	ClientID        string // whom it was said to
	Name            string // to show; "" if not said
	Groups          []string
}

// Issuer speaks to one provider. It is safe for concurrent use, and asks for the
// provider's description when it is needed first.
type Issuer struct {
	cfg Config

	mu       sync.Mutex
	provider *oidc.Provider
}

// New makes an Issuer; the provider need not be there yet.
func New(cfg Config) *Issuer {
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: patience}
	}
	if !slices.Contains(cfg.Scopes, oidc.ScopeOpenID) {
		cfg.Scopes = append([]string{oidc.ScopeOpenID}, cfg.Scopes...)
	}
	return &Issuer{cfg: cfg}
}

// Name is the provider's name for people.
func (i *Issuer) Name() string { return i.cfg.Name }

// Address gives where a browser goes to sign in. It returns problem.Unavailable if
// the provider does not answer.
func (i *Issuer) Address(ctx context.Context, a Attempt) (string, error) {
	o, _, err := i.open(ctx)
	if err != nil {
		return "", err
	}
	return o.AuthCodeURL(a.state(), oidc.Nonce(a.nonce()), oauth2.S256ChallengeOption(a.verifier())), nil
}

// Person takes the provider's answer, which belongs to an attempt. It returns
// problem.Unauthenticated for an answer that proves nothing, problem.Denied if the
// provider refuses, and problem.Unavailable if it does not answer.
func (i *Issuer) Person(ctx context.Context, a Attempt, answer url.Values) (Person, error) {
	if subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(a.state())) != 1 {
		return Person{}, refuse("it was not asked for by this browser", nil)
	}
	if from := answer.Get("iss"); from != "" && from != i.cfg.Issuer {
		return Person{}, refuse("it comes from another issuer", nil)
	}
	if answer.Has("error") {
		return Person{}, problem.New(problem.Denied, fmt.Sprintf("the issuer refuses: %.100q", answer.Get("error")))
	}
	if answer.Get("code") == "" {
		return Person{}, refuse("it has no code", nil)
	}
	raw, verifier, err := i.exchange(ctx, a, answer.Get("code"))
	if err != nil {
		return Person{}, err
	}
	token, err := verifier.Verify(oidc.ClientContext(ctx, i.cfg.Client), raw)
	if err != nil {
		return Person{}, refuse("its token does not hold", err)
	}
	return i.person(token, a)
}

// exchange gets the token for a code.
func (i *Issuer) exchange(ctx context.Context, a Attempt, code string) (raw string, _ *oidc.IDTokenVerifier, err error) {
	o, verifier, err := i.open(ctx)
	if err != nil {
		return "", nil, err
	}
	tokens, err := o.Exchange(context.WithValue(ctx, oauth2.HTTPClient, i.cfg.Client), code, oauth2.VerifierOption(a.verifier()))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < http.StatusInternalServerError:
		return "", nil, refuse(fmt.Sprintf("the issuer does not take its code: %.100q", refused.ErrorCode), nil)
	case err != nil:
		return "", nil, away(err)
	}
	raw, _ = tokens.Extra("id_token").(string)
	if raw == "" {
		return "", nil, refuse("the issuer gave no ID token", nil)
	}
	return raw, verifier, nil
}

func (i *Issuer) person(token *oidc.IDToken, a Attempt) (Person, error) {
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(a.nonce())) != 1 {
		return Person{}, refuse("its token was made for another sign-in", nil)
	}
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return Person{}, refuse("its token cannot be read", err)
	}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	if party := text("azp"); party != "" && party != i.cfg.ClientID || party == "" && len(token.Audience) > 1 {
		return Person{}, refuse("its token was made for another client", nil)
	}
	if token.Subject == "" {
		return Person{}, refuse("its token names nobody", nil)
	}
	p := Person{Issuer: token.Issuer, Subject: token.Subject, ClientID: i.cfg.ClientID}
	for _, name := range []string{"name", "preferred_username", "email"} {
		if p.Name == "" {
			p.Name = text(name)
		}
	}
	p.Groups = texts(claims[i.cfg.GroupsClaim])
	return p, nil
}

// texts reads a claim that is a text or a list of them.
func texts(claim any) (list []string) {
	if one, ok := claim.(string); ok {
		return []string{one}
	}
	several, _ := claim.([]any)
	for _, v := range several[:min(len(several), mostGroups)] {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// open gives what speaks to the provider, whose description is read until it was
// there once.
func (i *Issuer) open(ctx context.Context) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	provider := i.provider
	i.mu.Unlock()
	if provider == nil {
		// Keys are read later with the same client, so it must not end with the request.
		found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), i.cfg.Client), i.cfg.Issuer)
		if err != nil {
			return nil, nil, away(err)
		}
		i.mu.Lock()
		i.provider, provider = found, found
		i.mu.Unlock()
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = i.style(provider)
	o := &oauth2.Config{
		ClientID: i.cfg.ClientID, ClientSecret: i.cfg.ClientSecret, Endpoint: endpoint, RedirectURL: i.cfg.Redirect, Scopes: i.cfg.Scopes,
	}
	return o, provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), i.cfg.Client), &oidc.Config{
		ClientID: i.cfg.ClientID, SupportedSigningAlgs: algorithms, Now: i.cfg.Clock.Now,
	}), nil
}

// style gives how the client proves itself. It is not found out by trying: that would
// use codes up.
func (i *Issuer) style(provider *oidc.Provider) oauth2.AuthStyle {
	var said struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	_ = provider.Claims(&said) // none said is the specification's default
	if i.cfg.ClientSecret == "" || len(said.Methods) > 0 && !slices.Contains(said.Methods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// refuse is for answers that prove nothing. The cause is for the log; it has no
// secrets.
func refuse(why string, cause error) error {
	if cause == nil {
		return problem.New(problem.Unauthenticated, "the issuer's answer is not good: "+why)
	}
	return problem.Wrap(problem.Unauthenticated, "the issuer's answer is not good: "+why+": "+cause.Error(), cause)
}

func away(err error) error {
	return problem.Wrap(problem.Unavailable, "the issuer of OpenID Connect tokens does not answer as it should: "+err.Error(), err)
}
