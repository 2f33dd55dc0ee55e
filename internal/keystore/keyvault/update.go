package keyvault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxAttempts  = 30
	deletionWait = 60 * time.Second // for a deletion or recovery to end
)

// errRaced says that somebody else wrote, who raises no claims.
var errRaced = errors.New("the document changed")

// Update implements [keystore.Store], as the package's documentation describes.
// The change must not call the store. An update that ends with ErrUnavailable or
// ErrReadOnly may have taken effect in part: some keys new, none of the others
// changed; the same update again completes it. A key whose secret is disabled
// cannot be set: problem.Conflict.
func (s *Store) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return keystore.Document{}, "", err
	}
	defer release()
	defer s.claim.lower(ctx)
	u := &update{store: s, doc: doc, change: change, id: newID(), mine: map[string]*secret{}}
	for try := range maxAttempts {
		c, err := u.attempt(ctx)
		if err == nil {
			d, err := c.document()
			return d, c.revision(), err
		}
		if !errors.Is(err, errRaced) {
			return keystore.Document{}, "", err
		}
		if err := s.pause(ctx, try); err != nil {
			return keystore.Document{}, "", err
		}
	}
	return keystore.Document{}, "", problem.New(keystore.ErrConflict,
		fmt.Sprintf("key document %q in %s kept changing while it was being updated", string(doc), s))
}

// update is one Update call's state.
type update struct {
	store  *Store
	doc    keystore.Doc
	change keystore.Change
	id     string
	// mine has the secrets that this update wrote or deleted, by their lower-cased
	// names, with what was there before; nil for nothing.
	mine map[string]*secret
}

func (u *update) attempt(ctx context.Context) (content, error) {
	s := u.store
	before, err := s.lists.get(ctx)
	if err != nil {
		return content{}, err
	}
	now, err := s.read(ctx, u.doc, before.docs[u.doc])
	if err != nil {
		return content{}, err
	}
	p, refusal, err := u.plan(ctx, now)
	if err != nil {
		return content{}, err
	}
	if p.empty() {
		return now, refusal
	}
	after, err := s.claim.raise(ctx, u.doc)
	if err != nil {
		return content{}, err
	}
	if state(before.docs[u.doc]) != state(after.docs[u.doc]) || keystore.Alive(ctx) != nil {
		return content{}, errors.Join(errRaced, keystore.Alive(ctx))
	}
	held, end := s.claim.held(ctx)
	defer end()
	got, err := u.apply(held, p, after.docs[u.doc])
	if err == nil {
		err = refusal
	}
	return got, err
}

// plan runs the change. If it refuses after writes of ours that did not last, the
// plan is to undo what is left of them, and refusal what to answer then.
func (u *update) plan(ctx context.Context, now content) (p *plan, refusal, err error) {
	seen := u.rewound(now)
	var old keystore.Document
	if seen.exists() {
		if old, err = seen.document(); err != nil {
			return nil, nil, fmt.Errorf("key document %q in %s: %w", string(u.doc), u.store, err)
		}
	}
	target, err := u.change(old.Clone(), seen.exists())
	if err != nil {
		err = keystore.Refused(u.doc, err)
	} else {
		target, err = keystore.Normal(u.doc, target)
	}
	if dead := keystore.Alive(ctx); dead != nil && err == nil {
		err = dead
	}
	if err == nil {
		p, err = makePlan(now, &target, u.store.cfg.App, u.id)
	}
	if err == nil || len(u.mine) == 0 {
		return p, nil, err
	}
	refusal = err
	if !seen.exists() {
		p, err = makePlan(now, nil, u.store.cfg.App, u.id)
	} else {
		p, err = makePlan(now, &old, u.store.cfg.App, u.id)
	}
	return p, refusal, err
}

