package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

// mirror is a copy of the store kept by following it.
type mirror struct {
	mu   sync.Mutex
	docs map[state.Key]string
}

func (m *mirror) Reset(docs []state.Document) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs = map[state.Key]string{}
	for _, d := range docs {
		m.docs[d.Key] = string(d.Value)
	}
}

func (m *mirror) Apply(e state.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Kind == state.EventDelete {
		delete(m.docs, e.Key)
		return
	}
	m.docs[e.Key] = string(e.Value)
}

func (m *mirror) Cut(error) {}

func (m *mirror) has(key state.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.docs[key]
	return ok
}

// acknowledged is what writers were told is stored.
type acknowledged struct {
	mu    sync.Mutex
	docs  map[state.Key]string
	count atomic.Int64
}

// writeOn writes one document after the other until ctx ends.
func (a *acknowledged) writeOn(ctx context.Context, t *testing.T, s state.Store, writer int) {
	var last state.Revision
	for i := 0; ctx.Err() == nil; i++ {
		key, value := state.Key(fmt.Sprintf("/w/%d/%d", writer, i)), fmt.Sprint(i)
		rev, err := s.Write(ctx, state.Put(key, []byte(value), state.Absent), put(fmt.Sprintf("/last/%d", writer), value))
		switch {
		case err == nil:
			if rev <= last {
				t.Errorf("revision %d after %d", rev, last)
			}
			last = rev
			a.mu.Lock()
			a.docs[key] = value
			a.mu.Unlock()
			a.count.Add(1)
		case ctx.Err() == nil && !errors.Is(err, state.ErrUnavailable):
			t.Errorf("%s: %v", key, err)
		}
	}
}

func (a *acknowledged) more(t *testing.T, n int64) {
	t.Helper()
	target := a.count.Load() + n
	for deadline := time.Now().Add(patience); a.count.Load() < target; {
		if time.Now().After(deadline) {
			t.Fatal("writing does not go on")
		}
		if err := clock.Sleep(t.Context(), clock.Real{}, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoAcknowledgedWriteIsLostWithALeader(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := etcdtest.New(t, 3)
	s := open(t, etcd.Config{Endpoints: c.Endpoints(), RequestTimeout: 5 * time.Second})
	follow, stopFollowing := context.WithCancel(t.Context())
	seen, followed := &mirror{}, make(chan struct{})
	go func() {
		defer close(followed)
		state.Follow(follow, s, "/", clock.Real{}, seen)
	}()
	ctx, stop := context.WithCancel(t.Context())
	acked := &acknowledged{docs: map[state.Key]string{}}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() { acked.writeOn(ctx, t, s, w) })
	}
	acked.more(t, 50)
	for range 2 {
		leader := c.Leader()
		for ; leader < 0; leader = c.Leader() {
			acked.more(t, 1)
		}
		c.Kill(leader)
		acked.more(t, 50)
		c.Restart(leader)
		acked.more(t, 50)
	}
	stop()
	writers.Wait()
	patiently(t, func() error {
		_, err := s.Write(bounded(t), put("/end", 1))
		return err
	})
	wantStored(t, s, acked.docs)
	wantFollowed(t, s, seen)
	stopFollowing()
	<-followed
}

func wantStored(t *testing.T, s state.Store, want map[state.Key]string) {
	t.Helper()
	list, err := s.List(bounded(t), "/", state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[state.Key]string{}
	for _, d := range list.Documents {
		have[d.Key] = string(d.Value)
	}
	for key, value := range want {
		if have[key] != value {
			t.Errorf("%s is %q, was acknowledged as %q", key, have[key], value)
		}
	}
	t.Logf("%d acknowledged, %d stored", len(want), len(have))
}

// wantFollowed waits until the follower has seen the last write and compares.
func wantFollowed(t *testing.T, s state.Store, seen *mirror) {
	t.Helper()
	for deadline := time.Now().Add(patience); !seen.has("/end"); {
		if time.Now().After(deadline) {
			t.Fatal("the follower does not come to the end")
		}
		if err := clock.Sleep(t.Context(), clock.Real{}, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	var have mirror
	list, err := s.List(bounded(t), "/", state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	have.Reset(list.Documents)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if diff := cmp.Diff(have.docs, maps.Clone(seen.docs)); diff != "" {
		t.Errorf("the follower saw something else (-store +seen):\n%s", diff)
	}
}

func TestOneMemberOfThreeIsNotMissed(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := etcdtest.New(t, 3)
	s := open(t, etcd.Config{Endpoints: c.Endpoints()})
	events := watching(t, s, "/", 0)
	for i := range 3 {
		c.Stop(i)
		patiently(t, func() error {
			_, err := s.Write(bounded(t), state.Put(state.Key(fmt.Sprint("/", i)), nil, state.Absent))
			if errors.Is(err, state.ErrConflict) {
				return nil // an answer was lost with the member
			}
			return err
		})
		if e, ok := next(t, events); !ok || e.Key != state.Key(fmt.Sprint("/", i)) {
			t.Errorf("event %v", e)
		}
		c.Restart(i)
	}
}
