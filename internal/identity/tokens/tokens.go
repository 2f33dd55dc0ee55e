// Package tokens owns the access tokens of managed identities: it gets one for an
// identity and a resource, from an upstream that stands for it elsewhere or from
// our own authority, and hands it out again while much of its life is left. It
// does not know which identities an app may use, how an app asks, or what a token
// permits.
package tokens

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

// Defaults of a [Config]. A token lives as long as the cloud's for managed
// identities, so that clients which remember the time behave alike.
const (
	DefaultLifetime = 86399 * time.Second
	DefaultMax      = 4096
)

// Bounds of getting a new token: how long it may take, when it is tried again
// while the last one is still good, and how much of its life that must have left.
const (
	getTime    = 30 * time.Second
	retryAfter = time.Minute
	leastLeft  = 5 * time.Minute
)

// Authority makes our own tokens. It is *token.Authority.
type Authority interface {
	Mint(ctx context.Context, c token.Claims, lifetime time.Duration) (token.Token, error)
	// Signs says whether tokens signed with a key still count.
	Signs(ctx context.Context, keyID string) bool
}

// Upstream gets tokens from elsewhere for identities that are mapped there. With
// handled false and no error, the identity is none of those. Errors are of a
// problem kind and hold nothing secret. It is asked for the audience without
// "/.default", and not again while its token is kept.
type Upstream interface {
	Token(ctx context.Context, who identity.Assigned, resource string) (t token.Token, handled bool, err error)
}

// Config is what [New] needs. Authority and Clock must be set; the zero value of
// the rest is the default.
type Config struct {
	Authority Authority
	Clock     clock.Clock
	Upstream  Upstream // asked first; may be nil

	// Active says whether tokens of an epoch count for an object id. It is asked
	// every time, also for tokens of an upstream. It is identity.Directory's
	// Accepts; nil accepts all.
	Active func(ctx context.Context, objectID string, epoch int64) (name string, err error)

	// Lifetime of our own tokens, up to token.MaxLifetime.
	Lifetime time.Duration
	// Reuse is how much of its life a kept token must have left to be handed out.
	// The default is half of it: clients come back for another at half of a
	// token's life and then get one, and whatever fails, none is about to expire.
	// A token of an upstream is never held to more than half of what it has left
	// when it comes.
	Reuse time.Duration
	// Max is how many tokens are kept.
	Max int
}

// Issuer gives tokens of managed identities. It is safe for concurrent use.
type Issuer struct {
	cfg    Config
	flight singleflight.Group

	mu   sync.Mutex
	kept *simplelru.LRU[key, kept]
	life uint64 // counts calls of Forget, so that what was asked before is not kept after
}

// key is what a token is for. Another epoch is another key.
type key struct {
	who      identity.Assigned
	audience string
}

// kept is a token with what decides about handing it out again.
type kept struct {
	token.Token
	own   bool      // made by our authority
	until time.Time // another is got from then on
}

// New makes an issuer. It returns problem.Invalid for a config that lacks
// something or whose times do not fit each other.
func New(cfg Config) (*Issuer, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Authority == nil || cfg.Clock == nil:
		return nil, problem.New(problem.Invalid, "tokens of managed identities need an authority and a clock")
	case cfg.Lifetime < time.Second || cfg.Lifetime > token.MaxLifetime:
		return nil, problem.New(problem.Invalid, fmt.Sprintf("token lifetime %s is not between 1s and %s", cfg.Lifetime, token.MaxLifetime))
	case cfg.Reuse < 0 || cfg.Reuse >= cfg.Lifetime:
		return nil, problem.New(problem.Invalid, fmt.Sprintf("tokens cannot be used again while %s is left of a lifetime of %s", cfg.Reuse, cfg.Lifetime))
	}
	cache, err := simplelru.NewLRU[key, kept](cfg.Max, nil)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "the number of kept tokens is not positive", err)
	}
	return &Issuer{cfg: cfg, kept: cache}, nil
}

func (c Config) withDefaults() Config {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Reuse == 0 {
		c.Reuse = c.Lifetime / 2
	}
	if c.Max == 0 {
		c.Max = DefaultMax
	}
	if c.Active == nil {
		c.Active = func(context.Context, string, int64) (string, error) { return "", nil }
	}
	return c
}

// Get gives a token of an identity for a resource as clients name it (see
// [Audience]). It returns problem.Invalid for a resource that is none,
// problem.NotFound for an identity that was deleted, Config.Active's error, that
// of the upstream or the authority, problem.Timeout if they take too long, and
// ctx's. While a new token cannot be had because something is unavailable, the
// last one is given as long as it is good for minutes.
func (s *Issuer) Get(ctx context.Context, who identity.Assigned, resource string) (token.Token, error) {
	audience, err := Audience(resource)
	if err != nil {
		return token.Token{}, err
	}
	if who.Dangling() {
		return token.Token{}, problem.New(problem.NotFound, fmt.Sprintf("identity %s was deleted", who.ResourceID)).
			WithNext("remove it from the app, or create it again and assign the new one")
	}
	if _, err := s.cfg.Active(ctx, who.ObjectID, who.Epoch); err != nil {
		return token.Token{}, err
	}
	k := key{who, audience}
	last, life := s.last(k)
	if s.good(ctx, last) {
		return last.Token, nil
	}
	return s.wait(ctx, k, life)
}

// Forget drops the kept tokens of an object id. Those that were handed out stay
// valid; see identity.Directory's ExpireTokens.
func (s *Issuer) Forget(objectID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	for _, k := range s.kept.Keys() {
		if k.who.ObjectID == objectID {
			s.kept.Remove(k)
		}
	}
}

// last gives the kept token of a key, the zero value for none, and which life of
// the cache it is.
func (s *Issuer) last(k key) (kept, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, _ := s.kept.Get(k)
	return last, s.life
}

// good says whether a kept token may be handed out without asking for another.
func (s *Issuer) good(ctx context.Context, k kept) bool {
	return k.Raw != "" && s.cfg.Clock.Now().Before(k.until) && s.counts(ctx, k)
}

// counts says whether a token is valid already, which it may not be when the clock
// was set back, and the key that signed one of ours was not revoked.
func (s *Issuer) counts(ctx context.Context, k kept) bool {
	return !s.cfg.Clock.Now().Before(k.Issued) && (!k.own || s.cfg.Authority.Signs(ctx, k.KeyID))
}
