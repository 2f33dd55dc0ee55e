package blob_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
)

// watched starts a watch by a clock that the test moves.
func watched(t *testing.T, p *place) (heard chan keystore.Doc, tick func(), done <-chan struct{}) {
	t.Helper()
	manual := clock.NewManual(time.Unix(1, 0))
	cfg := p.config()
	cfg.Clock, cfg.Poll = manual, 0
	ctx, cancel := context.WithCancel(t.Context())
	heard = make(chan keystore.Doc, 100)
	done, err := open(t, cfg).Watch(ctx, func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done })
	return heard, func() {
		t.Helper()
		if err := manual.AwaitTimers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		manual.Advance(17 * time.Second)
	}, done
}

// settled lets the watch poll and come to rest: its second wait begins only when
// all that the first poll found has been told.
func settled(tick func()) {
	tick()
	tick()
}

func TestAPollTellsWhatChangedAndNothingElse(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	other := p.open()
	for _, doc := range []keystore.Doc{"a", "b", "c"} {
		put(t, other, doc, keystoretest.Function("1"))
	}
	heard, tick, _ := watched(t, p)
	settled(tick)
	put(t, other, "b", keystoretest.Function("2"))
	put(t, other, "d", keystoretest.Function("1"))
	if err := other.Delete(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	p.write("orders/notes.txt", nil)
	settled(tick)
	for _, doc := range []keystore.Doc{"b", "c", "d"} {
		if got := <-heard; got != doc {
			t.Errorf("heard %q, want %q", got, doc)
		}
	}
	settled(tick)
	if len(heard) != 0 {
		t.Errorf("heard %q besides", <-heard)
	}
}

func TestAWatchEndsWithAFailingServiceAndTellsTheReasonWhenAskedAgain(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	p.make()
	s := p.open()
	heard := make(chan keystore.Doc, 100)
	done, err := s.Watch(t.Context(), func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	p.wire.set(func(r *http.Request) (*http.Response, error) { return answer(r, 500, "InternalError"), nil })
	<-done
	if _, err := s.Watch(t.Context(), func(keystore.Doc) {}); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("watch of a failing service: %v", err)
	}
	p.wire.set(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done, err = s.Watch(ctx, func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
}

func TestWithoutThePermissionToListEverythingMayHaveChanged(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	put(t, p.open(), "fn", keystoretest.Function("1"))
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("comp") == "list" {
			return answer(r, 403, "AuthorizationPermissionMismatch"), nil
		}
		return nil, nil
	})
	if _, err := p.open().List(t.Context()); !errors.Is(err, problem.Denied) {
		t.Fatal(err)
	}
	heard, tick, _ := watched(t, p)
	for range 5 {
		tick()
	}
	if got := <-heard; got != "" {
		t.Errorf("heard %q", got)
	}
	p.wire.set(nil) // the permission comes
	tick()
	if got := <-heard; got != "" {
		t.Errorf("heard %q", got)
	}
	put(t, p.open(), "fn", keystoretest.Function("2"))
	tick()
	if got := <-heard; got != "fn" {
		t.Errorf("heard %q", got)
	}
}
