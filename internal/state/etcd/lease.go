package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	names "github.com/latchkey/latchkey/internal/state/lease"
)

// A lease is renewed when a third of its life is over, and after failing again
// when a tenth of it is.
const (
	renewAfter = 3
	retryAfter = 10
)

// releaseWait bounds how long giving a lease back takes when the store is closed.
const releaseWait = 2 * time.Second

// Acquire implements [state.Store]. etcd counts lives in whole seconds and does
// not take short ones, so that a lease of a dead holder ends up to a second after
// ttl, or two; a holder that is cut off gives up after ttl. ErrUnavailable ends
// the wait when the store cannot be reached.
func (s *Store) Acquire(ctx context.Context, name string, ttl time.Duration) (state.Lease, error) {
	key, err := names.Key(name)
	if err == nil && ttl <= 0 {
		err = problem.New(state.ErrInvalid, fmt.Sprintf("lease %q needs a time to live, not %s", name, ttl))
	}
	if err := s.ready(ctx, err); err != nil {
		return nil, err
	}
	for {
		resp, err := s.read(ctx, s.path(key))
		if err != nil {
			return nil, err
		}
		if len(resp.Kvs) == 0 {
			l, err := s.grant(ctx, key, ttl)
			if err != nil {
				return nil, err
			}
			if l != nil {
				return l, nil
			}
			continue // somebody was faster
		}
		if err := s.awaitGone(ctx, key, state.Revision(resp.Header.Revision), ttl); err != nil {
			return nil, err
		}
	}
}

// awaitGone waits until a document may be gone: its deletion is seen, the watch
// fails, or a while has passed.
func (s *Store) awaitGone(ctx context.Context, key state.Key, from state.Revision, ttl time.Duration) error {
	in, stop, err := s.subscribe(ctx, s.path(key), from, clientv3.WithFilterPut())
	if err != nil {
		return err
	}
	defer stop()
	timer := s.cfg.Clock.NewTimer(ttl)
	defer timer.Stop()
	select {
	case <-in:
	case <-timer.C():
	}
	return s.ready(ctx, nil)
}

// grant makes a lease if nobody has it; nil if somebody does.
func (s *Store) grant(ctx context.Context, key state.Key, ttl time.Duration) (*lease, error) {
	l := &lease{store: s, key: key, ttl: ttl, began: s.cfg.Clock.Now(), lost: make(chan struct{})}
	until := l.began.Add(ttl)
	l.until.Store(&until)
	l.ctx, l.stop = context.WithCancel(s.ctx)
	err := s.attempt(ctx, func(ctx context.Context) error {
		resp, err := s.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			l.id = resp.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	path := s.path(key)
	resp, err := s.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(path), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(path, "", clientv3.WithLease(l.id))}, nil)
	if err != nil || !resp.Succeeded {
		l.stop()
		s.forget(ctx, l)
		return nil, err
	}
	l.revision = state.Revision(resp.Header.Revision)
	if err := s.hold(l); err != nil {
		s.forget(ctx, l)
		return nil, err
	}
	return l, nil
}

// forget gives back what came of an attempt to get a lease; if that fails it ends
// by itself.
func (s *Store) forget(ctx context.Context, l *lease) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWait)
	defer cancel()
	_ = l.revoke(bounded)
}

// hold begins to keep a lease alive, unless the store is closed.
func (s *Store) hold(l *lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	s.leases[l] = struct{}{}
	s.work.Go(l.keep)
	return nil
}

// releaseAll gives back all leases; the store takes no new ones any more.
func (s *Store) releaseAll() {
	s.mu.Lock()
	var all []*lease
	for l := range s.leases {
		all = append(all, l)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), releaseWait)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() { _ = l.Release(ctx) })
	}
	wg.Wait()
}

// lease is a lease this store holds: a document tied to a lease of etcd's.
type lease struct {
	store    *Store
	key      state.Key
	id       clientv3.LeaseID
	revision state.Revision
	ttl      time.Duration
	began    time.Time // before etcd began to count

	until atomic.Pointer[time.Time] // it stands before then

	ctx  context.Context // ends when it is to be kept alive no longer
	stop context.CancelFunc
	lost chan struct{}
	once sync.Once
}

// Lost implements [state.Lease].
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Held reports whether the lease surely stands, by the clock alone: also where the
// process or the machine stood still, which stops only one kind of clock.
func (l *lease) Held() bool {
	select {
	case <-l.lost:
		return false
	default:
	}
	now, until := l.store.cfg.Clock.Now(), *l.until.Load()
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// Fence implements [state.Lease].
func (l *lease) Fence() state.Op { return state.Check(l.key, l.revision) }

// Release implements [state.Lease]. The lease has ended for its holder also if
// etcd could not be told, which the error says then; it ends there by itself.
func (l *lease) Release(ctx context.Context) error {
	var err error
	l.once.Do(func() {
		l.stop()
		<-l.lost
		err = l.revoke(context.WithoutCancel(ctx))
	})
	return err
}

// revoke ends the lease in etcd, which removes its document.
func (l *lease) revoke(ctx context.Context) error {
	return l.store.attempt(ctx, func(ctx context.Context) error {
		_, err := l.store.client.Revoke(ctx, l.id)
		if err != nil && isEtcd(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
}

// keep renews the lease until it is released or lost. A life is counted from
// before each request, so that the holder never believes in it longer than etcd.
func (l *lease) keep() {
	defer l.end()
	c, wait := l.store.cfg.Clock, l.ttl/renewAfter
	for deadline := *l.until.Load(); ; {
		if clock.Sleep(l.ctx, c, min(wait, deadline.Sub(c.Now()))) != nil {
			return
		}
		now := c.Now()
		if !now.Before(deadline) {
			l.store.cfg.Log.Warn("a lease is lost: it could not be renewed in time", "lease", l.key)
			return
		}
		held, err := l.renew(deadline.Sub(now))
		switch {
		case err != nil:
			wait = l.ttl / retryAfter
		case !held:
			l.store.cfg.Log.Warn("a lease is lost: it has ended in etcd", "lease", l.key)
			return
		default:
			deadline, wait = now.Add(l.ttl), l.ttl/renewAfter
			l.until.Store(&deadline)
		}
	}
}

func (l *lease) end() {
	l.stop()
	l.store.mu.Lock()
	delete(l.store.leases, l)
	l.store.mu.Unlock()
	close(l.lost)
}

// renew lengthens the lease and sees that its document is still there. The
// client library's own way notices the end of a lease only seconds later.
func (l *lease) renew(limit time.Duration) (held bool, err error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(l.ctx), min(limit, l.store.cfg.RequestTimeout))
	defer cancel()
	stream, err := pb.NewLeaseClient(l.store.client.ActiveConnection()).LeaseKeepAlive(ctx, grpc.WaitForReady(true))
	if err != nil {
		return false, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.id)}); err != nil {
		return false, err
	}
	alive, err := stream.Recv()
	if err != nil || alive.TTL <= 0 {
		return false, err
	}
	doc, err := l.store.Get(ctx, l.key)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	return doc.Revision == l.revision, err
}

func errClosed() error { return problem.New(state.ErrUnavailable, "the store is closed") }
