package tokenapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/web"
)

type instanceAnswer struct {
	Endpoint string         `json:"tenant_discovery_endpoint"`
	Version  string         `json:"api-version"`
	Metadata []instanceHost `json:"metadata"`
}

type instanceHost struct {
	Network string   `json:"preferred_network"`
	Cache   string   `json:"preferred_cache"`
	Aliases []string `json:"aliases"`
}

// instance tells clients that ask whether an authority is genuine that this one,
// under the name they know it by, is.
func (s *service) instance(x *exchange) error {
	u, err := url.Parse(x.r.URL.Query().Get("authorization_endpoint"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !strings.EqualFold(u.Host, x.r.Host) {
		return faultf(50049, "Unknown or invalid instance.")
	}
	tenant := strings.Split(strings.Trim(u.Path, "/"), "/")[0]
	if err := s.checkTenant(tenant); err != nil {
		return err
	}
	web.WriteJSON(x.w, http.StatusOK, instanceAnswer{
		Endpoint: x.base + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		Version:  "1.1",
		Metadata: []instanceHost{{x.r.Host, x.r.Host, []string{x.r.Host}}},
	})
	return nil
}

// configuration is an OpenID Connect discovery document.
type configuration struct {
	TokenEndpoint    string   `json:"token_endpoint"`
	AuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	JWKS             string   `json:"jwks_uri"`
	ResponseModes    []string `json:"response_modes_supported"`
	SubjectTypes     []string `json:"subject_types_supported"`
	SigningAlgs      []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes    []string `json:"response_types_supported"`
	Scopes           []string `json:"scopes_supported"`
	Issuer           string   `json:"issuer"`
	AuthorizeURL     string   `json:"authorization_endpoint"`
	Claims           []string `json:"claims_supported"`
	RegionScope      string   `json:"tenant_region_scope"`
	CloudName        string   `json:"cloud_instance_name"`
	AssertionSigning []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	GrantTypes       []string `json:"grant_types_supported"`
}

// issuer gives what discovery calls the issuer. Clients compare its scheme, host
// and port with the authority they were given, so it follows the request.
func (s *service) issuer(base string, v2 bool) string {
	if v2 {
		return base + "/" + s.TenantID + "/v2.0"
	}
	return base + "/" + s.TenantID + "/"
}

func (s *service) configuration(x *exchange, v2 bool) error {
	tenant, version, keys := x.base+"/"+s.TenantID, "", "/discovery/keys"
	if v2 {
		version, keys = "/v2.0", "/discovery/v2.0/keys"
	}
	web.WriteJSON(x.w, http.StatusOK, configuration{
		TokenEndpoint:    tenant + "/oauth2" + version + "/token",
		AuthMethods:      []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		JWKS:             tenant + keys,
		ResponseModes:    []string{"query", "fragment", "form_post"},
		SubjectTypes:     []string{"pairwise"},
		SigningAlgs:      []string{"RS256", "ES256"},
		ResponseTypes:    []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:           []string{"openid", "profile", "email", "offline_access"},
		Issuer:           s.issuer(x.base, v2),
		AuthorizeURL:     tenant + "/oauth2" + version + "/authorize",
		Claims:           []string{"sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "ver", "appid", "azp", "uti", "xms_mirid"},
		RegionScope:      "WW",
		CloudName:        x.r.Host,
		AssertionSigning: []string{"PS256", "RS256"},
		GrantTypes:       []string{grantType},
	})
	return nil
}

func (s *service) keys(x *exchange) error {
	keys, err := s.Authority.JWKS(x.r.Context())
	if err != nil {
		return err
	}
	for i := range keys {
		keys[i].Issuer = s.issuer(x.base, true)
	}
	web.WriteJSON(x.w, http.StatusOK, struct {
		Keys []token.JWK `json:"keys"`
	}{keys})
	return nil
}
