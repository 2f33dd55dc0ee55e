package keyring_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
)

var source = netip.MustParseAddr("198.51.100.7")

// tap is a store without the power to watch that counts what it is asked and
// can be made to answer otherwise.
type tap struct {
	keystore.Store
	loads, updates atomic.Int64
	onLoad         atomic.Pointer[func(ctx context.Context, doc keystore.Doc) error]
	onUpdate       atomic.Pointer[func() error]
}

func (s *tap) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	s.loads.Add(1)
	if f := s.onLoad.Load(); f != nil {
		if err := (*f)(ctx, doc); err != nil {
			return keystore.Document{}, "", err
		}
	}
	return s.Store.Load(ctx, doc)
}

func (s *tap) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	s.updates.Add(1)
	if f := s.onUpdate.Load(); f != nil {
		if err := (*f)(); err != nil {
			return keystore.Document{}, "", err
		}
	}
	return s.Store.Update(ctx, doc, change)
}

// beforeLoad has f run before each Load, on the store's side.
func (s *tap) beforeLoad(f func(ctx context.Context, doc keystore.Doc) error) { s.onLoad.Store(&f) }

func (s *tap) beforeUpdate(f func() error) { s.onUpdate.Store(&f) }

// recorder collects events.
type recorder struct {
	mu     sync.Mutex
	events []keyring.Event
	more   chan struct{} // closed and replaced with each event
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{})} }

func (r *recorder) note(e keyring.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.more)
	r.more = make(chan struct{})
}

func (r *recorder) all() ([]keyring.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), r.more
}

func (r *recorder) of(t keyring.EventType) []keyring.Event {
	events, _ := r.all()
	return slices.DeleteFunc(events, func(e keyring.Event) bool { return e.Type != t })
}

// await waits for an event that ok accepts, new or old.
func (r *recorder) await(t *testing.T, what string, ok func(keyring.Event) bool) {
	t.Helper()
	r.awaitAll(t, what, func(all []keyring.Event) bool { return slices.ContainsFunc(all, ok) })
}

// awaitAll waits until ok accepts all events so far.
func (r *recorder) awaitAll(t *testing.T, what string, ok func([]keyring.Event) bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		events, more := r.all()
		if ok(events) {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("still waiting: %s; have %v", what, events)
		}
	}
}

// env is a ring on a memory store with the clock in hand.
type env struct {
	*keyring.Ring
	t      *testing.T
	ctx    context.Context
	mem    *memory.Store
	tap    *tap
	clock  *clock.Manual
	events *recorder
	logs   *buffer
}

// newEnv makes a ring that has not asked its store for anything. By default the
// store cannot watch, so that nothing happens unless a test makes it happen.
func newEnv(t *testing.T, options ...func(*keyring.Config)) *env {
	t.Helper()
	return newEnvOn(t, memory.New(), options...)
}

func newEnvOn(t *testing.T, mem *memory.Store, options ...func(*keyring.Config)) *env {
	t.Helper()
	e := &env{t: t, ctx: t.Context(), mem: mem, tap: &tap{Store: mem}, events: newRecorder(), logs: &buffer{}}
	e.clock = clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	cfg := keyring.Config{
		Store: e.tap, Clock: e.clock, OnEvent: e.events.note,
		Log: slog.New(slog.NewTextHandler(e.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range options {
		o(&cfg)
	}
	r, err := keyring.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	e.Ring = r
	return e
}

func mode(m keyring.Mode) func(*keyring.Config) {
	return func(c *keyring.Config) { c.Mode = m }
}

func on(s keystore.Store) func(*keyring.Config) {
	return func(c *keyring.Config) { c.Store = s }
}

func (e *env) open() *env {
	e.t.Helper()
	if err := e.Open(e.ctx); err != nil {
		e.t.Fatal(err)
	}
	return e
}

func (e *env) ask(key, function string) keyring.Decision {
	return e.Authorize(e.ctx, keyring.Request{Key: key, Function: e.Function(function), Source: source})
}

// expect checks a decision by its level, name and reason.
func (e *env) expect(key, function string, level keyring.Level, name string, reason keyring.Reason) {
	e.t.Helper()
	d := e.ask(key, function)
	if d.Level != level || d.Name != name || d.Reason != reason {
		e.t.Errorf("key for function %q: got %v %q (%v), want %v %q (%v)", function, d.Level, d.Name, d.Reason, level, name, reason)
	}
}

// stored gives what the store holds, without the ring.
func (e *env) stored(doc keystore.Doc) accesskey.Set {
	e.t.Helper()
	d, _, err := e.mem.Load(e.ctx, doc)
	if err != nil {
		e.t.Fatal(err)
	}
	return d.Keys
}

func (e *env) put(doc keystore.Doc, set accesskey.Set) {
	e.mem.Put(doc, keystore.Document{Keys: set})
}

func key(name, value string) accesskey.Key { return accesskey.Key{Name: name, Value: value} }

func hostSet(master string, hosts, systems []accesskey.Key) accesskey.Set {
	return accesskey.Set{Master: key(accesskey.MasterStoredName, master), Keys: hosts, System: systems}
}

// names lists the names of keys.
func names(keys []accesskey.Key) []string {
	out := []string{}
	for _, k := range keys {
		out = append(out, k.Name)
	}
	return out
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
