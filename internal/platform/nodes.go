package platform

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefixes of what nodes say of themselves.
const (
	nodesPrefix    state.Key = "/nodes/"
	statusesPrefix state.Key = "/status/"
)

// A node that shares its state says that it is alive every beat; after three
// without a word what it last said counts no more.
const beat = 10 * time.Second

// heartbeat is a node's document.
type heartbeat struct {
	Time       time.Time `json:"time"`
	Version    string    `json:"version"`
	Management string    `json:"management"`
}

// statuses tells how apps do on all nodes. On a state of one node nothing is
// written: the fleet knows.
type statuses struct {
	store  state.Store
	node   string
	clock  clock.Clock
	shared bool // other nodes may use the state
	warn   func(error)

	mu      sync.Mutex
	pending map[string]fleet.Status // of apps by segment, to be written; bounded by the number of apps
	wake    chan struct{}
	heard   others
}

func newStatuses(s state.Store, node string, shared bool, c clock.Clock, warn func(error)) *statuses {
	return &statuses{store: s, node: segment(node), clock: c, shared: shared, warn: warn, pending: map[string]fleet.Status{}, wake: make(chan struct{}, 1)}
}

// segment makes a name one segment of a key.
func segment(name string) string { return strings.ToLower(strings.ReplaceAll(name, "/", "_")) }

// publish takes a change; it is written when the writer comes to it.
func (s *statuses) publish(st fleet.Status) {
	if !s.shared {
		return
	}
	s.mu.Lock()
	s.pending[segment(st.Name)] = st
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes statuses and heartbeats, and listens to those of others, until ctx
// ends; then it takes the node's own back.
func (s *statuses) run(ctx context.Context, hb heartbeat) {
	if !s.shared {
		return
	}
	defer s.listen(ctx)()
	for ctx.Err() == nil {
		if err := s.say(ctx, hb); err != nil && ctx.Err() == nil {
			s.warn(err)
		}
		timer := s.clock.NewTimer(beat)
		s.flush(ctx) // what could not be written before
		for waiting := true; waiting; {
			select {
			case <-timer.C():
				waiting = false
			case <-s.wake:
				s.flush(ctx)
			case <-ctx.Done():
				waiting = false
			}
		}
		timer.Stop()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, _ = s.store.Write(last, state.Delete(nodesPrefix+state.Key(s.node), state.Any)) // else it fades
}

func (s *statuses) say(ctx context.Context, hb heartbeat) error {
	hb.Time = s.clock.Now().UTC()
	text, err := json.Marshal(hb)
	if err != nil {
		return err
	}
	_, err = s.store.Write(ctx, state.Put(nodesPrefix+state.Key(s.node), text, state.Any))
	return err
}

// statusesAtOnce is how many statuses one write has.
const statusesAtOnce = 50

// flush writes what is pending; what cannot be written stays pending, unless there
// is newer word of its app. Of an app that is gone the document is removed: what
// forget removed may have been written again by a node that had not heard yet.
func (s *statuses) flush(ctx context.Context) {
	s.mu.Lock()
	pending := s.pending
	s.pending = map[string]fleet.Status{}
	s.mu.Unlock()
	for names := range slices.Chunk(slices.Collect(maps.Keys(pending)), statusesAtOnce) {
		var ops []state.Op
		for _, name := range names {
			key := statusesPrefix + state.Key(name+"/"+s.node)
			if pending[name].State == fleet.Gone {
				ops = append(ops, state.Delete(key, state.Any))
			} else if text, err := json.Marshal(pending[name]); err == nil {
				ops = append(ops, state.Put(key, text, state.Any))
			}
		}
		if _, err := s.store.Write(ctx, ops...); err != nil {
			s.putBack(pending)
			if ctx.Err() == nil {
				s.warn(err)
			}
			return
		}
		for _, name := range names {
			delete(pending, name)
		}
	}
}

// putBack keeps what could not be written for the next beat.
func (s *statuses) putBack(pending map[string]fleet.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, st := range pending {
		if _, newer := s.pending[name]; !newer {
			s.pending[name] = st
		}
	}
}

// forget removes what nodes said of an app that is deleted.
func (s *statuses) forget(ctx context.Context, app string) error {
	list, err := s.store.List(ctx, statusesPrefix+state.Key(segment(app))+"/", state.Page{KeysOnly: true, Limit: state.MaxOps})
	if err != nil || len(list.Documents) == 0 {
		return err
	}
	var ops []state.Op
	for _, d := range list.Documents {
		ops = append(ops, state.Delete(d.Key, state.Any))
	}
	_, err = s.store.Write(ctx, ops...)
	return err
}
