package ingress

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
)

// table has all host names. It never changes; a change of an app makes another.
type table struct {
	hosts map[string]*route
	ports map[int]*route  // exposed ones
	apps  map[string]*app // by lower-case id
}

// route is where the requests to one host name go.
type route struct {
	host    string // "": a port
	exposed int
	app     *app
	port    int    // of the replicas
	fixed   *share // the only revision; nil: by weights
	inside  bool   // for callers inside only
}

// app is an app that is served.
type app struct {
	App
	site   *site
	shares []*share // those with a weight
	byName map[string]*share
}

// site is what is kept of an app while its settings change.
type site struct {
	mu      sync.Mutex
	waiting int
	news    chan struct{} // closed at the next change; nil while nobody waits
}

// listen gives a channel that is closed at the next change.
func (s *site) listen() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.news == nil {
		s.news = make(chan struct{})
	}
	return s.news
}

// tell wakes everybody who listens.
func (s *site) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.news != nil {
		close(s.news)
		s.news = nil
	}
}

// enter takes a place among those who wait, if there is one.
func (s *site) enter(limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= limit {
		return false
	}
	s.waiting++
	return true
}

func (s *site) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// maxHost is the longest host name there can be.
const maxHost = 253

// find gives where requests with a Host field go.
func (t *table) find(host string) (*route, bool) {
	if at, ok := t.hosts[host]; ok { // as it is, which is nearly always so without a port
		return at, true
	}
	name, ok := hostName(host)
	if !ok {
		return nil, false
	}
	at, ok := t.hosts[name]
	return at, ok
}

// again gives what became of a route of an earlier table.
func (t *table) again(had *route) (*route, bool) {
	if had.host == "" {
		at, ok := t.ports[had.exposed]
		return at, ok && at.app.site == had.app.site
	}
	at, ok := t.hosts[had.host]
	return at, ok && at.app.site == had.app.site
}

// hostName gives the name in a Host field: lower case, without port and the dot
// that ends a full name. ok is false for what is no name.
func hostName(host string) (name string, ok bool) {
	if i := strings.IndexByte(host, ':'); i >= 0 {
		if !digits(host[i+1:]) {
			return "", false
		}
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxHost {
		return "", false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return "", false
		}
	}
	return strings.ToLower(host), true
}

