package keyring

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
)

// manyReads is from how many documents on one request for all of them is made
// where the store can do that.
const manyReads = 4

// ahead holds documents that were read together before anybody needed them, for a
// short while. Nothing in it is older than what the store last reported. Guarded
// by Ring.mu.
type ahead struct {
	docs  map[keystore.Doc]keystore.Loaded
	until time.Time
	stale map[keystore.Doc]bool // changed while they were being read; "" stands for all
}

// drop forgets a document, "" all, because it may have changed.
func (a *ahead) drop(doc keystore.Doc) {
	if a.stale != nil {
		a.stale[doc] = true
	}
	if delete(a.docs, doc); doc == "" {
		clear(a.docs)
	}
}

// readAhead reads all documents there are with as few requests as the store
// needs. What it cannot read is left to who needs it, and so are documents that
// are absent: only their own reads say so for certain.
func (r *Ring) readAhead(ctx context.Context) {
	all, ok := r.cfg.Store.(keystore.AllLoader)
	if !ok || !r.beginAhead() {
		return
	}
	inner, stop := r.bounded(ctx)
	defer stop()
	docs, _ := all.LoadAll(inner) // what failed shows when it is needed
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &r.ahead
	for doc, got := range docs {
		if got.Err == nil && !a.stale[doc] && !a.stale[""] {
			a.docs[doc] = got
		}
	}
	a.stale, a.until = nil, r.cfg.Clock.Now().Add(r.cfg.Limits.LoadTimeout)
}

// beginAhead reports whether nobody else is at it.
func (r *Ring) beginAhead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead.stale != nil {
		return false
	}
	r.ahead.stale, r.ahead.docs = map[keystore.Doc]bool{}, map[keystore.Doc]keystore.Loaded{}
	return true
}

// worthwhile reports whether enough documents are to be read that were not read
// ahead.
func (r *Ring) worthwhile(functions []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := r.cfg.Clock.Now().Before(r.ahead.until)
	missing := 0
	for _, name := range functions {
		doc := keystore.FunctionDoc(name)
		_, have := r.ahead.docs[doc]
		if s := r.byDoc[doc]; (s == nil || !s.known) && (!have || !fresh) {
			missing++
		}
	}
	return missing >= manyReads && !fresh
}

// load asks the store for a document, unless it was read ahead just now and is
// needed for the first time. Callers have the turn.
func (r *Ring) load(ctx context.Context, s *Scope) (keystore.Document, keystore.Revision, error) {
	if got, ok := r.takeAhead(s); ok {
		return got.Document, got.Revision, nil
	}
	return r.cfg.Store.Load(ctx, s.doc)
}

func (r *Ring) takeAhead(s *Scope) (got keystore.Loaded, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cfg.Clock.Now().Before(r.ahead.until) {
		clear(r.ahead.docs)
	}
	got, ok = r.ahead.docs[s.doc]
	delete(r.ahead.docs, s.doc)
	return got, ok && !s.known && s.fault == nil
}
