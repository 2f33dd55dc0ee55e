package archive_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/archive"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func boltStore(t *testing.T) state.Store {
	s, err := bolt.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func etcdStore(t *testing.T) state.Store {
	s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: etcdtest.Start(t), Prefix: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestStatesMoveBetweenBackends takes the largest values and the most and
// longest keys that a store can have through all backends in turn.
func TestStatesMoveBetweenBackends(t *testing.T) {
	p := newPlace(t)
	put(t, p.raw, "/large/1", strings.Repeat("x", state.MaxValue))
	put(t, p.raw, "/large/2", strings.Repeat("y", state.MaxValue-10))
	for i := range 2*state.MaxOps + 7 {
		key := fmt.Sprintf("/long/%04d/", i)
		put(t, p.store, state.Key(key+strings.Repeat("k", state.MaxKey-len(key))), secret)
	}
	want := content(t, p.raw)
	var from state.Store = p.raw
	for name, to := range map[string]state.Store{"bolt": boltStore(t), "etcd": etcdStore(t)} {
		var file bytes.Buffer
		if _, err := archive.Backup(t.Context(), from, &file, p.options()); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Restore(t.Context(), to, &file, opener(p.kek)); err != nil {
			t.Fatalf("into %s: %v", name, err)
		}
		if diff := cmp.Diff(want, content(t, to)); diff != "" {
			t.Errorf("%s: %.2000s", name, diff)
		}
		from = to
	}
}
