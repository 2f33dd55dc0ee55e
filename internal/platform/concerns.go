package platform

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// concernsLater is how long after a node has started its apps are looked at first, so
// that what is asked of it then does not wait for that.
const concernsLater = 2 * time.Second

// openConcerns begins to keep what is worth a look.
func (n *Node) openConcerns(context.Context) error {
	n.concerns = concern.NewIndex(concern.Config{
		All: n.allApps, Look: n.lookAt, Changed: n.concernsChanged, Clock: n.cfg.Clock, Log: n.log,
	})
	n.beside(func(ctx context.Context) {
		timer := n.outside().NewTimer(concernsLater)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		n.concerns.Run(ctx)
	})
	n.beside(n.watchForConcerns)
	return nil
}

func (n *Node) concernsChanged() {
	if p := n.portal.Load(); p != nil {
		p.Notify()
	}
}

// allApps gives the ids of all apps, those of container apps too.
func (n *Node) allApps(ctx context.Context) (ids []resource.ID, err error) {
	for _, typ := range []string{app.SiteType, containerapp.Type} {
		list, _, err := n.inventory.List(ctx, typ, resource.Root, "", 0)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			ids = append(ids, r.ResourceID())
		}
	}
	return ids, nil
}

// lookAt gives what is worth a look of one app, from the state alone.
func (n *Node) lookAt(ctx context.Context, id resource.ID) (found []concern.Concern, next time.Time, err error) {
	if strings.EqualFold(id.Type(), containerapp.Type) {
		found, err = n.lookAtContainers(ctx, id)
	} else {
		found, next, err = n.lookAtSite(ctx, id)
	}
	if errors.Is(err, problem.NotFound) || errors.Is(err, problem.Undecryptable) { // it is gone, or its own page says what is wrong
		err = nil
	}
	for i := range found {
		found[i].Resource = id
	}
	return found, next, err
}

func (n *Node) lookAtSite(ctx context.Context, id resource.ID) (found []concern.Concern, next time.Time, err error) {
	a, err := n.apps.Get(ctx, id)
	if err != nil {
		return nil, next, err
	}
	for _, section := range []app.Section{app.AppSettings, app.ConnectionStrings} {
		reports, err := n.references.Report(ctx, a, section)
		if err != nil {
			return nil, next, err
		}
		found = append(found, ofReferences(reports, string(section))...)
	}
	keys, fault, err := n.keysThatEnd(ctx, a)
	if err != nil {
		return nil, next, err
	}
	if fault != "" {
		found = append(found, concern.Concern{Kind: concern.KeysUnreadable, Why: fault, Next: "latchkey keystore check --app " + a.Name})
	}
	ends, next := concern.OfKeys(keys, n.cfg.Clock.Now())
	return append(found, ends...), next, nil
}

func ofReferences(reports []reference.Report, section string) (found []concern.Concern) {
	for _, r := range reports {
		c := concern.Concern{Kind: concern.ReferenceFails, Name: r.Setting, Section: section, Why: r.Why, At: r.Since}
		switch {
		case r.Stale:
			c.Kind = concern.ReferenceStale
		case r.Status == reference.Resolved, r.Status == reference.Initialized && r.Why == "":
			continue
		}
		if c.Why == "" {
			c.Why = r.Details
		}
		found = append(found, c)
	}
	return found
}

func (n *Node) lookAtContainers(ctx context.Context, id resource.ID) (found []concern.Concern, err error) {
	a, err := n.containers.apps.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if n.containers.vaults != nil {
		reports, err := n.containers.vaults.Report(ctx, a)
		if err != nil {
			return nil, err
		}
		found = ofReferences(reports, "secrets")
	}
	revisions, err := n.containers.apps.Revisions(ctx, id)
	if err != nil {
		return found, err
	}
	for _, r := range revisions {
		s := r.Status
		if r.Active && (s.Provisioning == containerapp.Failed || s.Running == containerapp.Degraded || s.Running == containerapp.FailedRunning) {
			found = append(found, concern.Concern{Kind: concern.RevisionFails, Name: r.Name, Why: s.Reason})
		}
	}
	return found, nil
}

// concernsNow gives all that is worth a look: what is kept, and how apps do on the
// nodes that this one hears of. known is false until all apps were looked at.
func (n *Node) concernsNow(ctx context.Context) (entries []*concern.Entry, known bool, err error) {
	entries, known = n.concerns.Entries()
	at := map[string]int{}
	for i, e := range entries {
		at[e.Resource.Key()] = i
	}
	for name, list := range n.failing() {
		a, err := n.apps.ByName(ctx, name)
		if errors.Is(err, problem.NotFound) || errors.Is(err, problem.Undecryptable) {
			continue // it is gone, or its own page says what is wrong
		}
		if err != nil {
			return nil, false, err
		}
		i, there := at[a.ID.Key()]
		if !there {
			i = len(entries)
			entries = append(entries, &concern.Entry{Resource: a.ID})
			at[a.ID.Key()] = i
		}
		entries[i] = withMore(entries[i], list)
	}
	return entries, known, nil
}

