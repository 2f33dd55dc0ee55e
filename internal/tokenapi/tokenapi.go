// Package tokenapi owns the token service as clients see it: discovery of the
// authority, its keys, and tokens for clients that prove who they are by secret,
// certificate or another issuer's token, with the errors real client libraries
// look for. It does not know how principals and keys are kept, or what tokens are
// good for.
package tokenapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/token"
)

// Config is what [New] needs. Directory, Authority, TenantID, Clock and Log must
// be set.
type Config struct {
	Directory *identity.Directory
	Authority *token.Authority
	// Issuers knows the keys of federated issuers; nil accepts none.
	Issuers  identity.Issuers
	TenantID string
	Clock    clock.Clock
	Log      *slog.Logger

	// Lifetime of tokens; 0 is token.DefaultLifetime.
	Lifetime time.Duration
	// AllowHost says whether the service goes by a host name, with port where the
	// client named one. nil allows all; what clients are told depends on it.
	AllowHost func(host string) bool
	// PlainProxy says that a proxy in front speaks TLS, so that URLs are https
	// although requests arrive without.
	PlainProxy bool
	// Source gives where a request comes from; nil is the address of the connection.
	Source func(*http.Request) netip.Addr
	// OnEvent takes the outcome of every token request. It must not block. May be
	// nil.
	OnEvent func(Event)
	// RefuseRepeats refuses any second use of a client's assertion. Without it,
	// only a use from elsewhere is refused: widely used client libraries present
	// an assertion again and again until it expires.
	RefuseRepeats bool
}

// Event is the outcome of a token request. It holds nothing secret.
type Event struct {
	Time          time.Time
	Granted       bool
	Code          int    // AADSTS code of a denial
	Reason        string // of a denial, for operators
	AppID         string // as claimed, if it is a GUID
	ObjectID      string // if the principal is known to be the caller
	Name          string // likewise
	Method        string // "secret", "certificate", "federated"; "" if none was presented
	CredentialID  string // which one was accepted
	Audience      string
	TokenID       string // the token's uti
	Source        string
	TraceID       string
	CorrelationID string
}

// service serves requests. It is safe for concurrent use.
type service struct {
	Config
	limits  *limits
	replays *replays
}

// New makes the handler. It answers every path; [Owns] tells which are for it.
func New(cfg Config) http.Handler {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = token.DefaultLifetime
	}
	if cfg.AllowHost == nil {
		cfg.AllowHost = func(string) bool { return true }
	}
	if cfg.Source == nil {
		cfg.Source = remote
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	cfg.TenantID = strings.ToLower(cfg.TenantID)
	return &service{cfg, newLimits(cfg.Clock), newReplays(cfg.Clock, cfg.RefuseRepeats)}
}

func remote(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address stands for all unknown ones
	return ap.Addr()
}

// endpoint is what a path names.
type endpoint uint8

const (
	nothing endpoint = iota
	instanceDiscovery
	discoveryV1
	discoveryV2
	keySet
	tokenV1
	tokenV2
)

// endpoints by the path after the tenant, in lower case.
func endpointOf(path string) endpoint {
	switch path {
	case "discovery/instance":
		return instanceDiscovery
	case ".well-known/openid-configuration":
		return discoveryV1
	case "v2.0/.well-known/openid-configuration":
		return discoveryV2
	case "discovery/keys", "discovery/v2.0/keys":
		return keySet
	case "oauth2/token":
		return tokenV1
	case "oauth2/v2.0/token":
		return tokenV2
	}
	return nothing
}

// split gives the tenant and the endpoint of a path. Slashes that are doubled or
// trailing do not count: clients join URLs carelessly.
func split(path string) (tenant string, e endpoint) {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) < 2 {
		return "", nothing
	}
	return parts[0], endpointOf(strings.ToLower(strings.Join(parts[1:], "/")))
}

// Owns says whether a path is one that the service answers, so that it can share
// a host with the management API.
func Owns(path string) bool {
	_, e := split(path)
	return e != nothing
}

// exchange is one request on its way.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	base  string // "https://host:port"
	event Event
}

// ServeHTTP answers without ever redirecting.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	tenant, e := split(r.URL.Path)
	err := s.checkRequest(r, tenant, e)
	if err == nil {
		err = s.serve(x, e)
	}
	if err != nil {
		s.fail(x, err)
	}
	if e == tokenV1 || e == tokenV2 {
		s.OnEvent(x.event)
	}
}

func (s *service) begin(w http.ResponseWriter, r *http.Request) *exchange {
	scheme := "http://"
	if r.TLS != nil || s.PlainProxy {
		scheme = "https://"
	}
	x := &exchange{w: w, r: r, base: scheme + r.Host, event: Event{
		Time: s.Clock.Now().UTC(), Source: s.Source(r).Unmap().String(), TraceID: uuid.NewString(), CorrelationID: uuid.NewString(),
	}}
	if id, err := uuid.Parse(r.Header.Get("client-request-id")); err == nil {
		x.event.CorrelationID = id.String()
		if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
			w.Header().Set("client-request-id", id.String())
		}
	}
	w.Header().Set("x-ms-request-id", x.event.TraceID)
	w.Header().Set("Pragma", "no-cache")
	return x
}

var (
	hostName   = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)
	tenantName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)
)

// checkRequest checks what all endpoints have in common.
func (s *service) checkRequest(r *http.Request, tenant string, e endpoint) error {
	if !hostName.MatchString(r.Host) || !s.AllowHost(r.Host) {
		return faultf(50049, "Unknown or invalid instance. This service does not go by the host name of the request.")
	}
	if e == nothing {
		return &fault{status: http.StatusNotFound, code: 90100, text: "There is no such endpoint."}
	}
	if get := r.Method == http.MethodGet || r.Method == http.MethodHead; get == (e == tokenV1 || e == tokenV2) || !get && r.Method != http.MethodPost {
		return wrongMethod(r.Method, e)
	}
	if e == instanceDiscovery {
		return nil
	}
	return s.checkTenant(tenant)
}

func (s *service) checkTenant(tenant string) error {
	_, err := uuid.Parse(tenant)
	switch lower := strings.ToLower(tenant); {
	case lower == s.TenantID, lower == "common", lower == "organizations":
		return nil
	case err == nil && len(tenant) == 36, tenantName.MatchString(tenant):
		return faultf(90002, "Tenant '%s' not found. The tenant of this installation is '%s'.", clip(tenant), s.TenantID)
	default:
		return faultf(900023, "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", clip(tenant))
	}
}

func (s *service) serve(x *exchange, e endpoint) error {
	switch e {
	case instanceDiscovery:
		return s.instance(x)
	case discoveryV1, discoveryV2:
		return s.configuration(x, e == discoveryV2)
	case keySet:
		return s.keys(x)
	default:
		return s.token(x, e == tokenV2)
	}
}
