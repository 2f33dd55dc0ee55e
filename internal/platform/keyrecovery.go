package platform

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/recovery"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// keysInUse opens the store that an app's keyring uses.
func (n *Node) keysInUse(ctx context.Context, name string) (app.App, hosted.Settings, keystore.Store, error) {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return a, nil, nil, err
	}
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil {
		return a, nil, nil, err
	}
	s, err := n.withValues(ctx, whole)
	if err != nil {
		return a, nil, nil, err
	}
	store, err := n.openKeys(ctx, a, s)
	return a, s, store, err
}

// DiscardKeys implements functions.KeyRecovery. Keyrings of copies that run take up
// the new keys as any change; until then they use those they read last.
func (n *Node) DiscardKeys(ctx context.Context, name string, doc keystore.Doc) (functions.KeyDiscarded, error) {
	a, s, store, err := n.keysInUse(ctx, name)
	if err != nil {
		return functions.KeyDiscarded{}, err
	}
	var done functions.KeyDiscarded
	if done.Copy, err = recovery.Discard(ctx, store, doc); err != nil {
		return done, err
	}
	done.NotMade = n.makeKeys(ctx, a, s, doc)
	n.lookAtKeys(a)
	return done, nil
}

// makeKeys makes a document that is not there, by a keyring that has not seen what
// was there before: others take it for lost, and wait for its return.
func (n *Node) makeKeys(ctx context.Context, a app.App, s hosted.Settings, doc keystore.Doc) error {
	ring, _, err := n.newRing(context.WithoutCancel(ctx), a, s)
	if err != nil {
		return err
	}
	defer ring.Close()
	if doc.IsHost() {
		return ring.Open(ctx)
	}
	return ring.Ensure(ctx, []string{string(doc)})
}

// RestoreKeys implements functions.KeyRecovery.
func (n *Node) RestoreKeys(ctx context.Context, name string, doc keystore.Doc, from string) (kept string, err error) {
	a, _, store, err := n.keysInUse(ctx, name)
	if err != nil {
		return "", err
	}
	// Who puts a copy back has chosen: keys of before in the control plane are no reason
	// against it.
	kept, err = recovery.Restore(ctx, unguarded(store), doc, from)
	n.lookAtKeys(a)
	if errors.Is(err, keystore.ErrUndecryptable) { // said to callers, unlike damage that they know nothing of
		err = problem.Wrap(problem.Conflict, fmt.Sprintf("copy %q of key document %q cannot be decrypted or understood; nothing was changed", from, string(doc)), err).
			WithNext("give the app the encryption key that it was sealed with, or restore a backup")
	}
	return kept, err
}

// lookAtKeys has the running copy of an app on this node read its keys soon.
func (n *Node) lookAtKeys(a app.App) {
	if ring := n.rings.serving(keyPlace(a)); ring != nil {
		ring.Refresh()
	}
}

// Names and states of what CheckKeys finds, as latchkey doctor has them.
const (
	checkStore, checkKeys          = "store", "keys"
	checkOK, checkWarn, checkFails = "ok", "warn", "fail"
)

// keyCheck collects findings about the keys of an app.
type keyCheck struct {
	app    string
	store  keystore.Store
	checks []functions.KeyCheck
}

// CheckKeys implements functions.KeyRecovery.
func (n *Node) CheckKeys(ctx context.Context, name string) ([]functions.KeyCheck, error) {
	a, _, store, err := n.keysInUse(ctx, name)
	c := &keyCheck{app: a.Name, store: store}
	if err != nil {
		if a.Name == "" {
			return nil, err
		}
		c.fail(checkStore, err, "correct the app's settings")
		return c.checks, nil
	}
	if ring := n.rings.serving(keyPlace(a)); ring != nil {
		if h := ring.Health(); h.Reason != "" {
			c.add(checkKeys, checkWarn, "the running app: "+h.Reason, "see below")
		}
	}
	c.all(ctx)
	return c.checks, ctx.Err()
}

func (c *keyCheck) add(name, status, message, next string) {
	c.checks = append(c.checks, functions.KeyCheck{Check: name, Status: status, Message: message, Next: next})
}

func (c *keyCheck) fail(name string, err error, next string) {
	if own := problem.NextOf(err); own != "" {
		next = own
	}
	c.add(name, checkFails, err.Error(), next)
}

func (c *keyCheck) all(ctx context.Context) {
	docs, err := c.store.List(ctx)
	if err != nil {
		c.fail(checkStore, err, "see docs/stores for the permissions that the app's identity needs")
		return
	}
	c.add(checkStore, checkOK, fmt.Sprintf("%s can be read, documents: %d", nameOf(unguarded(c.store)), len(docs)), "")
	c.probe(ctx)
	if len(docs) == 0 {
		c.add(checkKeys, checkOK, "no keys yet; they are made when they are needed", "")
	}
	for _, doc := range docs {
		c.document(ctx, doc)
	}
}

func (c *keyCheck) probe(ctx context.Context) {
	if c.store.Capabilities().ReadOnly {
		c.add(checkStore, checkWarn, "the store is read-only: keys are never made or changed from here", "change them where they come from; see docs/stores")
		return
	}
	prober, ok := unguarded(c.store).(keystore.Prober)
	if !ok {
		return
	}
	for _, p := range prober.Probe(ctx) {
		switch {
		case p.Err == nil:
			c.add(checkStore, checkOK, "the store permits "+p.What, "")
		case problem.KindOf(p.Err) == problem.Unsupported:
			c.add(checkStore, checkOK, p.What+" was not tried: "+p.Err.Error(), "")
		default:
			c.add(checkStore, checkWarn, "the store does not permit "+p.What+": "+p.Err.Error(), problem.NextOf(p.Err))
		}
	}
}

func (c *keyCheck) document(ctx context.Context, doc keystore.Doc) {
	d, _, err := c.store.Load(ctx, doc)
	if err != nil {
		c.add(checkKeys, checkFails, string(doc)+": "+err.Error(), c.remedy(ctx, doc, err))
		return
	}
	c.add(checkKeys, checkOK, fmt.Sprintf("%s opens, keys: %d", doc, countKeys(d)), "")
}

// remedy says how to get a document's keys back, and how to do without.
func (c *keyCheck) remedy(ctx context.Context, doc keystore.Doc, err error) string {
	next := problem.NextOf(err)
	if problem.KindOf(err) != keystore.ErrUndecryptable {
		return "nothing was changed. " + next
	}
	if next == "" {
		next = "If it is sealed: set AzureWebEncryptionKey to the value it was sealed with. If it is damaged: restore it from an earlier version in the store"
	}
	copier, ok := c.store.(keystore.Copier)
	if !ok {
		return "nothing was changed. " + next
	}
	copies, bad := copier.Copies(ctx, doc)
	if bad != nil {
		return "nothing was changed. " + next
	}
	args := " --app " + c.app + " --yes"
	next = "nothing was changed. " + next + ". To start over with new keys, which every caller then needs: latchkey keystore discard " + string(doc) + args +
		"; it keeps a copy, and latchkey keystore restore " + string(doc) + " COPY" + args + " puts that back once it can be opened"
	for i, name := range copies {
		next += []string{". Copies: ", ", "}[min(i, 1)] + name
	}
	return next
}

// unguarded gives the store that an app's settings name.
func unguarded(s keystore.Store) keystore.Store {
	switch g := s.(type) {
	case guarded:
		return g.Store
	case watched:
		return g.guarded.Store
	}
	return s
}