// rewound gives content as if this update had written nothing.
func (u *update) rewound(now content) content {
	if len(u.mine) == 0 {
		return now
	}
	var secrets []secret
	there := map[string]bool{}
	for _, s := range now.secrets() {
		name := strings.ToLower(s.name)
		there[name] = true
		base, touched := u.mine[name]
		switch {
		case !touched || s.tags[writeTag] != u.id:
			secrets = append(secrets, s)
		case base != nil:
			secrets = append(secrets, *base)
		}
	}
	for name, base := range u.mine {
		if base != nil && !there[name] {
			secrets = append(secrets, *base)
		}
	}
	return build(u.doc, secrets, slices.Clone(now.off))
}

// apply carries a plan out, under the claim, and looks whether it lasted.
func (u *update) apply(ctx context.Context, p *plan, was []property) (content, error) {
	if err := u.unchanged(ctx, p); err != nil {
		return content{}, err
	}
	results, err := u.write(ctx, p)
	if err != nil {
		return content{}, err
	}
	inv, err := u.store.lists.get(ctx)
	if err != nil {
		return content{}, err
	}
	list := inv.docs[u.doc]
	if !u.lasted(p, list) {
		return content{}, errRaced
	}
	if !alike(p, was, list) {
		return u.store.read(ctx, u.doc, list)
	}
	for _, s := range p.now.secrets() {
		if !p.touches(s.name) {
			results = append(results, s)
		}
	}
	return build(u.doc, results, p.now.off), nil
}

// unchanged looks whether the secrets that a plan replaces or deletes are still
// the versions it was made of: a list does not tell two writes in one second apart.
func (u *update) unchanged(ctx context.Context, p *plan) error {
	bases := slices.Clone(p.drops)
	for _, s := range p.sets {
		if s.base != nil {
			bases = append(bases, *s.base)
		}
	}
	return each(bases, func(base secret) error {
		got, err := u.store.conn.get(ctx, base.name)
		if err == nil && got.version != base.version || vanished(err) || errors.Is(err, errOff) {
			return errRaced
		}
		return err
	})
}

func vanished(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, errDeleted) || errors.Is(err, errDeleting)
}

// write sets the first secret, which makes the document exist, then the others,
// then deletes.
func (u *update) write(ctx context.Context, p *plan) ([]secret, error) {
	var mu sync.Mutex
	var results []secret
	put := func(s set) error {
		mu.Lock()
		u.touch(s.name, s.base)
		mu.Unlock()
		got, err := u.store.put(ctx, s.name, s.to)
		mu.Lock()
		defer mu.Unlock()
		results = append(results, got)
		return err
	}
	if len(p.sets) > 0 {
		if err := put(p.sets[0]); err != nil {
			return nil, err
		}
		if err := each(p.sets[1:], put); err != nil {
			return nil, err
		}
	}
	for _, s := range p.drops {
		u.touch(s.name, &s)
	}
	return results, u.store.drop(ctx, p.drops)
}

// touch notes what was there before this update.
func (u *update) touch(name string, base *secret) {
	name = strings.ToLower(name)
	if _, known := u.mine[name]; !known {
		u.mine[name] = base
	}
}

// lasted reports whether what was set is there and what was deleted is not.
func (u *update) lasted(p *plan, list []property) bool {
	is := map[string]property{}
	for _, l := range list {
		is[strings.ToLower(l.name)] = l
	}
	for _, s := range p.sets {
		if got, ok := is[strings.ToLower(s.name)]; !ok || got.tags[writeTag] != u.id {
			return false
		}
	}
	for _, s := range p.drops {
		if _, there := is[strings.ToLower(s.name)]; there {
			return false
		}
	}
	return true
}

func (p *plan) touches(name string) bool {
	same := func(n string) bool { return strings.EqualFold(n, name) }
	return slices.ContainsFunc(p.sets, func(s set) bool { return same(s.name) }) ||
		slices.ContainsFunc(p.drops, func(s secret) bool { return same(s.name) })
}