// withMore gives an entry with more concerns; the entry itself is shared.
func withMore(e *concern.Entry, more []concern.Concern) *concern.Entry {
	whole := &concern.Entry{Resource: e.Resource, Counts: map[concern.Kind]int{}}
	for kind, count := range e.Counts {
		whole.Counts[kind] = count
	}
	for _, c := range more {
		c.Resource = e.Resource
		c.Settle()
		whole.Counts[c.Kind]++
		whole.Found = append(whole.Found, c)
	}
	whole.Found = append(whole.Found, e.Found...)
	slices.SortFunc(whole.Found, concern.Compare)
	whole.Found = whole.Found[:min(len(whole.Found), concern.Kept)]
	return whole
}

// failing gives the apps, by name, that do not run as they should on some node, or
// whose keys on this one are not those of their store.
func (n *Node) failing() map[string][]concern.Concern {
	found := map[string][]concern.Concern{}
	note := func(name, node string, st fleet.Status) {
		if st.State == fleet.Failed || len(st.Errors) > 0 {
			found[name] = append(found[name], concern.Concern{
				Kind: concern.AppFails, Section: node, Why: strings.Join(st.Errors, "; "), At: st.Since, Next: "latchkey app show " + name,
			})
		}
	}
	for _, st := range n.fleet.All() {
		note(strings.ToLower(st.Name), n.cfg.Node, st)
	}
	for _, o := range n.statuses.failing() {
		note(strings.ToLower(o.Name), o.Node, o.Status)
	}
	for place, h := range n.rings.unwell() {
		name, _, _ := strings.Cut(place, ".")
		found[name] = append(found[name], concern.Concern{
			Kind: concern.KeysUnreadable, Section: n.cfg.Node, Why: h.Reason, Next: h.Next, At: h.Since,
		})
	}
	return found
}

// unwell gives the health of the keyrings that do not have the keys of their store,
// of the apps that run here, by place.
func (r *rings) unwell() map[string]keyring.Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[string]keyring.Health{}
	for place := range r.running {
		if h := r.newest(place).Health(); h.State != keyring.OK {
			found[place] = h
		}
	}
	return found
}

// failing gives what other nodes that are alive said of apps that fail there.
func (s *statuses) failing() (list []nodeStatus) {
	s.heard.mu.RLock()
	defer s.heard.mu.RUnlock()
	now := s.clock.Now()
	for _, nodes := range s.heard.apps {
		for node, st := range nodes {
			bad := st.State == fleet.Failed || len(st.Errors) > 0
			if bad && node != s.node && now.Sub(s.heard.beats[node]) < 3*beat {
				list = append(list, nodeStatus{node, st})
			}
		}
	}
	return list
}

// watchForConcerns has apps looked at again whose documents change, on whichever
// node.
func (n *Node) watchForConcerns(ctx context.Context) {
	who := &appsByKey{n: n, uids: map[string]resource.ID{}}
	n.heed(ctx, n.concerns.MarkAll, func(key state.Key) {
		if id, is := who.of(ctx, string(key)); is {
			n.concerns.Mark(id)
		}
	})
}

// appsByKey finds the app that a document of the state is about.
type appsByKey struct {
	n    *Node
	uids map[string]resource.ID // filled when one is not known; no id for what is no app
}

func (w *appsByKey) of(ctx context.Context, key string) (id resource.ID, is bool) {
	for _, typ := range []string{app.SiteType, containerapp.Type} {
		if rest, found := strings.CutPrefix(key, string(inventory.TypePrefix(typ))); found {
			id, err := resource.Parse("/" + rest)
			return id, err == nil
		}
	}
	if rest, found := strings.CutPrefix(key, "/container-revisions/"); found {
		id, err := resource.Parse("/" + rest[:max(strings.LastIndexByte(rest, '/'), 0)])
		return id, err == nil
	}
	if uid, found := strings.CutPrefix(key, string(reference.Documents)); found {
		return w.byUID(ctx, uid)
	}
	for _, prefix := range []state.Key{keysPrefix, keynotes.RestrictionsPrefix, keynotes.UsesPrefix} {
		if rest, found := strings.CutPrefix(key, string(prefix)); found {
			place, _, _ := strings.Cut(rest, "/")
			name, _, _ := strings.Cut(place, ".")
			a, err := w.n.apps.ByName(ctx, name)
			return a.ID, err == nil
		}
	}
	return id, false
}

// byUID finds an app by the id of its life.
func (w *appsByKey) byUID(ctx context.Context, uid string) (resource.ID, bool) {
	if id, known := w.uids[uid]; known {
		return id, id.IsResource()
	}
	list, _, err := w.n.apps.List(ctx, resource.Root, "", 0)
	if err != nil {
		return resource.ID{}, false
	}
	if len(w.uids) > 2*len(list)+1000 { // of apps that are gone
		clear(w.uids)
	}
	for _, a := range list {
		w.uids[a.UID] = a.ID
	}
	id, known := w.uids[uid]
	w.uids[uid] = id
	return id, known
}
