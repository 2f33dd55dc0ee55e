package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

// patience bounds every wait; machines can be very busy.
const patience = time.Minute

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, cfg etcd.Config) *etcd.Store {
	t.Helper()
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = patience / 2
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := etcd.Open(bounded(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t *testing.T) *etcd.Store {
	t.Helper()
	return open(t, etcd.Config{Endpoints: etcdtest.Start(t)})
}

// raw gives a client that goes past the store.
func raw(t *testing.T, endpoints []string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func write(t *testing.T, s state.Store, ops ...state.Op) state.Revision {
	t.Helper()
	rev, err := s.Write(bounded(t), ops...)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func put(key string, value any) state.Op {
	return state.Put(state.Key(key), fmt.Append(nil, value), state.Any)
}

func TestConflictsNameTheKey(t *testing.T) {
	s := start(t)
	rev := write(t, s, put("/a", 1), put("/b", 1))
	for name, op := range map[string]state.Op{
		"exists":  state.Put("/b", nil, state.Absent),
		"gone":    state.Delete("/c", rev),
		"changed": state.Check("/b", rev-1),
	} {
		_, err := s.Write(t.Context(), state.Check("/a", rev), op)
		if want := fmt.Sprintf("%q", op.Key); !errors.Is(err, state.ErrConflict) || !contains(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := write(t, s, state.Check("/a", rev)); now != rev {
		t.Errorf("a check gives revision %d, the store is at %d", now, rev)
	}
}

func TestPrefixesAreStoresOfTheirOwn(t *testing.T) {
	endpoints := etcdtest.Start(t)
	a, b := open(t, etcd.Config{Endpoints: endpoints, Prefix: "/a"}), open(t, etcd.Config{Endpoints: endpoints, Prefix: "/ab"})
	write(t, a, put("/x", "a"))
	write(t, b, put("/x", "b"))
	list, err := a.List(bounded(t), "/", state.Page{})
	if err != nil || len(list.Documents) != 1 || string(list.Documents[0].Value) != "a" || list.Documents[0].Key != "/x" {
		t.Errorf("%v, %v", list, err)
	}
	found, err := raw(t, endpoints).Get(bounded(t), "/ab/x")
	if err != nil || len(found.Kvs) != 1 {
		t.Errorf("the document is not where operators look: %v, %v", found, err)
	}
}

const many = 1203 // documents, more than one request of a list brings

func fill(t *testing.T, s state.Store) (keys []state.Key) {
	t.Helper()
	var ops []state.Op
	for i := range many {
		ops = append(ops, put(fmt.Sprintf("/many/%04d", i), i))
		keys = append(keys, ops[len(ops)-1].Key)
		if len(ops) == state.MaxOps || i == many-1 {
			write(t, s, ops...)
			ops = nil
		}
	}
	return keys
}

func keysOf(list state.Listing) (keys []state.Key) {
	for _, d := range list.Documents {
		keys = append(keys, d.Key)
	}
	return keys
}

func TestLongListsAreWhole(t *testing.T) {
	s := start(t)
	write(t, s, put("/mane", 1), put("/many0", 1))
	want := fill(t, s)
	for name, tt := range map[string]struct {
		page state.Page
		want []state.Key
		more bool
	}{
		"all":                {state.Page{}, want, false},
		"keys only":          {state.Page{KeysOnly: true}, want, false},
		"limit over a chunk": {state.Page{Limit: 700}, want[:700], true},
		"limit of all":       {state.Page{Limit: many}, want, false},
		"after":              {state.Page{After: want[9], Limit: 600}, want[10:610], true},
		"after the last":     {state.Page{After: want[many-1]}, nil, false},
		"after another":      {state.Page{After: "/zzz"}, nil, false},
		"after one before":   {state.Page{After: "/a", Limit: 1}, want[:1], true},
	} {
		list, err := s.List(bounded(t), "/many/", tt.page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, keysOf(list)); diff != "" || list.More != tt.more {
			t.Errorf("%s: more %v\n%s", name, list.More, diff)
		}
		if empty := len(list.Documents) > 0 && len(list.Documents[0].Value) == 0; empty != tt.page.KeysOnly {
			t.Errorf("%s: values left out: %v", name, empty)
		}
	}
}

func TestALongListIsOneMoment(t *testing.T) {
	s := start(t)
	keys := fill(t, s)
	filled := write(t, s, put(string(keys[0]), -1), put(string(keys[many-1]), -1))
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Write(ctx, put(string(keys[0]), i), put(string(keys[many-1]), i)); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
	var changes state.Revision
	for range 20 {
		list, err := s.List(ctx, "/many/", state.Page{})
		if err != nil {
			t.Fatal(err)
		}
		first, last := list.Documents[0], list.Documents[many-1]
		if string(first.Value) != string(last.Value) || first.Revision != last.Revision || first.Revision > list.Revision {
			t.Errorf("at %d: %v and %v", list.Revision, first, last)
		}
		changes = max(changes, first.Revision-filled)
	}
	if changes == 0 {
		t.Error("nothing was written meanwhile")
	}
	cancel()
	<-done
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := start(t)
	events, err := s.Watch(bounded(t), "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := s.Acquire(bounded(t), "x", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	<-lease.Lost()
	for range events { // ends
	}
	_, get := s.Get(t.Context(), "/a")
	_, list := s.List(t.Context(), "/", state.Page{})
	_, wrote := s.Write(t.Context(), put("/a", 1))
	_, watch := s.Watch(t.Context(), "/", 0)
	_, acquire := s.Acquire(t.Context(), "x", time.Second)
	for i, err := range []error{get, list, wrote, watch, acquire} {
		if !errors.Is(err, state.ErrUnavailable) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
