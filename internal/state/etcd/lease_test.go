package etcd_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func acquire(t *testing.T, s state.Store, name string, ttl time.Duration) state.Lease {
	t.Helper()
	l, err := s.Acquire(bounded(t), name, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantLost(t *testing.T, l state.Lease) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-time.After(patience):
		t.Fatal("the lease is not lost")
	}
}

// frozen opens a store whose time stands still: it renews nothing, as a process
// that hangs.
func frozen(t *testing.T, endpoints []string) (*etcd.Store, *clock.Manual) {
	t.Helper()
	manual := clock.NewManual(time.Unix(0, 0))
	return open(t, etcd.Config{Endpoints: endpoints, Clock: manual}), manual
}

func TestALeaseMovesOnWhenItsHolderHangs(t *testing.T) {
	t.Parallel() // it waits most of the time
	endpoints := etcdtest.Start(t)
	hanging, manual := frozen(t, endpoints)
	s := open(t, etcd.Config{Endpoints: endpoints})
	old := acquire(t, hanging, "job", 3*time.Second)
	write(t, hanging, put("/done", 1), old.Fence())
	select {
	case <-old.Lost():
		t.Fatal("lost at once")
	default:
	}
	held := acquire(t, s, "job", time.Minute)
	if _, err := hanging.Write(bounded(t), put("/done", 2), old.Fence()); !errors.Is(err, state.ErrConflict) || !contains(err, "/leases/job") {
		t.Errorf("write of the former holder: %v", err)
	}
	write(t, s, put("/done", 3), held.Fence())
	if err := manual.AwaitTimers(bounded(t), 2); err != nil {
		t.Fatal(err)
	}
	manual.Advance(3 * time.Second)
	wantLost(t, old)
	if err := old.Release(bounded(t)); err != nil {
		t.Errorf("release of a lost lease: %v", err)
	}
	write(t, s, put("/done", 4), held.Fence())
}

// stopped is the clock of a process whose timers are late, as after a pause of the
// machine.
type stopped struct {
	clock.Real
	ahead atomic.Int64
}

func (s *stopped) Now() time.Time { return s.Real.Now().Add(time.Duration(s.ahead.Load())) }

func (s *stopped) NewTimer(time.Duration) clock.Timer { return s.Real.NewTimer(time.Hour) }

func TestALeaseIsNotHeldFromItsEndOnEvenIfNobodyHasNoticed(t *testing.T) {
	t.Parallel()
	c := &stopped{}
	s := open(t, etcd.Config{Endpoints: etcdtest.Start(t), Clock: c})
	l := acquire(t, s, "job", time.Hour)
	held := l.(interface{ Held() bool }).Held
	if !held() {
		t.Error("not held")
	}
	c.ahead.Store(int64(time.Hour))
	select {
	case <-l.Lost():
		t.Fatal("it has been noticed: the test shows nothing")
	default:
	}
	if held() {
		t.Error("held after its end")
	}
	c.ahead.Store(0)
	if err := l.Release(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if held() {
		t.Error("held after its release")
	}
}

func TestALeaseIsRenewed(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := start(t)
	l := acquire(t, s, "job", 5*time.Second)
	ctx, cancel := context.WithTimeout(bounded(t), 8*time.Second) // of which etcd would grant five
	defer cancel()
	if _, err := s.Acquire(ctx, "job", time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the lease moved on: %v", err)
	}
	write(t, s, put("/done", 1), l.Fence())
}

func TestReleaseLetsTheNextOneIn(t *testing.T) {
	endpoints := etcdtest.Start(t)
	a, b := open(t, etcd.Config{Endpoints: endpoints}), open(t, etcd.Config{Endpoints: endpoints})
	l := acquire(t, a, "job", time.Hour)
	next := make(chan state.Lease)
	go func() {
		held, err := b.Acquire(bounded(t), "job", time.Hour)
		if err != nil {
			t.Error(err)
		}
		next <- held
	}()
	for range 2 {
		if err := l.Release(bounded(t)); err != nil {
			t.Error(err)
		}
	}
	wantLost(t, l)
	if held := <-next; held == nil || held.Fence().If == l.Fence().If {
		t.Error("the next holder has the same fence")
	}
}

func TestALeaseWhoseDocumentIsGoneIsLost(t *testing.T) {
	endpoints := etcdtest.Start(t)
	s, manual := frozen(t, endpoints)
	l := acquire(t, s, "job", time.Hour)
	if _, err := raw(t, endpoints).Delete(bounded(t), "/latchkey/leases/job"); err != nil {
		t.Fatal(err)
	}
	if err := manual.AwaitTimers(bounded(t), 2); err != nil {
		t.Fatal(err)
	}
	manual.Advance(20 * time.Minute)
	wantLost(t, l)
}

func TestClosingAStoreGivesItsLeasesBack(t *testing.T) {
	endpoints := etcdtest.Start(t)
	a, b := open(t, etcd.Config{Endpoints: endpoints}), open(t, etcd.Config{Endpoints: endpoints})
	l := acquire(t, a, "job", time.Hour)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(t, l)
	acquire(t, b, "job", time.Hour)
}

func TestLeasesEndWhenEtcdDoes(t *testing.T) {
	c := etcdtest.New(t, 1)
	s := open(t, etcd.Config{Endpoints: c.Endpoints()})
	l := acquire(t, s, "job", time.Second)
	c.Kill(0)
	wantLost(t, l)
}

func TestLeasesNeedANameAndALife(t *testing.T) {
	s := start(t)
	for name, ttl := range map[string]time.Duration{"": time.Second, "a/b": time.Second, "x": 0, "y": -time.Second} {
		if _, err := s.Acquire(t.Context(), name, ttl); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%q for %s: %v", name, ttl, err)
		}
	}
}
