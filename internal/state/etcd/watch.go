package etcd

import (
	"context"
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

// Watch implements [state.Store]. The client library continues it at another
// member when one fails. When no majority of the members answers for several
// seconds it ends with EventResync.
func (s *Store) Watch(ctx context.Context, prefix state.Key, from state.Revision) (<-chan state.Event, error) {
	if err := s.ready(ctx, state.CheckPrefix(prefix)); err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancel(ctx)
	in, err := s.subscribe(inner, cancel, s.path(prefix), from, clientv3.WithPrefix())
	if err != nil {
		cancel()
		return nil, s.fault(ctx, err)
	}
	w := &watch{store: s, in: in, out: make(chan state.Event), cancel: cancel, at: from}
	if err := s.enter(func(cut <-chan struct{}) { w.cut = cut; w.run(ctx) }); err != nil {
		cancel()
		return nil, err
	}
	return w.out, nil
}

// subscribe starts a watch of the client library and waits until it is in
// force; stop, which ends ctx, is called if that takes too long.
func (s *Store) subscribe(ctx context.Context, stop func(), path string, from state.Revision, opts ...clientv3.OpOption) (clientv3.WatchChan, error) {
	late := time.AfterFunc(s.cfg.RequestTimeout, stop)
	defer late.Stop()
	opts = append(opts, clientv3.WithRev(max(0, int64(from))+1), clientv3.WithCreatedNotify())
	in := s.client.Watch(clientv3.WithRequireLeader(ctx), path, opts...)
	first, ok := <-in
	switch err := first.Err(); {
	case !ok:
		return nil, context.DeadlineExceeded // or the caller's context has ended, or the store
	case err != nil:
		return nil, err
	case !late.Stop():
		return nil, context.DeadlineExceeded
	}
	return in, nil
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
	store  *Store
	in     clientv3.WatchChan // nil once nothing more is taken
	out    chan state.Event
	cut    <-chan struct{}
	cancel context.CancelFunc // ends in

	at      state.Revision // of the last event taken
	pending []state.Event
	bytes   int
}

func (w *watch) run(ctx context.Context) {
	defer close(w.out)
	defer w.cancel()
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
		case <-w.cut:
			w.resync("the state could not be read", nil)
		case resp, ok := <-w.in:
			w.take(resp, ok)
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

// take adds what the client library gave to what waits for the reader.
func (w *watch) take(resp clientv3.WatchResponse, ok bool) {
	if !ok {
		w.resync("the watch ended", nil)
		return
	}
	if err := resp.Err(); err != nil {
		w.resync("etcd ended the watch", w.store.cause(err))
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
		w.resync("the reader is too slow", nil)
	}
}

// resync makes EventResync all that is left to tell.
func (w *watch) resync(why string, err error) {
	w.cancel()
	w.in, w.cut, w.bytes = nil, nil, 0
	w.pending = []state.Event{{Kind: state.EventResync, Document: state.Document{Revision: w.at}}}
	w.store.cfg.Log.Debug("a watch of the state begins anew", "why", why, "error", err)
}
