// Package managed owns managed identities: those that are resources of their own
// (user-assigned) and those that belong to one resource and die with it
// (system-assigned), and which of them a resource's identity block lets it use.
// Their principals are in the directory. It does not know tokens, HTTP, roles, nor
// what the resources are that have identities.
package managed

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// UserType is the resource type of user-assigned identities.
const UserType = "Microsoft.ManagedIdentity/userAssignedIdentities"

// Config is what Identities work with.
type Config struct {
	Inventory *inventory.Inventory
	Directory *identity.Directory // on the same store as the inventory
	TenantID  string
	// Holders are the types of resources that can have identities; nil is
	// Microsoft.Web/sites.
	Holders []string
	// OnDelete is called before a principal is deleted: for its role assignments. It
	// may be called again after an interruption; its error ends the deletion, and
	// whoever asked for it gets it. nil does nothing.
	OnDelete func(ctx context.Context, objectID string) error
}

// Identities keeps managed identities. It is safe for concurrent use, also by
// several nodes on one state.
type Identities struct {
	cfg Config
	own state.Collection[ownRecord]
}

// New makes the service. It fails for a Config that leaves out what has no default.
func New(cfg Config) (*Identities, error) {
	if cfg.Inventory == nil || cfg.Directory == nil {
		return nil, errors.New("managed: Inventory and Directory must be set")
	}
	if cfg.Holders == nil {
		cfg.Holders = []string{"Microsoft.Web/sites"}
	}
	if cfg.OnDelete == nil {
		cfg.OnDelete = func(context.Context, string) error { return nil }
	}
	return &Identities{cfg, state.Collection[ownRecord]{Store: cfg.Inventory.Store, Prefix: Own}}, nil
}

// Principal reads a managed identity's principal; problem.NotFound if there is
// none. The directory's memory can be behind what another node has written, so
// that it is believed only when it has the principal.
func (s *Identities) Principal(ctx context.Context, objectID string) (identity.Principal, error) {
	p, err := s.cfg.Directory.Get(ctx, objectID)
	if errors.Is(err, problem.NotFound) {
		p, err = s.cfg.Directory.Update(ctx, objectID, func(*identity.Principal) error { return state.ErrUnchanged })
	}
	if err == nil && p.Kind != identity.ManagedIdentity {
		return identity.Principal{}, problem.New(problem.NotFound, "the principal is no managed identity")
	}
	return p, err
}

// principalOf reads the principal that a binding names, if it is that of a
// resource and still there.
func (s *Identities) principalOf(ctx context.Context, objectID *string, id string) (p identity.Principal, found bool, err error) {
	if objectID == nil || *objectID == "" {
		return p, false, nil
	}
	p, err = s.Principal(ctx, *objectID)
	if errors.Is(err, problem.NotFound) {
		return p, false, nil
	}
	return p, err == nil && sameID(p.ResourceID, id), err
}

func sameID(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	one, err := resource.Parse(a)
	other, otherErr := resource.Parse(b)
	return err == nil && otherErr == nil && one.Equal(other)
}

// attempts bounds how often something is tried anew because others changed it.
const attempts = 20

// pause waits a little before the next attempt.
func pause(ctx context.Context, try int) error {
	return clock.Sleep(ctx, clock.Real{}, time.Duration(rand.Int64N(int64(2*time.Millisecond)<<min(try, 6))))
}

func contended(what string) error {
	return problem.New(problem.Conflict, "others kept changing "+what).WithNext("try again")
}
