package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/lease"
)

// paper is a store of leases only that can be told to fail.
type paper struct {
	mu       sync.Mutex
	revision state.Revision
	docs     map[state.Key]state.Revision
	broken   bool
}

func (p *paper) write(_ context.Context, ops ...state.Op) (state.Revision, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, problem.New(problem.Unavailable, "broken")
	}
	for _, op := range ops {
		if err := state.CheckCondition(op, p.docs[op.Key]); err != nil {
			return 0, err
		}
		p.revision++
		if p.docs[op.Key] = p.revision; op.Kind == state.OpDelete {
			delete(p.docs, op.Key)
		}
	}
	return p.revision, nil
}

func (p *paper) setBroken(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = on
}

func testDesk(t *testing.T) (context.Context, *paper, *lease.Desk) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &paper{docs: map[state.Key]state.Revision{}}
	d := lease.NewDesk(p.write)
	t.Cleanup(d.Close)
	return ctx, p, d
}

func TestLeaseIsNotGivenWhileItCannotBeWritten(t *testing.T) {
	ctx, p, d := testDesk(t)
	p.setBroken(true)
	for range 2 { // the first attempt does not keep the turn
		if l, err := d.Acquire(ctx, "job", time.Second); !errors.Is(err, problem.Unavailable) || l != nil {
			t.Errorf("%v, %v", l, err)
		}
	}
	p.setBroken(false)
	if _, err := d.Acquire(ctx, "job", time.Second); err != nil {
		t.Error(err)
	}
}

func TestLeaseEndsAlsoWhenThatCannotBeWritten(t *testing.T) {
	ctx, p, d := testDesk(t)
	first, err := d.Acquire(ctx, "job", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.setBroken(true)
	if err := first.Release(ctx); !errors.Is(err, problem.Unavailable) {
		t.Errorf("got %v", err)
	}
	<-first.Lost()
	p.setBroken(false)
	if _, err := d.Acquire(ctx, "job", time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := p.write(ctx, first.Fence()); !errors.Is(err, state.ErrConflict) {
		t.Errorf("the former holder's fence: %v", err)
	}
}

func TestEndedContextDoesNotLeaveALease(t *testing.T) {
	ctx, p, d := testDesk(t)
	short, cancel := context.WithCancel(ctx)
	l, err := d.Acquire(short, "job", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := l.Release(short); err != nil || len(p.docs) != 0 {
		t.Errorf("%v, left %v", err, p.docs)
	}
}

func TestExpireEndsAllLeases(t *testing.T) {
	ctx, p, d := testDesk(t)
	for _, name := range []string{"a", "b"} {
		l, err := d.Acquire(ctx, name, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { <-l.Lost() }()
	}
	d.Expire()
	if len(p.docs) != 0 {
		t.Errorf("left %v", p.docs)
	}
	if _, err := d.Acquire(ctx, "a", time.Second); err != nil {
		t.Error(err)
	}
}

func TestLeaseNeedsATimeToLive(t *testing.T) {
	ctx, _, d := testDesk(t)
	if _, err := d.Acquire(ctx, "job", 0); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
