package etcd

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// What may wait for a slow watcher before it has to list anew.
const (
	maxPending      = 10_000
	maxPendingBytes = 64 << 20
)

// guardEvery is how often the store is asked whether it can still be read while
// there are watches. The client library reconnects them silently, however long
// that takes; who watches must learn that what it knows may be old.
const guardEvery = 5 * time.Second

// Watch implements [state.Store]. It is continued at another member when one
// fails. When no majority of the members answers for several seconds it ends with
// EventResync.
func (s *Store) Watch(ctx context.Context, prefix state.Key, from state.Revision) (<-chan state.Event, error) {
	if err := s.ready(ctx, state.CheckPrefix(prefix)); err != nil {
		return nil, err
	}
	w := &watch{store: s, path: s.path(prefix), out: make(chan state.Event), at: max(0, from)}
	if err := w.subscribe(ctx); err != nil {
		return nil, err
	}
	if err := s.enter(func(cut <-chan struct{}) { w.run(ctx, cut) }); err != nil {
		w.cancel()
		return nil, err
	}
	return w.out, nil
}

// subscribe starts a watch of the client library and waits until it is in force,
// up to RequestTimeout. The watch lasts until stop is called, ctx ends or the
// store is closed.
func (s *Store) subscribe(ctx context.Context, path string, from state.Revision, opts ...clientv3.OpOption) (in clientv3.WatchChan, stop func(), err error) {
	inner, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	detach := context.AfterFunc(s.ctx, cancel)
	late := time.AfterFunc(s.cfg.RequestTimeout, cancel)
	defer late.Stop()
	stop = func() { detach(); cancel() }
	opts = append(opts, clientv3.WithRev(int64(from)+1), clientv3.WithCreatedNotify())
	for wait := electionFirst; ; wait = min(2*wait, electionMost) {
		in = s.client.Watch(inner, path, opts...)
		first, ok := <-in
		err := first.Err()
		if !ok {
			err = context.DeadlineExceeded // unless ctx has ended or the store is closed
		}
		if leaderless(err) && clock.Sleep(inner, clock.Real{}, wait) == nil {
			continue
		}
		if err == nil && !late.Stop() {
			err = context.DeadlineExceeded
		}
		if err != nil {
			stop()
		}
		return in, stop, s.fault(ctx, err)
	}
}

// enter starts a watch's goroutine, unless the store is closed. It is given what
// is closed when the store is found out of reach.
func (s *Store) enter(run func(cut <-chan struct{})) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	s.watches++
	cut := s.cut
	s.work.Go(func() {
		run(cut)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches--
	})
	return nil
}

// guard ends all watches whenever the store cannot be read.
func (s *Store) guard() {
	for clock.Sleep(s.ctx, s.cfg.Clock, guardEvery) == nil {
		if !s.watched() {
			continue
		}
		if err := s.ping(s.ctx); err != nil && s.ctx.Err() == nil {
			s.cfg.Log.Warn("the state cannot be read; all that watch it begin anew", "error", err, "next", problem.NextOf(err))
			s.cutAll()
		}
	}
}

func (s *Store) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches > 0
}

func (s *Store) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// watch takes events from the client library as they come, which would keep any
// number of them, and holds a bounded number for its reader.
type watch struct {
	store *Store
	path  string
	out   chan state.Event

	in      clientv3.WatchChan // nil once nothing more is taken
	cancel  func()             // ends in
	at      state.Revision     // of the last event taken
	pending []state.Event
	bytes   int
}

// subscribe begins after the last event taken.
func (w *watch) subscribe(ctx context.Context) (err error) {
	w.in, w.cancel, err = w.store.subscribe(ctx, w.path, w.at, clientv3.WithPrefix())
	return err
}

func (w *watch) run(ctx context.Context, cut <-chan struct{}) {
	defer close(w.out)
	defer func() { w.cancel() }()
	for {
		var out chan<- state.Event
		var next state.Event
		if len(w.pending) > 0 {
			out, next = w.out, w.pending[0]
		}
		select {
		case <-ctx.Done():
			return
		case <-w.store.ctx.Done():
			return
		case <-cut:
			cut = nil
			w.resync(errors.New("the state could not be read"))
		case resp, ok := <-w.in:
			w.take(ctx, resp, ok)
		case out <- next:
			if next.Kind == state.EventResync {
				return
			}
			w.pending[0] = state.Event{}
			w.pending = w.pending[1:]
			w.bytes -= len(next.Value)
		}
	}
}

// take adds what the client library gave to what waits for the reader. A watch
// that a member without a leader gives up is continued.
func (w *watch) take(ctx context.Context, resp clientv3.WatchResponse, ok bool) {
	if ctx.Err() != nil {
		return
	}
	err := resp.Err()
	if leaderless(err) {
		w.cancel()
		if err = w.subscribe(ctx); err == nil {
			return
		}
	}
	if !ok {
		err = errors.New("the watch ended")
	}
	if err != nil {
		w.resync(w.store.cause(err))
		return
	}
	for _, e := range resp.Events {
		event := state.Event{Kind: state.EventPut, Document: w.store.document(e.Kv)}
		if e.Type == clientv3.EventTypeDelete {
			event.Kind, event.Value = state.EventDelete, nil
		}
		w.pending = append(w.pending, event)
		w.bytes += len(event.Value)
		w.at = event.Revision
	}
	if len(w.pending) > maxPending || w.bytes > maxPendingBytes {
		w.resync(errors.New("the reader is too slow"))
	}
}

// resync makes EventResync all that is left to tell.
func (w *watch) resync(why error) {
	w.cancel()
	w.in, w.bytes = nil, 0
	w.pending = []state.Event{{Kind: state.EventResync, Document: state.Document{Revision: w.at}}}
	w.store.cfg.Log.Debug("a watch of the state begins anew", "why", why)
}
