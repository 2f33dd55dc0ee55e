package kubernetes

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
)

// inventory asks the cluster, not the watches, for what the installation has.
func (e *Engine) inventory(ctx context.Context) (objects []found, of []*pod, err error) {
	for _, k := range kinds {
		w := &watch{e: e, kind: k}
		all, _, err := w.read(ctx)
		if k.optional && isStatus(err, http.StatusNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, e.fault(err, "list "+k.plural)
		}
		for _, name := range sorted(all) {
			if k == pods {
				p := &pod{}
				if err := json.Unmarshal(all[name], p); err == nil {
					of = append(of, p)
				}
			} else if h, err := headerOf(all[name]); err == nil && h.ours(k) {
				objects = append(objects, found{k, h})
			}
		}
	}
	return objects, of, nil
}

// List implements engine.Engine.
func (e *Engine) List(ctx context.Context) ([]engine.Object, error) {
	objects, of, err := e.inventory(ctx)
	return e.objects(objects, of, func(string) bool { return true }), err
}

// objects gives what there is of revisions whose base names match.
func (e *Engine) objects(objects []found, of []*pod, which func(base string) bool) []engine.Object {
	var out []engine.Object
	for _, p := range of {
		if !which(p.Metadata.Labels[labelRevision]) {
			continue
		}
		at := len(out)
		for _, c := range p.containers() {
			out = append(out, engine.Object{Revision: refOf(p.Metadata), Replica: p.Metadata.Name, Container: c.Name, Role: c.Role, Kind: "container",
				ID: e.ns + "/" + p.Metadata.Name + "/" + c.Name, Running: c.State == engine.ContainerRunning})
		}
		if len(out) == at {
			out = append(out, engine.Object{Revision: refOf(p.Metadata), Replica: p.Metadata.Name, Kind: pods.name, ID: e.ns + "/" + p.Metadata.Name})
		}
	}
	for _, f := range objects {
		if which(f.Labels[labelRevision]) {
			out = append(out, engine.Object{Revision: refOf(f.header), Kind: f.kind.name, ID: e.ns + "/" + f.Name})
		}
	}
	return out
}

// Sweep implements engine.Engine.
func (e *Engine) Sweep(ctx context.Context, keep func(engine.Ref) bool) ([]engine.Object, error) {
	objects, of, err := e.inventory(ctx)
	if err != nil {
		return nil, err
	}
	stays := map[string]bool{}
	judge := func(h header) {
		base := h.Labels[labelRevision]
		if _, known := stays[base]; !known {
			e.mu.Lock()
			_, placed := e.revisions[base]
			e.mu.Unlock()
			stays[base] = placed || keep != nil && keep(refOf(h))
		}
	}
	for _, f := range objects {
		judge(f.header)
	}
	for _, p := range of {
		judge(p.Metadata)
	}
	return e.removeAll(ctx, func(base string) bool { stay, known := stays[base]; return known && !stay })
}

// removeAll deletes what there is of revisions whose base names match, and returns when
// it and its pods are gone. Pods are the cluster's to delete: their Deployment goes.
func (e *Engine) removeAll(ctx context.Context, which func(base string) bool) (removed []engine.Object, err error) {
	for n := 0; ; n++ {
		objects, of, err := e.inventory(ctx)
		if err != nil {
			return removed, err
		}
		left := e.objects(objects, of, which)
		if n == 0 {
			removed = left
		}
		if len(left) == 0 && !e.seen.anyPod(which) {
			return removed, nil
		}
		slices.SortStableFunc(objects, func(a, b found) int { return last(a) - last(b) })
		for _, f := range objects {
			if !which(f.Labels[labelRevision]) || f.Deleted != nil {
				continue
			}
			if err := e.remove(ctx, f.kind, f.Name); err != nil {
				return removed, e.fault(err, "delete "+f.kind.name+" "+f.Name)
			}
		}
		if err := clock.Sleep(ctx, e.cfg.Clock, min(50*time.Millisecond<<min(n, 5), time.Second)); err != nil {
			return removed, err
		}
	}
}

// last has owners go after all others, so that what is left after an interruption still
// says what it belongs to.
func last(f found) int {
	if f.kind == configMap {
		return 1
	}
	return 0
}

func (c *cache) anyPod(which func(base string) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if which(p.Metadata.Labels[labelRevision]) {
			return true
		}
	}
	return false
}
