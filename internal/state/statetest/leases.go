package statetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/state"
)

func leaseChecks() []check {
	return []check{
		{"one holds a lease and hands it over", leaseHandover},
		{"a fence fails for a former holder", leaseFence},
		{"waiting for a lease ends with the context", leaseWait},
		{"a lease is a document that only the store writes", leaseDocument},
		{"leases of other names do not wait for each other", leaseNames},
		{"at most one holds a lease among many", leaseContention},
	}
}

func acquire(ctx context.Context, t testing.TB, s state.Store, name string, h Harness) state.Lease {
	t.Helper()
	l, err := s.Acquire(ctx, name, h.TTL)
	if err != nil {
		t.Fatalf("acquire %q: %v", name, err)
	}
	return l
}

func isLost(l state.Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func wantLost(ctx context.Context, t testing.TB, l state.Lease) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-ctx.Done():
		t.Error("the lease is not lost")
	}
}

// waiting is a context that tells when somebody begins to wait for its end.
type waiting struct {
	context.Context
	once  sync.Once
	begun chan struct{}
}

func (w *waiting) Done() <-chan struct{} {
	w.once.Do(func() { close(w.begun) })
	return w.Context.Done()
}

func leaseHandover(ctx context.Context, t *testing.T, h Harness) {
	first := acquire(ctx, t, h.Store, "job", h)
	got, waits := make(chan state.Lease), &waiting{Context: ctx, begun: make(chan struct{})}
	go func() {
		l, err := h.Store.Acquire(waits, "job", h.TTL)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	<-waits.begun
	write(ctx, t, h.Store, first.Fence(), state.Put("/a", nil, state.Any))
	select {
	case <-got:
		t.Fatal("two hold the lease")
	default:
	}
	if isLost(first) {
		t.Error("the lease was lost while it was held")
	}
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	wantLost(ctx, t, first)
	second := <-got
	if second == nil || isLost(second) {
		t.Fatal("the next one did not get the lease")
	}
	if err := first.Release(ctx); err != nil {
		t.Errorf("releasing again: %v", err)
	}
	write(ctx, t, h.Store, second.Fence(), state.Put("/a", nil, state.Any))
	if isLost(second) {
		t.Error("a former holder's release took the lease away")
	}
	if err := second.Release(ctx); err != nil {
		t.Error(err)
	}
}

func leaseFence(ctx context.Context, t *testing.T, h Harness) {
	first := acquire(ctx, t, h.Store, "job", h)
	write(ctx, t, h.Store, first.Fence(), state.Put("/first", nil, state.Any))
	write(ctx, t, h.Store, first.Fence())
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		_, err := h.Store.Write(ctx, first.Fence(), state.Put("/late", nil, state.Any))
		if !errors.Is(err, state.ErrConflict) {
			t.Errorf("%s a former holder writes: %v", when, err)
		}
	}
	refused("while nobody has the lease")
	second := acquire(ctx, t, h.Store, "job", h)
	refused("while another has the lease")
	write(ctx, t, h.Store, second.Fence(), state.Put("/second", nil, state.Any))
	if _, err := h.Store.Get(ctx, "/late"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("what was fenced off is there: %v", err)
	}
	if err := second.Release(ctx); err != nil {
		t.Error(err)
	}
}

func leaseWait(ctx context.Context, t *testing.T, h Harness) {
	held := acquire(ctx, t, h.Store, "job", h)
	for range 3 {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		if _, err := h.Store.Acquire(short, "job", h.TTL); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	if _, err := h.Store.Acquire(ended(ctx), "free", h.TTL); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if isLost(held) {
		t.Error("those who gave up took the lease away")
	}
	if err := held.Release(ctx); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"job", "free"} {
		if err := acquire(ctx, t, h.Store, name, h).Release(ctx); err != nil {
			t.Error(err)
		}
	}
}

func leaseDocument(ctx context.Context, t *testing.T, h Harness) {
	from := put(ctx, t, h.Store, "/a")
	l := acquire(ctx, t, h.Store, "job", h)
	fence := l.Fence()
	if fence.Kind != state.OpCheck || !strings.HasPrefix(string(fence.Key), string(state.LeasePrefix)) {
		t.Fatalf("the fence is %+v", fence)
	}
	if doc := get(ctx, t, h.Store, fence.Key); doc.Revision != fence.If || doc.Revision <= from {
		t.Errorf("the lease is at %d, its fence at %d", doc.Revision, fence.If)
	}
	if docs := list(ctx, t, h.Store, state.LeasePrefix, state.Page{}).Documents; len(docs) != 1 || docs[0].Key != fence.Key {
		t.Errorf("leases: %v", keysOf(docs))
	}
	for _, op := range []state.Op{state.Put(fence.Key, nil, state.Any), state.Delete(fence.Key, fence.If)} {
		if _, err := h.Store.Write(ctx, op); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("a lease can be written: %v", err)
		}
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
	if _, err := h.Store.Get(ctx, fence.Key); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the lease's document is left: %v", err)
	}
}

func leaseNames(ctx context.Context, t *testing.T, h Harness) {
	var held []state.Lease
	for _, name := range []string{"a", "b", "A", "ä ö", "a.b", strings.Repeat("n", 200)} {
		held = append(held, acquire(ctx, t, h.Store, name, h))
	}
	for _, l := range held {
		if err := l.Release(ctx); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a/b", "/", "a\nb", "\xff"} {
		if _, err := h.Store.Acquire(ctx, name, h.TTL); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("acquire %q: %v", name, err)
		}
	}
	if _, err := h.Store.Acquire(ctx, strings.Repeat("n", state.MaxKey), h.TTL); !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("a long name: %v", err)
	}
}

func leaseContention(ctx context.Context, t *testing.T, h Harness) {
	const workers, each = 5, 4
	var inside, turns atomic.Int32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				l, err := h.Store.Acquire(ctx, "job", h.TTL)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lease")
				}
				if _, err := h.Store.Write(ctx, l.Fence(), state.Put("/a", fmt.Append(nil, w, i), state.Any)); err != nil {
					t.Errorf("the holder cannot write: %v", err)
				}
				turns.Add(1)
				inside.Add(-1)
				if err := l.Release(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if turns.Load() != workers*each {
		t.Errorf("%d turns, want %d", turns.Load(), workers*each)
	}
}
