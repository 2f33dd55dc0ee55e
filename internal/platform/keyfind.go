package platform

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/keyowners"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Bounds of looking for keys: how many apps are listed at a time, how many of them are
// asked at a time, and how long one may take, so that a store that is silent does not
// keep others from being asked.
const (
	findPage    = 500
	findsAtOnce = 8
	findWithin  = 15 * time.Second
)

// FindKey implements functions.KeyFinder.
func (n *Node) FindKey(ctx context.Context, value, name string) (functions.KeysFound, error) {
	var found functions.KeysFound
	if name != "" {
		a, err := n.apps.ByName(ctx, name)
		if err != nil {
			return found, err
		}
		return found, n.findKeyInAll(ctx, []app.App{a}, value, &found)
	}
	for after := state.Key(""); ; {
		list, next, err := n.apps.List(ctx, resource.Subscription(n.install.SubscriptionID), after, findPage)
		if err != nil {
			return found, err
		}
		if err := n.findKeyInAll(ctx, list, value, &found); err != nil {
			return found, err
		}
		if after = next; next == "" {
			return found, nil
		}
	}
}

// findKeyInAll adds what the keys of apps have to say, in the order of the apps. Its
// error is that of the context.
func (n *Node) findKeyInAll(ctx context.Context, apps []app.App, value string, found *functions.KeysFound) error {
	parts := make([]functions.KeysFound, len(apps))
	var group errgroup.Group
	group.SetLimit(findsAtOnce)
	for i, a := range apps {
		group.Go(func() error {
			if ctx.Err() == nil {
				parts[i] = n.findKeyIn(ctx, a, value)
			}
			return ctx.Err()
		})
	}
	err := group.Wait()
	for _, part := range parts {
		found.Apps += part.Apps
		found.Keys, found.Unread = append(found.Keys, part.Keys...), append(found.Unread, part.Unread...)
	}
	return err
}

// findKeyIn gives what an app's keys have to say.
func (n *Node) findKeyIn(ctx context.Context, a app.App, value string) (found functions.KeysFound) {
	ctx, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	owners, err := n.keyOwners(ctx, a)
	if err != nil {
		found.Unread = append(found.Unread, functions.KeyUnread{App: a.ID.String(), Message: err.Error()})
		return found
	}
	found.Apps = 1
	for _, err := range owners.Unread {
		found.Unread = append(found.Unread, functions.KeyUnread{App: a.ID.String(), Message: err.Error()})
	}
	for _, o := range owners.Identify(value) {
		found.Keys = append(found.Keys, functions.KeyOwner{App: a.ID.String(), Kind: o.Kind.String(), Function: n.spelling(ctx, a, o.Kind, o.Function), Name: o.Name})
	}
	return found
}

// keyOwners reads the keys of an app where its settings say that they are.
func (n *Node) keyOwners(ctx context.Context, a app.App) (*keyowners.Owners, error) {
	s, err := n.keySettings(ctx, a)
	if err != nil {
		return nil, err
	}
	store, err := n.openKeys(ctx, a, s)
	if err != nil {
		return nil, err
	}
	var o keyowners.Owners
	return &o, o.Read(ctx, store, a.Name, nil)
}

// spelling gives the name of a function as the app spells it, or that of its document.
func (n *Node) spelling(ctx context.Context, a app.App, kind accesskey.Kind, doc string) string {
	if kind != accesskey.Function || a.Release == "" {
		return doc
	}
	r, err := n.releases.Get(ctx, a.Name, a.Release)
	if err != nil {
		return doc
	}
	for _, f := range r.Functions {
		if string(keystore.FunctionDoc(f.Name)) == doc {
			return f.Name
		}
	}
	return doc
}
