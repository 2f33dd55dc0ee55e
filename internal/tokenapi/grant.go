package tokenapi

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/web"
)

// token answers a token request.
func (s *service) token(x *exchange, v2 bool) error {
	form, err := readForm(x.w, x.r)
	if err != nil {
		return err
	}
	q, err := parseRequest(form, x.r.Header.Get("Authorization"), v2)
	if id, bad := uuid.Parse(q.clientID); bad == nil {
		x.event.AppID = id.String()
	}
	if err != nil {
		return err
	}
	who, err := s.authenticate(x, q)
	if err != nil {
		return err
	}
	return s.grant(x, who, q, v2)
}

// client is an authenticated client.
type client struct {
	identity.Principal
	proof token.Proof
}

// authenticate finds out who asks, within the limits for those who are wrong.
func (s *service) authenticate(x *exchange, q request) (client, error) {
	source := s.Source(x.r)
	if wait := s.limits.wait(source, x.event.AppID); wait > 0 {
		return client{}, throttled(wait)
	}
	if x.event.AppID == "" {
		s.limits.wrong(source, "")
		return client{}, faultf(700016, "Application with identifier '%s' was not found in the directory '%s'.", clip(q.clientID), s.TenantID)
	}
	who, err := s.prove(x, q)
	if err == nil {
		x.event.ObjectID, x.event.Name = who.ObjectID, who.Name
		s.limits.right(source, x.event.AppID)
		return who, nil
	}
	if known, isWrong := wrongProof(err); isWrong {
		app := ""
		if known {
			app = x.event.AppID
		}
		if wait := s.limits.wrong(source, app); wait > 0 {
			return client{}, throttled(wait)
		}
	}
	return client{}, err
}

// prove checks the proof that the client presents.
func (s *service) prove(x *exchange, q request) (who client, err error) {
	ctx, app := x.r.Context(), x.event.AppID
	if q.secret != "" {
		x.event.Method = "secret"
		p, secret, err := s.Directory.VerifySecret(ctx, app, q.secret)
		x.event.CredentialID = secret.ID
		return client{p, token.ProofSecret}, err
	}
	a, err := identity.ParseAssertion(q.assertion)
	if err != nil {
		return who, err
	}
	if a.IsOwn(app) {
		x.event.Method = "certificate"
		return s.proveCertificate(x, a, q.assertion)
	}
	x.event.Method = "federated"
	p, f, err := s.Directory.VerifyFederated(ctx, app, a, s.issuers())
	if err == nil {
		x.event.CredentialID = f.Name
	}
	return client{p, token.ProofCertificate}, err
}

func (s *service) proveCertificate(x *exchange, a identity.Assertion, raw string) (client, error) {
	p, c, err := s.Directory.VerifyCertificate(x.r.Context(), x.event.AppID, a, func(audience string) bool { return s.isUs(x, audience) })
	if err == nil {
		x.event.CredentialID = c.ID
		err = s.replays.take(p.AppID, a, raw, s.Source(x.r))
	}
	return client{p, token.ProofCertificate}, err
}

// isUs says whether an assertion's audience is this service: a token endpoint or
// the issuer, under the name of the request.
func (s *service) isUs(x *exchange, audience string) bool {
	u, err := url.Parse(audience)
	if err != nil || !strings.EqualFold(u.Scheme+"://"+u.Host, x.base) || u.RawQuery != "" || u.User != nil {
		return false
	}
	parts := strings.Split(strings.ToLower(strings.Trim(u.Path, "/")), "/")
	if s.checkTenant(parts[0]) != nil {
		return false
	}
	switch strings.Join(parts[1:], "/") {
	case "oauth2/token", "oauth2/v2.0/token", "v2.0", "":
		return true
	}
	return false
}

// noIssuers trusts nobody.
type noIssuers struct{}

// Verify refuses every issuer.
func (noIssuers) Verify(context.Context, string, string) error {
	return &identity.Refused{Reason: identity.IssuerUnavailable, Detail: "no issuers are asked here"}
}

func (s *service) issuers() identity.Issuers {
	if s.Issuers == nil {
		return noIssuers{}
	}
	return s.Issuers
}

// grant mints the token and answers with it.
func (s *service) grant(x *exchange, who client, q request, v2 bool) (err error) {
	resource := q.resource
	if v2 {
		if resource, err = scopeResource(q.scope); err != nil {
			return err
		}
	} else {
		resource = strings.TrimSuffix(resource, defaultScope)
	}
	x.event.Audience = clip(resource)
	aud, version, err := s.audience(x.r.Context(), resource)
	if err != nil {
		return err
	}
	t, err := s.Authority.Mint(x.r.Context(), token.Claims{
		Version: version, Audience: aud, ObjectID: who.ObjectID, AppID: who.AppID, Proof: who.proof, Method: token.Method(x.event.Method), ResourceID: who.ResourceID, Epoch: who.Epoch,
	}, s.Lifetime)
	if err != nil {
		return err
	}
	x.event.Granted, x.event.TokenID = true, t.ID
	s.answer(x, t, q.resource, v2)
	return nil
}

// answerV2 has numbers and no scope: libraries compare a scope with what they
// asked for.
type answerV2 struct {
	Type   string `json:"token_type"`
	In     int    `json:"expires_in"`
	Ext    int    `json:"ext_expires_in"`
	Access string `json:"access_token"`
}

// answerV1 has texts.
type answerV1 struct {
	Type      string `json:"token_type"`
	In        string `json:"expires_in"`
	Ext       string `json:"ext_expires_in"`
	On        string `json:"expires_on"`
	NotBefore string `json:"not_before"`
	Resource  string `json:"resource"`
	Access    string `json:"access_token"`
}

func (s *service) answer(x *exchange, t token.Token, resource string, v2 bool) {
	in := int(math.Floor(t.Expires.Sub(s.Clock.Now()).Seconds()))
	if v2 {
		web.WriteJSON(x.w, http.StatusOK, answerV2{"Bearer", in, in, t.Raw})
		return
	}
	web.WriteJSON(x.w, http.StatusOK, answerV1{
		Type: "Bearer", In: strconv.Itoa(in), Ext: strconv.Itoa(in),
		On:        strconv.FormatInt(t.Expires.Unix(), 10),
		NotBefore: strconv.FormatInt(t.Issued.Unix()-300, 10),
		Resource:  resource, Access: t.Raw,
	})
}
