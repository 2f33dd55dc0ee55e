// Package keystoretest owns the one conformance suite for key stores: what the
// contract in package keystore says, as tests any backend runs against itself.
// A backend says with hooks how its place can be looked at and harmed from
// outside, and declares, with a reason, what does not apply to it. It knows no
// backend.
package keystoretest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// Harness is one fresh, empty place to keep keys and ways to get at it. A hook
// that is nil needs an entry in Config.Except for each check that asks for it.
type Harness struct {
	// Store is the store under test.
	Store keystore.Store
	// Second gives another handle on the same place, as another process has.
	Second func(t *testing.T) keystore.Store
	// ReadOnly gives a handle on the same place that cannot write.
	ReadOnly func(t *testing.T) keystore.Store
	// Outside writes a document behind the store's back, as somebody who knows
	// nothing of locks would.
	Outside func(t *testing.T, doc keystore.Doc, d keystore.Document)
	// Corrupt makes an existing document's values undecryptable.
	Corrupt func(t *testing.T, doc keystore.Doc)
	// Truncate cuts an existing document's stored form off in the middle.
	Truncate func(t *testing.T, doc keystore.Doc)
	// Raw gives the stored form of a document.
	Raw func(t *testing.T, doc keystore.Doc) []byte
	// LeaveTemp leaves what a writer of doc leaves that dies half-way; gone
	// reports whether it has been cleaned up.
	LeaveTemp func(t *testing.T, doc keystore.Doc) (gone func() bool)
	// Break makes the place unreachable; repair undoes it.
	Break func(t *testing.T) (repair func())
}

// Config describes a backend to the suite.
type Config struct {
	// New gives a fresh place; what it needs to clean up it registers with t.
	New func(t *testing.T) Harness
	// Except names checks that do not apply, each with the reason.
	Except map[string]string
	// Timeout bounds each check; 0 is a minute.
	Timeout time.Duration
}

// check is one test of the suite.
type check struct {
	name  string
	needs func(Harness) bool // the hooks it needs; nil for none
	run   func(t *testing.T, ctx context.Context, h Harness)
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	known := map[string]bool{}
	for _, c := range checks() {
		known[c.name] = true
		t.Run(c.name, func(t *testing.T) { c.start(t, cfg) })
	}
	for name := range cfg.Except {
		if !known[name] {
			t.Errorf("exception %q is not the name of a check", name)
		}
	}
}

func (c check) start(t *testing.T, cfg Config) {
	if why, ok := cfg.Except[c.name]; ok {
		t.Skip("declared exception: " + why)
	}
	h := cfg.New(t)
	if c.needs != nil && !c.needs(h) {
		t.Fatal("the harness lacks a hook for this check and declares no exception")
	}
	ctx, cancel := context.WithTimeout(t.Context(), cfg.Timeout)
	defer cancel()
	c.run(t, ctx, h)
}

func checks() []check {
	return append(append(basicChecks(), sharedChecks()...), faultChecks()...)
}

// Host gives a host document whose values contain tag.
func Host(tag string) keystore.Document {
	return keystore.Document{Keys: accesskey.Set{
		Master: accesskey.Key{Name: accesskey.MasterStoredName, Value: "master-" + tag},
		Keys:   []accesskey.Key{{Name: "default", Value: "host-" + tag}},
		System: []accesskey.Key{{Name: "eventgrid_extension", Value: "system-" + tag}},
	}}
}

// Function gives a function document whose values contain tag.
func Function(tag string) keystore.Document {
	return keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{
		{Name: "default", Value: "function-" + tag}, {Name: "Second", Value: "second-" + tag},
	}}}
}

// put is the change that makes d of anything.
func put(d keystore.Document) keystore.Change {
	return func(keystore.Document, bool) (keystore.Document, error) { return d, nil }
}

// add is the change that appends a key.
func add(name, value string) keystore.Change {
	return func(old keystore.Document, _ bool) (keystore.Document, error) {
		old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: name, Value: value})
		return old, nil
	}
}

func mustUpdate(t *testing.T, ctx context.Context, s keystore.Store, doc keystore.Doc, c keystore.Change) keystore.Revision {
	t.Helper()
	_, rev, err := s.Update(ctx, doc, c)
	if err != nil {
		t.Fatalf("update %q: %v", doc, err)
	}
	return rev
}

func mustLoad(t *testing.T, ctx context.Context, s keystore.Store, doc keystore.Doc) (keystore.Document, keystore.Revision) {
	t.Helper()
	d, rev, err := s.Load(ctx, doc)
	if err != nil {
		t.Fatalf("load %q: %v", doc, err)
	}
	if rev == "" {
		t.Fatalf("load %q: a document that exists has no revision", doc)
	}
	return d, rev
}

func wantLoaded(t *testing.T, ctx context.Context, s keystore.Store, doc keystore.Doc, want keystore.Document) {
	t.Helper()
	got, _ := mustLoad(t, ctx, s, doc)
	got.Stale, got.InClear = false, nil // what others wrote in clear is to be sealed; the keys are the same
	if diff := cmp.Diff(want.Clone(), got.Clone()); diff != "" {
		t.Errorf("document %q (-want +got):\n%s", doc, diff)
	}
}

func wantList(t *testing.T, ctx context.Context, s keystore.Store, want ...keystore.Doc) {
	t.Helper()
	got, err := s.List(ctx)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("list gives %v, want %v", got, want)
	}
}
