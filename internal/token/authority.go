package token

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/problem"
)

// Authority mints and verifies tokens. It is safe for concurrent use; several
// nodes share keys through the store. Without [Authority.Run] it reads the keys
// from the store for every call.
type Authority struct {
	cfg      Config
	issuers  [3]string // by version
	keys     atomic.Pointer[keySet]
	writing  sync.Mutex // orders this node's own changes with what it follows
	making   sync.Mutex // the first key is generated once
	verified *lru.Cache[digest, *remembered]
}

// New makes an authority. It returns problem.Invalid for a config without tenant
// or with an algorithm there is not.
func New(cfg Config) (*Authority, error) {
	if cfg.TenantID == "" || cfg.Store == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, problem.New(problem.Invalid, "a token authority needs a store, a clock, a log and a tenant id")
	}
	cfg = cfg.withDefaults()
	if cfg.Algorithm != RS256 && cfg.Algorithm != ES256 {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("the algorithm of tokens is %q", cfg.Algorithm)).WithNext("use RS256 or ES256")
	}
	cache, err := lru.New[digest, *remembered](cfg.Cached)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "the number of remembered tokens is not positive", err)
	}
	return &Authority{cfg: cfg, verified: cache, issuers: [3]string{
		1: IssuerV1(cfg.TenantID), 2: IssuerV2(cfg.TenantID),
	}}, nil
}

func (c Config) withDefaults() Config {
	if c.Skew == 0 {
		c.Skew = DefaultSkew
	}
	if c.KeyAge == 0 {
		c.KeyAge = DefaultKeyAge
	}
	if c.Lead == 0 {
		c.Lead = DefaultLead
	}
	if c.Cached == 0 {
		c.Cached = DefaultCached
	}
	if c.Algorithm == "" {
		c.Algorithm = RS256
	}
	if c.Active == nil {
		c.Active = func(context.Context, string, int64) (string, error) { return "", nil }
	}
	return c
}

// IssuerV1 gives the iss claim of version 1 tokens of a tenant.
func IssuerV1(tenantID string) string { return "https://sts.windows.net/" + tenantID + "/" }

// IssuerV2 gives the iss claim of version 2 tokens of a tenant.
func IssuerV2(tenantID string) string {
	return "https://login.microsoftonline.com/" + tenantID + "/v2.0"
}