// digits reports whether a text is a port, or nothing, which stands for the usual one.
func digits(text string) bool {
	if len(text) > 5 {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// Put makes an app what it says, whether it was there or not. Requests that wait
// follow it.
func (in *Ingress) Put(a App) {
	key := strings.ToLower(a.ID)
	in.mu.Lock()
	s := in.site(key)
	compiled := in.compile(a, s)
	apps := maps.Clone(in.table.Load().apps)
	if apps == nil {
		apps = map[string]*app{}
	}
	apps[key] = compiled
	in.prune(key, compiled)
	in.show(newTable(apps, in.cfg.Reserved))
	in.mu.Unlock()
	s.tell()
}

// Forget ends an app. Requests that wait are told so; those under way go on.
func (in *Ingress) Forget(id string) {
	key := strings.ToLower(id)
	in.mu.Lock()
	s, known := in.sites[key]
	if known {
		apps := maps.Clone(in.table.Load().apps)
		delete(apps, key)
		delete(in.sites, key)
		in.revisions.Range(func(k, v any) bool {
			if k.(engine.Ref).App == key {
				v.(*revision).set(nil)
			}
			return true
		})
		in.prune(key, nil)
		in.show(newTable(apps, in.cfg.Reserved))
	}
	in.mu.Unlock()
	if known {
		s.tell()
	}
}

// show makes a table the one that is used; in.mu is held.
func (in *Ingress) show(t *table) {
	in.table.Store(t)
	in.open(t)
}

// Replicas tells which replicas of a revision can take requests. What is not in the
// list any more gets no new ones.
func (in *Ingress) Replicas(ref engine.Ref, list []Replica) {
	in.mu.Lock()
	defer in.mu.Unlock()
	key := ref.Key()
	if _, known := in.revisions.Load(key); !known && len(list) == 0 {
		return
	}
	in.revision(ref).set(list)
	if a := in.table.Load().apps[key.App]; a == nil {
		in.prune(key.App, nil)
	} else {
		a.site.tell()
	}
}

// Drain waits until nothing is under way any more for a revision that gets no new
// requests, or until ctx ends.
func (in *Ingress) Drain(ctx context.Context, ref engine.Ref) {
	if v, ok := in.revisions.Load(ref.Key()); ok {
		rev := v.(*revision)
		rev.inFlight.wait(ctx)
		rev.drained.Store(true)
	}
}

// Retire keeps new requests from a replica that is to end, and waits until nothing is
// under way any more for it, or until ctx ends. Those of a revision that was drained
// are not waited for again.
func (in *Ingress) Retire(ctx context.Context, ref engine.Ref, replica string) {
	v, ok := in.revisions.Load(ref.Key())
	if !ok {
		return
	}
	rev := v.(*revision)
	for _, one := range rev.retire(replica) {
		if !rev.drained.Load() {
			one.busy.wait(ctx)
		}
	}
}

// site gives what is kept of an app; in.mu is held.
func (in *Ingress) site(key string) *site {
	s := in.sites[key]
	if s == nil {
		s = &site{}
		in.sites[key] = s
	}
	return s
}

// revision gives what is kept of a revision; in.mu is held.
func (in *Ingress) revision(ref engine.Ref) *revision {
	v, _ := in.revisions.LoadOrStore(ref.Key(), &revision{ref: ref, clock: in.cfg.Clock})
	return v.(*revision)
}

// prune forgets revisions that an app does not have any more and that have nothing
// to do; in.mu is held.
func (in *Ingress) prune(id string, a *app) {
	in.revisions.Range(func(k, v any) bool {
		key, rev := k.(engine.Ref), v.(*revision)
		if key.App == id && (a == nil || a.byName[key.Revision] == nil) && rev.idle() {
			in.revisions.Delete(k)
		}
		return true
	})
}

// compile makes an app ready to be served; in.mu is held.
func (in *Ingress) compile(a App, s *site) *app {
	c := &app{App: a, site: s, byName: map[string]*share{}}
	for _, r := range a.Revisions {
		name := strings.ToLower(r.Name)
		c.byName[name] = &share{revision: in.revision(engine.Ref{App: a.ID, Revision: r.Name}), failed: r.Failed}
		c.byName[name].revision.drained.Store(false)
	}
	for _, t := range a.Traffic {
		one := c.byName[strings.ToLower(t.Revision)]
		if one == nil || t.Weight <= 0 {
			continue
		}
		if !slices.Contains(c.shares, one) {
			c.shares = append(c.shares, one)
		}
		one.weight += t.Weight
	}
	return c
}

// newTable gives the table of apps. Of two that claim a host name the one gets it
// whose own it is, then the older one: nobody takes what is somebody's by making
// another app.
func newTable(apps map[string]*app, reserved func(string) bool) *table {
	t := &table{hosts: map[string]*route{}, ports: map[int]*route{}, apps: apps}
	ids := slices.SortedFunc(maps.Keys(apps), func(x, y string) int {
		return cmp.Or(apps[x].Created.Compare(apps[y].Created), strings.Compare(x, y))
	})
	for _, id := range ids {
		apps[id].ownHosts(t.claim)
		for _, p := range apps[id].Ports {
			if _, taken := t.ports[p.Exposed]; !taken {
				t.ports[p.Exposed] = &route{exposed: p.Exposed, app: apps[id], port: p.Target, inside: !p.External}
			}
		}
	}
	for _, id := range ids {
		for _, host := range apps[id].CustomDomains {
			name, ok := hostName(host)
			if _, address := netip.ParseAddr(name); address == nil {
				continue // that is the machine's
			}
			if ok && apps[id].External && apps[id].Transport != TCP && (reserved == nil || !reserved(name)) {
				t.claim(&route{host: name, app: apps[id], port: apps[id].Port})
			}
		}
	}
	return t
}

func (t *table) claim(r *route) {
	if _, taken := t.hosts[r.host]; !taken {
		t.hosts[r.host] = r
	}
}

// ownHosts gives the host names below the environment's domain: of the app, its
// labels and its revisions.
func (a *app) ownHosts(claim func(*route)) {
	if a.Transport == TCP {
		return
	}
	a.hostsOf(a.Name, nil, claim)
	for _, t := range a.Traffic {
		if one := a.byName[strings.ToLower(t.Revision)]; one != nil && t.Label != "" {
			a.hostsOf(a.Name+"---"+t.Label, one, claim)
		}
	}
	for name, one := range a.byName {
		a.hostsOf(name, one, claim)
	}
}

// hostsOf gives a name in the form for everybody and the one for callers inside.
func (a *app) hostsOf(name string, fixed *share, claim func(*route)) {
	name, domain := strings.ToLower(name), strings.ToLower(a.Domain)
	if a.External {
		claim(&route{host: name + "." + domain, app: a, port: a.Port, fixed: fixed})
	}
	claim(&route{host: name + ".internal." + domain, app: a, port: a.Port, fixed: fixed, inside: true})
}
