package registries

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxAnswer    = 64 << 10 // bytes
	maxToken     = 32 << 10 // bytes
	system       = "system"
	margin       = 5 * time.Minute  // that a refresh token must still live to be given out
	withoutClaim = 10 * time.Minute // how long a refresh token is kept that does not say when it ends
	longest      = 24 * time.Hour   // that any is kept
)

// tokenKey is what a refresh token was got for: a server and a token of an
// identity. Another principal, or one whose tokens were expired, has other tokens.
type tokenKey [sha256.Size]byte

type refreshToken struct {
	text  string
	until time.Time
}

// refused is the answer of a registry that does not accept what it was shown.
type refused struct{ status int }

func (r refused) Error() string { return fmt.Sprintf("it answers %d", r.status) }

// errNoExchange is of a server that has no exchange.
var errNoExchange = errors.New("it has no exchange for tokens of identities")

// byIdentity exchanges a token of an identity for a refresh token of the registry.
// That the registry gives an access token for the image's repository is tried here,
// since only here it is known whose right is missing.
func (c *Credentials) byIdentity(ctx context.Context, a containerapp.App, r containerapp.Registry, image string) (engine.Credential, error) {
	server := normal(r.Server)
	p := pull{c: c, app: a, server: server, identity: r.Identity, repository: repository(image)}
	if c.cfg.Allow != nil {
		if err := c.cfg.Allow(ctx, a, r.Identity, server); err != nil {
			return engine.Credential{}, p.denied(problem.KindOf(err), "must not be given tokens of identity "+p.who(), err)
		}
	}
	token, err := c.cfg.Token(ctx, a, r.Identity, Audience)
	if err != nil {
		return engine.Credential{}, p.noToken(err)
	}
	refresh, err := p.refresh(ctx, token)
	if err != nil {
		return engine.Credential{}, p.fault(ctx, err)
	}
	return engine.Credential{Username: tokenUser, Password: refresh}, nil
}

// pull is one pull by identity.
type pull struct {
	c                            *Credentials
	app                          containerapp.App
	server, identity, repository string
}

// refresh gives a refresh token that is good for the repository: a kept one, or a
// new one when there is none or the registry does not know it any more.
func (p pull) refresh(ctx context.Context, token string) (string, error) {
	key := tokenKey(sha256.Sum256([]byte(p.server + "\x00" + token)))
	kept, known := p.c.tokens.Get(key)
	if known && p.c.cfg.Clock.Now().Before(kept.until) {
		err := p.access(ctx, kept.text)
		if !errors.As(err, new(refused)) {
			return kept.text, err
		}
	}
	p.c.tokens.Remove(key)
	fresh, err := p.exchange(ctx, token)
	if err != nil {
		return "", err
	}
	if err := p.access(ctx, fresh.text); err != nil {
		return "", err
	}
	p.c.tokens.Add(key, fresh)
	return fresh.text, nil
}

// exchange gives a refresh token for a token of an identity.
func (p pull) exchange(ctx context.Context, token string) (refreshToken, error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {p.server}, "access_token": {token}}
	if tenant := claimsOf(token).Tenant; tenant != "" {
		form.Set("tenant", tenant)
	}
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	if err := p.post(ctx, "/oauth2/exchange", form, &answer); err != nil {
		return refreshToken{}, err
	}
	if answer.Refresh == "" || len(answer.Refresh) > maxToken {
		return refreshToken{}, errNoExchange
	}
	return refreshToken{answer.Refresh, p.until(answer.Refresh)}, nil
}

// access asks for an access token as the pull will.
func (p pull) access(ctx context.Context, refresh string) error {
	form := url.Values{
		"grant_type": {"refresh_token"}, "service": {p.server}, "scope": {"repository:" + p.repository + ":pull"}, "refresh_token": {refresh},
	}
	var answer struct {
		Access string `json:"access_token"`
	}
	err := p.post(ctx, "/oauth2/token", form, &answer)
	if errors.Is(err, errNoExchange) { // other engines and registries get on by the password alone
		return nil
	}
	return err
}

// until gives how long a refresh token may be given out.
func (p pull) until(refresh string) time.Time {
	now := p.c.cfg.Clock.Now()
	ends := expiry(refresh)
	if ends.IsZero() {
		return now.Add(withoutClaim)
	}
	left := min(ends.Sub(now), longest)
	return now.Add(left - min(margin, left/10))
}

// expiry reads when a token ends; zero if it does not say. Nothing depends on
// whether the registry says the truth but its own pulls.
func expiry(token string) time.Time {
	if ends := claimsOf(token).Expires; ends > 0 {
		return time.Unix(ends, 0)
	}
	return time.Time{}
}

// claims are what is read from tokens without checking them.
type claims struct {
	Expires int64  `json:"exp"`
	Tenant  string `json:"tid"`
}

func claimsOf(token string) (c claims) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &c) != nil {
		return claims{}
	}
	return c
}

// post sends a form to the registry itself, whatever it says about other servers.
func (p pull) post(ctx context.Context, path string, form url.Values, answer any) error {
	err := p.postBy(ctx, "https", path, form, answer)
	if errors.Is(err, http.ErrSchemeMismatch) && isLoopback(p.server) { // it does not leave this machine
		return p.postBy(ctx, "http", path, form, answer)
	}
	return err
}

func (p pull) postBy(ctx context.Context, scheme, path string, form url.Values, answer any) error {
	target := url.URL{Scheme: scheme, Host: p.server, Path: path}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("its name is no host")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	resp, err := p.c.client.Do(r)
	if err != nil {
		return unwrapped(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusBadRequest:
		return refused{resp.StatusCode}
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusMethodNotAllowed, resp.StatusCode/100 == 3:
		return errNoExchange
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %d", resp.StatusCode)
	case err != nil:
		return unwrapped(err)
	case json.Unmarshal(body, answer) != nil: // what it is must not be told: it may be no registry at all
		return errNoExchange
	}
	return nil
}

// unwrapped gives the cause of an error of net/http without the URL.
func unwrapped(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
