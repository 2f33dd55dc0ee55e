package localregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Claims of the registry's own tokens.
type claims struct {
	jwt.Claims
	Grant      string `json:"grant_type"`
	Repository string `json:"repository,omitempty"`
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.counts[req.URL.Path]++
	extra := r.extra
	r.mu.Unlock()
	switch {
	case extra != nil:
		extra.ServeHTTP(w, req)
	case req.URL.Path == "/oauth2/exchange" && req.Method == http.MethodPost:
		r.exchange(w, req)
	case req.URL.Path == "/oauth2/token":
		r.access(w, req)
	case strings.HasPrefix(req.URL.Path, "/v2/"):
		r.pull(w, req)
	default:
		http.NotFound(w, req)
	}
}

// exchange gives a refresh token for a token of an identity.
func (r *Registry) exchange(w http.ResponseWriter, req *http.Request) {
	if req.PostFormValue("grant_type") != "access_token" || req.PostFormValue("service") != r.Host {
		http.Error(w, `{"errors":[{"code":"BAD_REQUEST"}]}`, http.StatusBadRequest)
		return
	}
	who, err := r.verify(req.PostFormValue("access_token"))
	if err != nil {
		unauthorized(w, err)
		return
	}
	r.answer(w, "refresh_token", claims{Claims: r.claims(who, r.cfg.Life), Grant: "refresh_token"})
}

// verify gives the object id that a token of an identity is of.
func (r *Registry) verify(raw string) (string, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "", err
	}
	keys, err := r.cfg.Keys()
	if err != nil {
		return "", err
	}
	var c jwt.Claims
	var more struct {
		ObjectID string `json:"oid"`
	}
	if err := token.Claims(keys, &c, &more); err != nil {
		return "", err
	}
	err = c.ValidateWithLeeway(jwt.Expected{Issuer: r.cfg.Issuer, AnyAudience: jwt.Audience{Audience}, Time: r.cfg.Clock.Now()}, time.Minute)
	if err == nil && more.ObjectID == "" {
		err = errors.New("no object id")
	}
	return more.ObjectID, err
}

func (r *Registry) claims(subject string, life time.Duration) jwt.Claims {
	now := r.cfg.Clock.Now()
	return jwt.Claims{
		Issuer: "registry", Subject: subject, Audience: jwt.Audience{r.Host}, IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
	}
}

// access gives an access token for a repository: for a refresh token in a form, or
// by basic authentication, as clients of registries do.
func (r *Registry) access(w http.ResponseWriter, req *http.Request) {
	user, password, basic := req.BasicAuth()
	scope, refresh := req.FormValue("scope"), password
	if req.Method == http.MethodPost && !basic {
		user, refresh = TokenUser, req.PostFormValue("refresh_token")
	}
	repository := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
	who, err := r.caller(user, refresh)
	if err == nil && who != user && !r.may(who, repository) {
		err = fmt.Errorf("%s may not pull %s", who, repository)
	}
	if err != nil {
		unauthorized(w, err)
		return
	}
	r.answer(w, "access_token", claims{Claims: r.claims(who, 75*time.Minute), Grant: "access_token", Repository: repository})
}

// caller gives the object id that a refresh token is of, or the user's name.
func (r *Registry) caller(user, password string) (string, error) {
	if user != TokenUser {
		if !r.isUser(user, password) {
			return "", errors.New("no such user")
		}
		return user, nil
	}
	c, err := r.read(password, "refresh_token")
	return c.Subject, err
}

// pull serves images to who has an access token for their repository.
func (r *Registry) pull(w http.ResponseWriter, req *http.Request) {
	repository := repositoryOf(req.URL.Path)
	raw, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	c, err := r.read(raw, "access_token")
	if !ok || err != nil || repository != "" && c.Repository != repository || !slices.Contains([]string{http.MethodGet, http.MethodHead}, req.Method) {
		challenge := fmt.Sprintf(`Bearer realm="%s://%s/oauth2/token",service=%q`, r.scheme, r.Host, r.Host)
		if repository != "" {
			challenge += fmt.Sprintf(`,scope="repository:%s:pull"`, repository)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		unauthorized(w, errors.New("authentication required"))
		return
	}
	r.images.ServeHTTP(w, req)
}

// repositoryOf gives the repository that a path of /v2/ is about; "" for none.
func repositoryOf(path string) string {
	path = strings.TrimPrefix(path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/"} {
		if before, _, found := strings.Cut(path, part); found {
			return before
		}
	}
	return ""
}

func (r *Registry) read(raw, grant string) (c claims, err error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return c, err
	}
	if err := token.Claims(r.key(), &c); err != nil {
		return c, err
	}
	if c.Grant != grant {
		return c, errors.New("it is no " + grant)
	}
	return c, c.ValidateWithLeeway(jwt.Expected{Issuer: "registry", AnyAudience: jwt.Audience{r.Host}, Time: r.cfg.Clock.Now()}, 0)
}

func (r *Registry) key() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.secret
}

func (r *Registry) answer(w http.ResponseWriter, member string, c claims) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: r.key()}, nil)
	var text string
	if err == nil {
		text, err = jwt.Signed(signer).Claims(c).Serialize()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{member: text})
}

func unauthorized(w http.ResponseWriter, why error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": "UNAUTHORIZED", "message": why.Error()}}})
}