// alike reports whether two lists agree but for what a plan touches.
func alike(p *plan, a, b []property) bool {
	others := func(list []property) string {
		return state(slices.DeleteFunc(slices.Clone(list), func(l property) bool { return p.touches(l.name) }))
	}
	return others(a) == others(b)
}

// each does something with all of a list at the same time and gives the first
// error.
func each[T any](list []T, do func(T) error) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, x := range list {
		wg.Go(func() { errs[i] = do(x) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// put sets a secret. A deleted one of the same name is recovered first, never
// purged; its old value is back until the new one is set, right after. One that is
// just being deleted is waited for.
func (s *Store) put(ctx context.Context, name string, to azsecrets.SetSecretParameters) (secret, error) {
	began, recovered := s.cfg.Clock.Now(), false
	for {
		got, err := s.conn.set(ctx, name, to)
		switch {
		case err == nil:
			return got, nil
		case errors.Is(err, errDeleted):
			if err := s.conn.restore(ctx, name); err != nil && !errors.Is(err, errDeleting) {
				return got, err
			}
			if !recovered {
				recovered = true
				continue
			}
		case errors.Is(err, errDeleting), errors.Is(err, errGone): // by somebody, or the recovery takes its time
		default:
			if recovered {
				_ = s.conn.remove(ctx, name) // nobody wants its old value back; the error is the other one
			}
			return got, err
		}
		if s.cfg.Clock.Now().Sub(began) > deletionWait {
			return got, problem.New(keystore.ErrUnavailable, "secret "+s.conn.prefix+name+" is still being deleted or recovered").WithNext("try again")
		}
		if clock.Sleep(ctx, s.cfg.Clock, s.cfg.Retry) != nil {
			return got, keystore.Alive(ctx)
		}
	}
}

// drop deletes secrets, the one last that makes others think that there is a
// document.
func (s *Store) drop(ctx context.Context, list []secret) error {
	var last []secret
	var rest []secret
	for _, x := range list {
		if p, _ := parseName(x.name); p.kind == accesskey.Master || p.kind == accesskey.None {
			last = append(last, x)
		} else {
			rest = append(rest, x)
		}
	}
	remove := func(x secret) error { return s.conn.remove(ctx, x.name) }
	if err := each(rest, remove); err != nil {
		return err
	}
	return each(last, remove)
}

// Delete implements [keystore.Store]. The vault keeps the secrets recoverable for
// as long as it is set to. An interrupted deletion leaves the master key for last.
func (s *Store) Delete(ctx context.Context, doc keystore.Doc) error {
	return s.delete(ctx, doc, func([]property) error { return nil })
}

// DeleteAt implements [keystore.ExactDeleter]. Other stores like this one wait for
// the removal; a write of somebody else's while it is under way is removed with it,
// and recoverable in the vault like the rest.
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return s.delete(ctx, doc, func(list []property) error {
		now, err := s.read(ctx, doc, list)
		if err == nil && now.revision() != rev {
			err = keystore.ChangedSince(doc, s.String())
		}
		return err
	})
}

// delete removes a document that allowed, under our claim, has nothing against.
func (s *Store) delete(ctx context.Context, doc keystore.Doc, allowed func([]property) error) error {
	release, err := s.begin(ctx, doc)
	if err != nil {
		return err
	}
	defer release()
	inv, err := s.lists.get(ctx)
	if err == nil && len(inv.docs[doc]) == 0 {
		err = keystore.Missing(doc, s.String())
	}
	if err != nil {
		return err
	}
	defer s.claim.lower(ctx)
	if inv, err = s.claim.raise(ctx, doc); err != nil {
		return err
	}
	if len(inv.docs[doc]) == 0 {
		return keystore.Missing(doc, s.String())
	}
	if err := allowed(inv.docs[doc]); err != nil {
		return err
	}
	held, end := s.claim.held(ctx)
	defer end()
	var all []secret
	for _, p := range inv.docs[doc] {
		all = append(all, secret{property: p})
	}
	return s.drop(held, all)
}
