package keyvault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// inventory is what one list says of the app's secrets.
type inventory struct {
	docs    map[keystore.Doc][]property
	writers []property
}

// sortOut makes an inventory of a list. It returns problem.Conflict if some of the
// secrets belong to another app.
func (s *Store) sortOut(all []property) (inventory, error) {
	inv := inventory{docs: map[keystore.Doc][]property{}}
	for _, p := range all {
		if isWriter(p.name) {
			inv.writers = append(inv.writers, p)
			continue
		}
		place, ok := parseName(p.name)
		if !ok {
			continue
		}
		if err := s.belongs(p); err != nil {
			return inv, err
		}
		inv.docs[place.doc] = append(inv.docs[place.doc], p)
	}
	return inv, nil
}

func isWriter(name string) bool {
	const start = ownPart + separator + writerPart + separator
	return len(name) > len(start) && strings.EqualFold(name[:len(start)], start)
}

// belongs refuses a secret that another app has written.
func (s *Store) belongs(p property) error {
	owner := p.tags[appTag]
	if owner == "" || s.cfg.App == "" || strings.EqualFold(owner, s.cfg.App) {
		return nil
	}
	return problem.New(problem.Conflict, fmt.Sprintf("secret %s of %s belongs to app %q, and this is app %q", s.conn.prefix+p.name, s.cfg.URI, owner, s.cfg.App)).
		WithNext("give each app a vault of its own, or its own " + PrefixSetting + "; if it is the same app under a new name, set the tag " + appTag + " to it on all its secrets")
}

// state tells whether a document's secrets are as they were, as far as a list says.
func state(list []property) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b property) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "%q %v %d %d\n", strings.ToLower(p.name), p.enabled, p.created, p.updated)
		writeTags(&b, p.tags)
	}
	return b.String()
}

// expected gives the secrets that may be read by name of a document.
func (s *Store) expected(doc keystore.Doc) []property {
	names := []string{place{doc, accesskey.Function, accesskey.DefaultName}.secretName()}
	if doc.IsHost() {
		names = []string{place{kind: accesskey.Master}.secretName(), place{kind: accesskey.Host, key: accesskey.DefaultName}.secretName()}
	}
	for _, name := range s.cfg.Secrets {
		known := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		if p, ok := parseName(name); ok && p.doc == doc && !known {
			names = append(names, name)
		}
	}
	list := make([]property, 0, len(names))
	for _, name := range names {
		if len(name) <= maxName {
			list = append(list, property{name: name, enabled: true})
		}
	}
	return list
}

// lists has those who want the vault's list at the same time share it: one that is
// begun after they asked, so that nobody is given what was before.
type lists struct {
	ask func(context.Context) (inventory, error)

	mu        sync.Mutex
	now, next *flight
}

type flight struct {
	done    chan struct{}
	waiting int
	ctx     context.Context
	cancel  context.CancelFunc
	got     inventory
	err     error
}

// get gives a list begun after the call.
func (l *lists) get(ctx context.Context) (inventory, error) {
	f := l.join(ctx)
	select {
	case <-f.done:
		return f.got, f.err
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if f.waiting--; f.waiting == 0 {
			f.cancel()
		}
		return inventory{}, keystore.Alive(ctx)
	}
}

func (l *lists) join(ctx context.Context) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.next
	if f == nil {
		f = &flight{done: make(chan struct{})}
		f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if l.now == nil {
			l.now = f
			go l.run(f)
		} else {
			l.next = f
		}
	}
	f.waiting++
	return f
}

// run asks for a list, then for the one that others want meanwhile. It ends with
// the last who waits.
func (l *lists) run(f *flight) {
	for f != nil {
		f.got, f.err = l.ask(f.ctx)
		f.cancel()
		close(f.done)
		l.mu.Lock()
		l.now, l.next = l.next, nil
		f = l.now
		l.mu.Unlock()
	}
}
