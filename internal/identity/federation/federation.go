// Package federation owns the keys of other token issuers: it finds them by the
// issuer's discovery document, keeps them for a while, and says whether an issuer
// has signed a JWT. It does not know which issuers are trusted or what their
// tokens say, and reaches no address that it was not allowed to.
package federation

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
)

// Limits of what issuers are asked for.
const (
	maxIssuers   = 256
	maxKeys      = 100
	maxDocument  = 256 << 10 // bytes
	fetchTimeout = 10 * time.Second
	keepFor      = time.Hour
	// askAgain is how long to wait before asking an issuer again, for a key it did
	// not have or because it failed. It bounds what presented tokens can cause.
	askAgain = 30 * time.Second
)

// Config is what [New] needs; Clock and Log must be set.
type Config struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Roots are trusted besides those of the system. May be nil.
	Roots *x509.CertPool
	// Allow lists networks to reach although they are not public: loopback, private
	// and link-local ones, where metadata services are, are refused else.
	Allow []netip.Prefix
}

// Issuers keeps the keys of issuers. It implements identity.Issuers and is safe
// for concurrent use.
type Issuers struct {
	cfg    Config
	client *http.Client
	flight singleflight.Group

	mu    sync.Mutex
	known *simplelru.LRU[string, known]
}

var _ identity.Issuers = (*Issuers)(nil)

// known is what an issuer said, or why it could not be asked.
type known struct {
	keys    []jose.JSONWebKey
	err     error
	asked   time.Time
	fetched time.Time // when keys were had
}

// New makes a keeper of issuers' keys.
func New(cfg Config) *Issuers {
	cache, err := simplelru.NewLRU[string, known](maxIssuers, nil)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &Issuers{cfg: cfg, client: newClient(cfg), known: cache}
}

// Verify returns nil if a key of the issuer made the JWT's signature, with RS256,
// the one algorithm that the cloud accepts of federated issuers. Else the error is
// an *identity.Refused, or that of ctx.
func (s *Issuers) Verify(ctx context.Context, issuer, raw string) error {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(token.Headers) != 1 {
		return &identity.Refused{Reason: identity.MalformedAssertion, Detail: "it is not a JWT signed with RS256"}
	}
	id := token.Headers[0].KeyID
	for _, fresh := range []bool{false, true} {
		keys, err := s.keys(ctx, issuer, fresh)
		if err != nil {
			return err
		}
		tried, ok := signed(token, keys, id)
		if ok {
			return nil
		}
		if tried {
			break
		}
	}
	return &identity.Refused{Reason: identity.WrongSignature, Detail: "the issuer publishes no key that made it"}
}

// signed tries the keys of an id, or all of them for a JWT that names none.
func signed(token *jwt.JSONWebToken, keys []jose.JSONWebKey, id string) (tried, ok bool) {
	for _, k := range keys {
		if id != "" && k.KeyID != id {
			continue
		}
		tried = tried || id != ""
		if token.Claims(k.Key) == nil {
			return true, true
		}
	}
	return tried, false
}

// keys gives an issuer's keys: those it said last, unless they are old or fresh
// ones are wanted and it was not asked just now.
func (s *Issuers) keys(ctx context.Context, issuer string, fresh bool) ([]jose.JSONWebKey, error) {
	k, ok := s.last(issuer)
	now := s.cfg.Clock.Now()
	if ok && (now.Sub(k.asked) < askAgain || !fresh && k.err == nil && now.Sub(k.fetched) < keepFor) {
		return k.keys, k.err
	}
	done := s.flight.DoChan(issuer, func() (any, error) {
		return s.ask(context.WithoutCancel(ctx), issuer), nil // others may wait for it too
	})
	select {
	case r := <-done:
		k = r.Val.(known)
		return k.keys, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Issuers) last(issuer string) (known, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.Get(issuer)
}

// ask fetches an issuer's keys. When that fails, the keys it had go on for their
// time.
func (s *Issuers) ask(ctx context.Context, issuer string) known {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	keys, err := s.fetch(ctx, issuer)
	asked := s.cfg.Clock.Now()
	now := known{keys, err, asked, asked}
	if err != nil {
		s.cfg.Log.Warn("the keys of a federated issuer cannot be had", slog.String("issuer", issuer), slog.String("error", err.Error()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.known.Get(issuer); ok && err != nil && old.err == nil && asked.Sub(old.fetched) < keepFor {
		now = known{old.keys, nil, asked, old.fetched}
	}
	s.known.Add(issuer, now)
	return now
}
