package managed_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	sub     = "5ab5c1b0-0000-4000-8000-000000000000"
	tenant  = "7e4a4700-0000-4000-8000-000000000000"
	groupAt = "/subscriptions/" + sub + "/resourceGroups/rg"
	siteAt  = groupAt + "/providers/Microsoft.Web/sites/Orders"
	userAt  = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)

var start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)

func parse(t *testing.T, text string) resource.ID {
	t.Helper()
	id, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// faulty is a store whose writes fail on command.
type faulty struct {
	state.Store
	mu     sync.Mutex
	writes int
	reads  int
	failAt int  // the number of the write that fails; 0 is none
	after  bool // it fails after it was done: the answer is lost
}

func (s *faulty) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	s.mu.Lock()
	s.writes++
	fails, after := s.writes == s.failAt, s.after
	s.mu.Unlock()
	if fails && !after {
		return 0, problem.New(problem.Unavailable, "cut off before the write")
	}
	rev, err := s.Store.Write(ctx, ops...)
	if fails && err == nil {
		return 0, problem.New(problem.Unavailable, "cut off after the write")
	}
	return rev, err
}

func (s *faulty) Get(ctx context.Context, key state.Key) (state.Document, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.Store.Get(ctx, key)
}

// arm makes the nth write from now fail.
func (s *faulty) arm(n int, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes, s.failAt, s.after = 0, n, after
}

func (s *faulty) read() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

type fixture struct {
	*testing.T
	*managed.Identities
	store     *faulty
	clock     *clock.Manual
	inv       *inventory.Inventory
	directory *identity.Directory
	mu        sync.Mutex
	deleted   []string                    // object ids the hook was called for
	hook      func(objectID string) error // more of the hook
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	c := clock.NewManual(start)
	f := &fixture{T: t, clock: c, store: &faulty{Store: memory.New(c)}}
	t.Cleanup(func() { _ = f.store.Close() })
	f.inv = &inventory.Inventory{Store: f.store, Clock: c}
	f.directory = identity.New(f.store, c)
	var err error
	f.Identities, err = managed.New(managed.Config{Inventory: f.inv, Directory: f.directory, TenantID: tenant,
		OnDelete: func(_ context.Context, objectID string) error {
			f.mu.Lock()
			f.deleted = append(f.deleted, objectID)
			f.mu.Unlock()
			if f.hook != nil {
				return f.hook(objectID)
			}
			return nil
		}})
	f.ok(err)
	f.document(groupAt, nil)
	return f
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// document writes a resource with an identity block.
func (f *fixture) document(at string, block json.RawMessage) {
	f.Helper()
	f.ok(f.write(at, block))
}

func (f *fixture) write(at string, block json.RawMessage) error {
	f.Helper()
	_, _, err := f.inv.Write(f.Context(), parse(f.T, at), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
		r.Location, r.Identity = "local", block
		return r, nil
	})
	return err
}

// site writes the site with a block and ensures its identities, as a change of an
// app does; it gives the block that is stored then.
func (f *fixture) site(block string) json.RawMessage {
	f.Helper()
	f.document(siteAt, json.RawMessage(block))
	return f.ensure()
}

func (f *fixture) ensure() json.RawMessage {
	f.Helper()
	block, err := f.Ensure(f.Context(), parse(f.T, siteAt), nil)
	f.ok(err)
	f.document(siteAt, block)
	return block
}

func (f *fixture) user(name string) managed.Identity {
	f.Helper()
	i, _, err := f.Write(f.Context(), parse(f.T, userAt+name), "me", local)
	f.ok(err)
	return i
}

func local(i managed.Identity, _ bool) (managed.Identity, error) {
	i.Location = "local"
	return i, nil
}

// merge is what a client's block becomes.
func (f *fixture) merge(old json.RawMessage, said string, patch bool) json.RawMessage {
	f.Helper()
	next, err := f.Merge(f.Context(), old, json.RawMessage(said), patch)
	f.ok(err)
	return next
}

func (f *fixture) of(block json.RawMessage) []identity.Assigned {
	f.Helper()
	list, err := f.Of(f.Context(), block, parse(f.T, siteAt))
	f.ok(err)
	return list
}

func (f *fixture) principals() []identity.Principal {
	f.Helper()
	list, err := f.directory.List(f.Context())
	f.ok(err)
	return list
}

// keys gives the keys of the state below a prefix.
func (f *fixture) keys(prefix state.Key) []state.Key {
	f.Helper()
	listing, err := f.store.List(f.Context(), prefix, state.Page{KeysOnly: true})
	f.ok(err)
	var keys []state.Key
	for _, doc := range listing.Documents {
		keys = append(keys, doc.Key)
	}
	return keys
}

func (f *fixture) block(text json.RawMessage) managed.Block {
	f.Helper()
	b, err := managed.Parse(text)
	f.ok(err)
	return b
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// roles gives real roles, which the hook takes assignments from.
func (f *fixture) roles() *rbac.Roles {
	f.Helper()
	roles := rbac.New(f.inv, f.clock, slog.New(slog.DiscardHandler))
	background(f.T, roles.Run)
	f.ok(roles.Ready(f.Context()))
	f.hook = func(objectID string) error {
		_, err := roles.UnassignAll(f.Context(), objectID)
		return err
	}
	return roles
}

// eventually waits for what other goroutines do.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
	defer cancel()
	for !done() {
		if clock.Sleep(ctx, clock.Real{}, time.Millisecond) != nil {
			f.Fatalf("%s: not within a minute", what)
		}
	}
}

func assignedTo(names ...string) string {
	for i, n := range names {
		names[i] = `"` + userAt + n + `":{}`
	}
	return `{"type":"UserAssigned","userAssignedIdentities":{` + strings.Join(names, ",") + `}}`
}
