package kubernetes

import (
	"encoding/json"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
)

// cache is what the watches know of the installation's objects.
type cache struct {
	mu          sync.Mutex
	known       map[string]bool // kinds that were listed, by plural
	objects     map[string]map[string]header
	pods        map[string]*pod
	deployments map[string]*deploy
}

func newCache() *cache {
	return &cache{known: map[string]bool{}, objects: map[string]map[string]header{}, pods: map[string]*pod{}, deployments: map[string]*deploy{}}
}

// has reports whether the cluster has a kind of object.
func (c *cache) has(k kind) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[k.plural]
}

// exists reports whether there is an object.
func (c *cache) exists(k kind, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.objects[k.plural][name]
	return there
}

// replaceAll takes all objects of a kind for those that there are.
func (e *Engine) replaceAll(k kind, all map[string]json.RawMessage) {
	e.seen.mu.Lock()
	e.seen.known[k.plural] = true
	var lost []header
	for name, h := range e.seen.objects[k.plural] {
		if _, there := all[name]; !there {
			lost = append(lost, h)
		}
	}
	e.seen.mu.Unlock()
	for _, h := range lost {
		text, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": h.Name, "uid": h.UID, "labels": h.Labels, "annotations": h.Annotations}})
		e.heard(k, text, true)
	}
	for _, name := range sorted(all) {
		e.heard(k, all[name], false)
	}
}

// heard takes news of one object. News of a kind come one after the other.
func (e *Engine) heard(k kind, object json.RawMessage, gone bool) {
	h, err := headerOf(object)
	if err != nil {
		return
	}
	if k != pods && !h.ours(k) {
		return
	}
	var now pod
	var d deploy
	switch k.plural {
	case pods.plural:
		err = json.Unmarshal(object, &now)
	case deployment.plural:
		err = json.Unmarshal(object, &d)
	}
	if err != nil {
		e.cfg.Log.Warn("the cluster tells of an object that cannot be understood", "kind", k.plural, "name", h.Name)
		return
	}
	was := e.seen.put(k, h, &now, &d, gone)
	r := e.of(h)
	if k.plural == pods.plural {
		e.doors.observe(&now, gone)
		if r != nil {
			r.happened(was, &now, gone)
		}
		return
	}
	if r != nil {
		r.drifted(k, h, gone)
	}
}

// put writes news down and gives the pod as it was before, nil for none.
func (c *cache) put(k kind, h header, now *pod, d *deploy, gone bool) *pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.objects[k.plural] == nil {
		c.objects[k.plural] = map[string]header{}
	}
	was := c.pods[h.Name]
	if gone {
		delete(c.objects[k.plural], h.Name)
	} else {
		c.objects[k.plural][h.Name] = h
	}
	switch {
	case k.plural == pods.plural && gone:
		delete(c.pods, h.Name)
	case k.plural == pods.plural:
		c.pods[h.Name] = now
	case k.plural == deployment.plural && gone:
		delete(c.deployments, h.Name)
	case k.plural == deployment.plural:
		c.deployments[h.Name] = d
	}
	return was
}

// of gives the placed revision that an object belongs to, nil for none.
func (e *Engine) of(h header) *revision {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.revisions[h.Labels[labelRevision]]
}

func refOf(h header) engine.Ref {
	return engine.Ref{App: h.Annotations[noteApp], Revision: h.Annotations[noteRevision]}
}

// podsOf gives the pods of a revision.
func (c *cache) podsOf(base string) []*pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*pod
	for _, name := range sorted(c.pods) {
		if p := c.pods[name]; p.Metadata.Labels[labelRevision] == base {
			out = append(out, p)
		}
	}
	return out
}

func (c *cache) pod(name string) *pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[name]
}

func (c *cache) deployment(name string) *deploy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deployments[name]
}

// found is an object that is there.
type found struct {
	kind kind
	header
}

// all gives everything but pods that matches.
func (c *cache) all(which func(header) bool) []found {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []found
	for _, k := range kinds {
		for _, name := range sorted(c.objects[k.plural]) {
			if h := c.objects[k.plural][name]; k.plural != pods.plural && which(h) {
				out = append(out, found{k, h})
			}
		}
	}
	return out
}
