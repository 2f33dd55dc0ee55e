package platform

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// settleTime is how long changes of permissions are collected, and how long the
// services that decide have to take them up: both follow the same state.
const settleTime = 200 * time.Millisecond

// retryPause is the least time between two such attempts: who changes permissions
// all the time must not have every vault asked all the time, those of the cloud
// among them.
const retryPause = time.Second

// lateTime is when references are tried once more after that: with many roles, or
// little time to compute, the services take longer.
const lateTime = 3 * time.Second

// followPermissions has references that failed tried again when somebody may have
// been given a permission: nobody should have to wait for the next attempt.
func (n *Node) followPermissions(ctx context.Context, r *reference.Resolver) {
	changed := make(chan struct{}, 1)
	var following sync.WaitGroup
	defer following.Wait()
	for _, prefix := range []state.Key{
		inventory.TypePrefix(rbac.AssignmentType), inventory.TypePrefix(rbac.DefinitionType), inventory.TypePrefix(vault.Type),
		groups.Documents, identity.Documents,
	} {
		following.Go(func() { state.Follow(ctx, n.store, prefix, n.outside(), noticer(changed)) })
	}
	var late <-chan time.Time
	for {
		select {
		case <-changed:
			if clock.Sleep(ctx, clock.Real{}, settleTime) != nil {
				return
			}
			late = clock.Real{}.NewTimer(lateTime).C()
		case <-late:
		case <-ctx.Done():
			return
		}
		r.Retry()
		if clock.Sleep(ctx, clock.Real{}, retryPause) != nil {
			return
		}
	}
}

// noticer notices that something changed, and nothing else.
type noticer chan struct{}

// Reset implements state.Follower.
func (c noticer) Reset([]state.Document) { c.notice() }

// Apply implements state.Follower.
func (c noticer) Apply(state.Event) { c.notice() }

// Cut implements state.Follower.
func (c noticer) Cut(error) {}

func (c noticer) notice() {
	select {
	case c <- struct{}{}:
	default:
	}
}
