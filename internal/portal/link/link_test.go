package link

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var alice = session.Principal{ObjectID: "11111111-1111-4111-8111-111111111111", Name: "alice", Epoch: 3}

func newLinks(t *testing.T) (*Links, *clock.Manual) {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	return &Links{Store: store, Clock: c}, c
}

func made(t *testing.T, l *Links) ticket.Ticket {
	t.Helper()
	k, _, err := l.Make(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestALinkIsGoodOnceHoweverManyTry(t *testing.T) {
	l, _ := newLinks(t)
	k := made(t, l)
	for range 3 {
		if who, err := l.Peek(t.Context(), k); err != nil || who != alice {
			t.Fatalf("looking at it: %v, %v", who, err)
		}
	}
	var all sync.WaitGroup
	var in atomic.Int32
	for range 32 {
		all.Go(func() {
			switch who, err := l.Redeem(t.Context(), k); {
			case err == nil && who == alice:
				in.Add(1)
			case !errors.Is(err, problem.Unauthenticated):
				t.Errorf("%v, %v", who, err)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d came in", in.Load())
	}
}

func TestALinkIsGoodForMinutes(t *testing.T) {
	l, c := newLinks(t)
	k := made(t, l)
	c.Advance(Life)
	if _, err := l.Peek(t.Context(), k); !errors.Is(err, problem.Unauthenticated) {
		t.Errorf("looking at it: %v", err)
	}
	if _, err := l.Redeem(t.Context(), k); !errors.Is(err, problem.Unauthenticated) {
		t.Errorf("using it: %v", err)
	}
}

func TestTheOldestLinkGivesWay(t *testing.T) {
	l, c := newLinks(t)
	first := made(t, l)
	for range most {
		c.Advance(time.Second)
		made(t, l)
	}
	if _, err := l.Redeem(t.Context(), first); !errors.Is(err, problem.Unauthenticated) {
		t.Errorf("the oldest: %v", err)
	}
	list, err := l.of(alice.ObjectID).List(t.Context())
	if err != nil || len(list) != most {
		t.Errorf("%d links, %v", len(list), err)
	}
}

func TestALinkOfNobodyIsRefused(t *testing.T) {
	l, _ := newLinks(t)
	k, err := ticket.New(alice.ObjectID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Redeem(t.Context(), k); !errors.Is(err, problem.Unauthenticated) {
		t.Error(err)
	}
}
