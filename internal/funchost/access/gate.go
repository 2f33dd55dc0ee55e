package access

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
)

// Gate decides about requests to one app. Its fields are set before use and not
// changed after; it is safe for concurrent use.
type Gate struct {
	Keys       *keyring.Ring
	TrustProxy bool // WEBSITE_AUTH_ENABLED: a proxy in front sets x-ms-client-principal
	Isolation  Isolation
	Tokens     *Tokens // nil: site tokens are not accepted
}

// Check decides about the key a request presents; scope is the function's, nil
// where there is none.
func (g *Gate) Check(r *http.Request, scope *keyring.Scope) keyring.Decision {
	presented := Presented(r)
	if presented == "" {
		return keyring.Decision{}
	}
	return g.Evaluate(r, presented, scope)
}

// Evaluate decides about a key that a request presents.
func (g *Gate) Evaluate(r *http.Request, presented string, scope *keyring.Scope) keyring.Decision {
	return g.Keys.Authorize(r.Context(), keyring.Request{
		Key: presented, Function: scope, Method: method(r), Source: source(r.RemoteAddr),
	})
}

// method gives the HTTP method as routes compare it: ignoring case.
func method(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return strings.ToUpper(r.Method)
}

// source gives the address a request comes from; the zero Addr when it has none.
func source(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// Isolation is the admin isolation of a function app on App Service
// (keys §1.8): with it, requests to the runtime API must come through the
// platform. Where it is on but the platform is absent, nothing gets through.
type Isolation struct {
	Enabled    bool     // FUNCTIONS_ADMIN_ISOLATION_ENABLED=1
	AppService bool     // only the platform's front end can reach this host, so its headers can be trusted
	Allowed    []string // path prefixes open to internal requests; nil is all
}

// Internal reports whether a request comes from inside the platform, past its
// front end, for a path that internal requests may use.
func (i Isolation) Internal(r *http.Request) bool {
	return i.AppService && r.Header.Get("X-Arr-Log-Id") == "" && i.pathAllowed(r.URL.Path)
}

// Platform reports whether isolation lets a request with a sufficient key pass.
func (i Isolation) Platform(r *http.Request) bool {
	if !i.Enabled {
		return true
	}
	return i.AppService && strings.EqualFold(r.Header.Get("X-Ms-Platform-Internal"), "true")
}

// pathAllowed compares whole segments, ignoring case.
func (i Isolation) pathAllowed(path string) bool {
	if i.Allowed == nil {
		return true
	}
	path = strings.ToLower(strings.TrimSuffix(path, "/")) + "/"
	for _, prefix := range i.Allowed {
		prefix = strings.ToLower(strings.Trim(prefix, "/"))
		if prefix != "" && strings.HasPrefix(path, "/"+prefix+"/") {
			return true
		}
	}
	return false
}

// Verdict is the answer to a policy.
type Verdict uint8

const (
	Allowed      Verdict = iota
	Unknown              // 401: no key, or none we know
	Insufficient         // 403: a known key that does not reach this far
	Throttled            // 429: too many wrong keys from this source, or a key used up for now
	Undecided            // 500: the keys cannot be read
)

// Admin is the policy of the runtime API: the master key or a site token, and
// isolation met.
func (g *Gate) Admin(r *http.Request) (Verdict, keyring.Decision) {
	d := g.Check(r, nil)
	tokened := d.Level != keyring.AdminLevel && g.Tokens.Of(r).Valid
	reaches := d.Level == keyring.AdminLevel || tokened
	return verdict(d, reaches && g.Isolation.Platform(r), tokened || g.known(r)), d
}

// AdminOrInternal also lets requests from inside the platform pass.
func (g *Gate) AdminOrInternal(r *http.Request) (Verdict, keyring.Decision) {
	if g.Isolation.Internal(r) {
		return Allowed, keyring.Decision{}
	}
	return g.Admin(r)
}

// Webhook is the policy of an extension's webhook: its own system key, the
// master key, a site token, or a request from inside the platform.
func (g *Gate) Webhook(r *http.Request, extension string) (Verdict, keyring.Decision) {
	if g.Isolation.Internal(r) {
		return Allowed, keyring.Decision{}
	}
	d := g.Check(r, nil)
	ok := d.Level == keyring.AdminLevel ||
		(d.Level == keyring.SystemLevel && strings.EqualFold(d.Name, SystemKeyName(extension))) ||
		g.Tokens.Of(r).Valid
	return verdict(d, ok, g.known(r)), d
}

// SystemKeyName gives the name of the system key of an extension's webhook.
func SystemKeyName(extension string) string { return strings.ToLower(extension) + "_extension" }

// known reports whether the caller has an identity other than a key, which turns
// a 401 on the runtime API into a 403.
func (g *Gate) known(r *http.Request) bool {
	_, ok := g.proxied(r)
	return ok
}

func verdict(d keyring.Decision, allowed, known bool) Verdict {
	switch {
	case allowed:
		return Allowed
	case d.Unavailable():
		return Undecided
	case d.Throttled:
		return Throttled
	case d.Level == keyring.Anonymous && !known:
		return Unknown
	}
	return Insufficient
}

// Witness is told how a policy decided; the writer of an answer may be one, for
// its log and its counts.
type Witness interface {
	Decided(v Verdict, d keyring.Decision)
}

// Enforce tells the witness and answers a request that was turned down. It
// reports whether the request may go on.
func Enforce(w http.ResponseWriter, v Verdict, d keyring.Decision) bool {
	if witness, ok := w.(Witness); ok {
		witness.Decided(v, d)
	}
	if v == Allowed {
		return true
	}
	refuse(w, v, d)
	return false
}

// refuse answers with an empty body: a stranger learns nothing.
func refuse(w http.ResponseWriter, v Verdict, d keyring.Decision) {
	switch v {
	case Unknown:
		w.Header().Set("Www-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	case Insufficient:
		w.WriteHeader(http.StatusForbidden)
	case Throttled:
		TooMany(w, d)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// TooMany answers a decision that is Throttled.
func TooMany(w http.ResponseWriter, d keyring.Decision) {
	w.Header().Set("Retry-After", retrySeconds(d.RetryAfter))
	w.WriteHeader(http.StatusTooManyRequests)
}
