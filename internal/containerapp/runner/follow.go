package runner

import (
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// follower takes what the control plane wants. A document that cannot be understood
// leaves its app as it is.
type follower Runner

// Reset implements state.Follower.
func (f *follower) Reset(documents []state.Document) {
	r := (*Runner)(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for _, doc := range documents {
		seen[idKey(doc.Key)] = true
		r.put(doc)
	}
	for key, it := range r.items {
		if !seen[key] {
			it.lost = true
			it.stir(true)
		}
	}
	r.known = true
	r.nudge()
}

// Apply implements state.Follower.
func (f *follower) Apply(e state.Event) {
	r := (*Runner)(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind != state.EventDelete {
		r.put(e.Document)
	} else if it := r.items[idKey(e.Key)]; it != nil {
		it.lost = true
		it.stir(true)
	}
	r.nudge()
}

// Cut implements state.Follower.
func (f *follower) Cut(err error) {
	f.cfg.Log.Error("the control plane cannot be read; container apps go on as last known", "reason", err, "next", problem.NextOf(err))
}

// idKey gives the app of engine.Ref from the key of its document.
func idKey(key state.Key) string {
	return "/" + strings.ToLower(strings.TrimPrefix(string(key), string(inventory.TypePrefix(containerapp.Type))))
}

// put takes a document; mu is held.
func (r *Runner) put(doc state.Document) {
	res, err := inventory.Decode(doc)
	var a containerapp.App
	if err == nil {
		a, err = containerapp.FromResource(res)
	}
	if err != nil {
		r.cfg.Log.Error("a container app's document cannot be understood; the app stays as it is", "document", string(doc.Key), "reason", err)
		return
	}
	key := idKey(doc.Key)
	it := r.items[key]
	if it == nil {
		it = newItem(key)
		r.items[key] = it
	}
	again := it.app.UID != a.UID || it.app.Generation != a.Generation || it.app.Deleting != a.Deleting
	it.app, it.lost = a, false
	it.stir(again)
}

// changed is told by the engine of every change.
func (r *Runner) changed(ref engine.Ref) {
	r.cfg.Changed(ref)
	r.mu.Lock()
	defer r.mu.Unlock()
	if it := r.items[ref.Key().App]; it != nil {
		it.look = true
		r.nudge()
	}
}
