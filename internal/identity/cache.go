package identity

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Run keeps the directory up with the store and notes when credentials were
// used, until ctx ends. Without it the directory works too, slower.
func (d *Directory) Run(ctx context.Context) {
	var noting sync.WaitGroup
	noting.Go(func() { d.noteUses(ctx) })
	state.Follow(ctx, d.records.Store, Documents, d.clock, &d.cache)
	d.cache.Cut(ctx.Err())
	noting.Wait()
}

// cache has every principal while the store is being followed. A principal this
// process has written is read from the store until the change has come back, so
// that no older event hides it.
type cache struct {
	mu       sync.RWMutex
	live     bool // what is here is what the store has
	byObject map[string]record
	byApp    map[string]string // object ids
	ahead    map[string]state.Revision
	damaged  map[string]bool // cannot be understood
	seen     state.Revision  // of the newest change taken
	seenOf   map[string]bool // which principals it was about
}

// Reset takes a new listing.
func (c *cache) Reset(documents []state.Document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byObject, c.byApp, c.damaged, c.live = map[string]record{}, map[string]string{}, map[string]bool{}, true
	c.seen, c.seenOf = 0, map[string]bool{} // a listing is in no order of revisions
	for _, doc := range documents {
		c.take(doc)
	}
}

// Apply takes one change.
func (c *cache) Apply(e state.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == state.EventPut {
		c.take(e.Document)
		return
	}
	id := objectID(e.Key)
	c.drop(id)
	c.caughtUp(id, e.Revision)
}

// Cut makes lookups read the store: what is here may be old, and a principal that
// was disabled must not go on.
func (c *cache) Cut(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live, c.byObject, c.byApp = false, nil, nil
}

func (c *cache) take(doc state.Document) {
	id := objectID(doc.Key)
	c.drop(id)
	c.caughtUp(id, doc.Revision)
	var r record
	if json.Unmarshal(doc.Value, &r) != nil {
		c.damaged[id] = true // reading it gives the error
		return
	}
	r.Revision = doc.Revision
	c.byObject[id] = r
	if r.AppID != "" {
		c.byApp[r.AppID] = id
	}
}

func (c *cache) drop(id string) {
	if r, ok := c.byObject[id]; ok && c.byApp[r.AppID] == id {
		delete(c.byApp, r.AppID)
	}
	delete(c.byObject, id)
	delete(c.damaged, id)
}

// caughtUp notes a change taken. Changes come in order, so that all before it have
// been taken too, also deletions that a listing does not tell of.
func (c *cache) caughtUp(id string, rev state.Revision) {
	if c.seen < rev {
		c.seen, c.seenOf = rev, map[string]bool{}
	}
	c.seenOf[id] = true
	maps.DeleteFunc(c.ahead, func(other string, r state.Revision) bool { return r < rev || r == rev && other == id })
}

// wrote says that this process changed a principal.
func (c *cache) wrote(id string, rev state.Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead == nil {
		c.ahead = map[string]state.Revision{}
	}
	if c.seen < rev || c.seen == rev && !c.seenOf[id] { // else its event was faster
		c.ahead[id] = rev
	}
}

// lookup gives what the cache knows; known is false if the store must be asked.
func (c *cache) lookup(id string) (r record, exists, known bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if _, ahead := c.ahead[id]; !c.live || ahead || c.damaged[id] {
		return record{}, false, false
	}
	r, exists = c.byObject[id]
	return r, exists, true
}

// lookupApp is lookup by app id. It does not know absent apps while there are
// changes underway.
func (c *cache) lookupApp(appID string) (r record, exists, known bool) {
	c.mu.RLock()
	id, found := c.byApp[appID]
	known = c.live && (found || len(c.ahead) == 0 && len(c.damaged) == 0)
	c.mu.RUnlock()
	if !found || !known {
		return record{}, false, known
	}
	return c.lookup(id)
}

func objectID(key state.Key) string { return string(key[len(Documents):]) }

func (d *Directory) get(ctx context.Context, objectID string) (record, error) {
	objectID = strings.ToLower(objectID)
	if !guid.MatchString(objectID) {
		return record{}, missing(objectID, problem.NotFound)
	}
	r, exists, known := d.cache.lookup(objectID)
	if exists {
		return r, nil
	}
	if known {
		return record{}, missing(objectID, problem.NotFound)
	}
	item, err := d.records.Get(ctx, objectID)
	if err != nil {
		return record{}, missing(objectID, err)
	}
	item.Value.Revision = item.Revision
	return item.Value, nil
}

func (d *Directory) byApp(ctx context.Context, appID string) (record, error) {
	appID = strings.ToLower(appID)
	if !guid.MatchString(appID) {
		return record{}, missing(appID, problem.NotFound)
	}
	r, exists, known := d.cache.lookupApp(appID)
	if exists {
		return r, nil
	}
	if known {
		return record{}, missing(appID, problem.NotFound)
	}
	doc, err := d.records.Store.Get(ctx, byApp+state.Key(appID))
	if err != nil {
		return record{}, missing(appID, err)
	}
	return d.get(ctx, string(doc.Value))
}

// public gives a copy that callers may change.
func (r record) public() Principal {
	p := r.Principal
	p.Secrets, p.Certificates, p.Federated = slices.Clone(p.Secrets), slices.Clone(p.Certificates), slices.Clone(p.Federated)
	return p
}
