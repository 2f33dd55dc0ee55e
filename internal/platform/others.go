package platform

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/state"
)

// others is what nodes said last, of themselves and of apps. It is kept in memory
// because lists of apps show it for each of them.
type others struct {
	mu    sync.RWMutex
	beats map[string]time.Time               // by node
	apps  map[string]map[string]fleet.Status // by app and node
}

// listen follows what nodes say until ctx ends; wait returns when that has ended.
func (s *statuses) listen(ctx context.Context) (wait func()) {
	var work sync.WaitGroup
	work.Go(func() { state.Follow(ctx, s.store, nodesPrefix, s.clock, (*beatsHeard)(&s.heard)) })
	work.Go(func() { state.Follow(ctx, s.store, statusesPrefix, s.clock, (*statusesHeard)(&s.heard)) })
	return work.Wait
}

// nodeStatus is how an app does on a node.
type nodeStatus struct {
	Node string
	fleet.Status
}

// of gives how an app does on other nodes that are alive, as far as this one has
// heard.
func (s *statuses) of(app string) []nodeStatus {
	s.heard.mu.RLock()
	defer s.heard.mu.RUnlock()
	said, now := s.heard.apps[segment(app)], s.clock.Now()
	var list []nodeStatus
	for _, node := range slices.Sorted(maps.Keys(said)) {
		if node != s.node && now.Sub(s.heard.beats[node]) < 3*beat {
			list = append(list, nodeStatus{node, said[node]})
		}
	}
	return list
}

// beatsHeard takes heartbeats.
type beatsHeard others

// Reset implements state.Follower.
func (o *beatsHeard) Reset(documents []state.Document) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beats = map[string]time.Time{}
	for _, doc := range documents {
		o.put(doc)
	}
}

// Apply implements state.Follower.
func (o *beatsHeard) Apply(e state.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.Kind == state.EventDelete {
		delete(o.beats, strings.TrimPrefix(string(e.Key), string(nodesPrefix)))
		return
	}
	o.put(e.Document)
}

func (o *beatsHeard) put(doc state.Document) {
	var hb heartbeat
	if json.Unmarshal(doc.Value, &hb) == nil { // else the node fades
		o.beats[strings.TrimPrefix(string(doc.Key), string(nodesPrefix))] = hb.Time
	}
}

// Cut implements state.Follower. What was heard fades by itself.
func (o *beatsHeard) Cut(error) {}

// statusesHeard takes statuses.
type statusesHeard others

// Reset implements state.Follower.
func (o *statusesHeard) Reset(documents []state.Document) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.apps = map[string]map[string]fleet.Status{}
	for _, doc := range documents {
		o.put(doc)
	}
}

// Apply implements state.Follower.
func (o *statusesHeard) Apply(e state.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.Kind != state.EventDelete {
		o.put(e.Document)
		return
	}
	app, node := whose(e.Key)
	if delete(o.apps[app], node); len(o.apps[app]) == 0 {
		delete(o.apps, app)
	}
}

func (o *statusesHeard) put(doc state.Document) {
	var st fleet.Status
	if json.Unmarshal(doc.Value, &st) != nil {
		return // what cannot be read leaves what was said before
	}
	app, node := whose(doc.Key)
	if o.apps[app] == nil {
		o.apps[app] = map[string]fleet.Status{}
	}
	o.apps[app][node] = st
}

// Cut implements state.Follower.
func (o *statusesHeard) Cut(error) {}

// whose gives app and node of a status's key.
func whose(key state.Key) (app, node string) {
	app, node, _ = strings.Cut(strings.TrimPrefix(string(key), string(statusesPrefix)), "/")
	return app, node
}
