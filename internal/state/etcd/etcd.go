// Package etcd owns the state store for several nodes: documents in an etcd
// cluster, which all nodes share. Revisions are etcd's own; a write is one
// transaction that compares revisions; watches continue where they were when a
// member fails; leases are etcd's. Everything is below one prefix, so that the
// cluster can be shared with others.
//
// It never compacts the history: operators set etcd's automatic compaction. It
// does not know what the documents mean, how they are sealed or which node it
// runs on.
package etcd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Waits between attempts at a request that found the cluster without a leader.
const (
	electionFirst = 10 * time.Millisecond
	electionMost  = 200 * time.Millisecond
)

// Store is a state store in etcd. It is safe for concurrent use by any number of
// goroutines and, on the same prefix, processes and machines.
type Store struct {
	cfg    Config
	client *clientv3.Client

	ctx    context.Context // ends when the store is closed
	cancel context.CancelFunc
	work   sync.WaitGroup // watches, leases and the look at the store's health

	trouble atomic.Pointer[string] // why there is no connection, if that is known

	mu      sync.Mutex
	closed  bool
	cut     chan struct{} // closed and replaced when the store was found out of reach
	watches int
	leases  map[*lease]struct{}
}

var _ state.Store = (*Store)(nil)

// Open connects to etcd and asks it once, so that wrong settings show at once:
// ErrUnavailable if no member answers, problem.Denied if it does not accept the
// user, ErrInvalid for settings that cannot be right.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := state.Alive(ctx); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, cut: make(chan struct{}), leases: map[*lease]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.client, err = clientv3.New(cfg.client(s.note)); err != nil {
		defer s.cancel()
		return nil, s.fault(ctx, err)
	}
	if err := s.ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if cfg.Password != "" && strings.HasPrefix(cfg.Endpoints[0], "http:") {
		cfg.Log.Warn("the password for etcd travels unencrypted; use https endpoints", "store", s.String())
	}
	s.work.Go(s.guard)
	return s, nil
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Document, error) {
	if err := s.ready(ctx, state.CheckKey(key)); err != nil {
		return state.Document{}, err
	}
	resp, err := s.read(ctx, s.path(key))
	if err != nil {
		return state.Document{}, err
	}
	if len(resp.Kvs) == 0 {
		return state.Document{}, state.Missing(key)
	}
	return s.document(resp.Kvs[0]), nil
}

// Write implements [state.Store]. A write that finds the cluster without a
// leader is tried again until the request's time is over; one that may have
// happened is not.
func (s *Store) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if err := s.ready(ctx, state.CheckOps(ops)); err != nil {
		return 0, err
	}
	var conds []state.Op
	var compare []clientv3.Cmp
	var then, found []clientv3.Op
	for _, op := range ops {
		path := s.path(op.Key)
		switch op.Kind {
		case state.OpPut:
			then = append(then, clientv3.OpPut(path, string(op.Value)))
		case state.OpDelete:
			then = append(then, clientv3.OpDelete(path))
		}
		if op.If != state.Any {
			conds = append(conds, op)
			compare = append(compare, clientv3.Compare(clientv3.ModRevision(path), "=", int64(op.If)))
			found = append(found, clientv3.OpGet(path, clientv3.WithKeysOnly()))
		}
	}
	resp, err := s.commit(ctx, compare, then, found)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, conflict(conds, resp)
	}
	return state.Revision(resp.Header.Revision), nil
}

// conflict names the first condition that does not hold.
func conflict(conds []state.Op, resp *clientv3.TxnResponse) error {
	for i, op := range conds {
		have := state.Absent
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			have = state.Revision(kvs[0].ModRevision)
		}
		if err := state.CheckCondition(op, have); err != nil {
			return err
		}
	}
	return problem.New(problem.Internal, "etcd refused a write all of whose conditions hold")
}

// commit runs one transaction.
func (s *Store) commit(ctx context.Context, compare []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	var resp *clientv3.TxnResponse
	err := s.attempt(ctx, func(ctx context.Context) (err error) {
		resp, err = s.client.Txn(ctx).If(compare...).Then(then...).Else(otherwise...).Commit()
		return err
	})
	return resp, err
}

// read asks for a key or range, as of the latest write.
func (s *Store) read(ctx context.Context, path string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	var resp *clientv3.GetResponse
	err := s.attempt(ctx, func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, path, opts...)
		return err
	})
	return resp, err
}

// attempt makes a request within RequestTimeout. It repeats only what certainly
// was not done; what a lost answer leaves open is for the caller to find out.
func (s *Store) attempt(ctx context.Context, request func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.cfg.RequestTimeout)
	defer cancel()
	for wait := electionFirst; ; wait = min(2*wait, electionMost) {
		err := request(bounded)
		if !leaderless(err) || clock.Sleep(bounded, clock.Real{}, wait) != nil {
			return s.fault(ctx, err)
		}
	}
}

// ping finds out whether the store can be read.
func (s *Store) ping(ctx context.Context) error {
	_, err := s.read(ctx, s.path(state.LeasePrefix), clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err
}

// Close implements [state.Store]. Leases are given back if etcd can be reached.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.releaseAll()
	s.cancel()
	s.work.Wait()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return problem.Wrap(problem.Internal, "closing the connection to etcd", err)
	}
	return nil
}

// String implements [state.Store].
func (s *Store) String() string {
	return "etcd " + strings.Join(s.cfg.Endpoints, ",") + " below " + s.cfg.Prefix
}

// ready gives the fault of the arguments, if any, or says that nothing can be
// asked any more.
func (s *Store) ready(ctx context.Context, fault error) error {
	if fault != nil {
		return fault
	}
	if err := state.Alive(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	return nil
}

func (s *Store) path(key state.Key) string { return s.cfg.Prefix + string(key) }
