package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
)

func document(t *testing.T, key state.Key, w Want) state.Document {
	t.Helper()
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return state.Document{Key: key, Value: text}
}

func decode(doc state.Document) (w Want, isApp bool, err error) {
	err = json.Unmarshal(doc.Value, &w)
	return w, err == nil, err
}

// newFleet makes a fleet that is not run: tests tell it what is wanted.
func newFleet(t *testing.T, tell func(Status)) *Fleet {
	t.Helper()
	return New(Config{
		Decode: decode, OnChange: tell, Clock: clock.NewManual(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Open: func(context.Context, Want) (hosted.Config, func(), error) {
			return hosted.Config{}, nil, errors.New("unused")
		},
	})
}

// TestAnAppMadeAnewElsewhereWhileCutOffIsServed: when the state can be read again,
// the name belongs to another document.
func TestAnAppMadeAnewElsewhereWhileCutOffIsServed(t *testing.T) {
	f := newFleet(t, nil)
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", Want{Name: "App", UID: "1"})})
	(*follower)(f).Cut(errors.New("no state"))
	(*follower)(f).Reset([]state.Document{document(t, "/b/one", Want{Name: "app", UID: "2"})})
	if st, known := f.Status("App"); !known || st.State != Empty {
		t.Fatalf("the app is %+v, %t", st, known)
	}
	if _, err := f.Cut(); err != nil {
		t.Errorf("still cut off: %v", err)
	}
	(*follower)(f).Apply(state.Event{Kind: state.EventDelete, Document: state.Document{Key: "/b/one"}})
	if st, known := f.Status("app"); known {
		t.Errorf("a deleted app is %+v", st)
	}
}

// TestTheLastWordOfADeletedAppIsThatItIsGone: what a copy tells as it ends must
// not be taken for the app that has the name now.
func TestTheLastWordOfADeletedAppIsThatItIsGone(t *testing.T) {
	var told []string
	f := newFleet(t, func(st Status) { told = append(told, st.State) })
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", Want{Name: "one", UID: "1", Release: "r"})})
	old := f.slot("one")
	(*follower)(f).Apply(state.Event{Kind: state.EventDelete, Document: state.Document{Key: "/a/one"}})
	old.tell()
	(*follower)(f).Apply(state.Event{Kind: state.EventPut, Document: document(t, "/a/one", Want{Name: "one", UID: "2"})})
	old.tell()
	want := []string{Idle, Gone, Empty}
	if len(told) != len(want) || told[0] != want[0] || told[1] != want[1] || told[2] != want[2] {
		t.Errorf("told %v, not %v", told, want)
	}
}

// TestChangesAreToldOneAtATime: the last call has the last status.
func TestChangesAreToldOneAtATime(t *testing.T) {
	var inside sync.Mutex
	f := newFleet(t, func(Status) {
		if !inside.TryLock() {
			t.Error("two calls at a time")
			return
		}
		defer inside.Unlock()
		time.Sleep(time.Millisecond) // others have the time to come
	})
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", Want{Name: "one"})})
	var all sync.WaitGroup
	for range 8 {
		all.Go(f.slot("one").tell)
	}
	all.Wait()
}

// TestAFaultIsOfOneLifeOfAnApp: an app that was made anew is not answered for
// with why its predecessor of the same generation could not be started.
func TestAFaultIsOfOneLifeOfAnApp(t *testing.T) {
	f := newFleet(t, nil)
	first := Want{Name: "one", UID: "1", Generation: 1, Release: "r"}
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", first)})
	f.slot("one").blame(first, errors.New("it is damaged"))
	if st, _ := f.Status("one"); st.State != Failed || len(st.Errors) != 1 {
		t.Errorf("a fault is shown as %+v", st)
	}
	w := httptest.NewRecorder()
	if !f.Serve("one", w, httptest.NewRequest(http.MethodGet, "/", nil)) || w.Code != http.StatusServiceUnavailable {
		t.Errorf("an app with a fault answers %d", w.Code)
	}
	second := first
	second.UID = "2"
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", second)})
	if st, _ := f.Status("one"); st.State != Idle || len(st.Errors) != 0 {
		t.Errorf("the next app has the fault of the former: %+v", st)
	}
}

// TestOpeningIsTriedAgainAndAllEnds: an app whose files cannot be had is tried
// again, and the fleet ends while it waits.
func TestOpeningIsTriedAgainAndAllEnds(t *testing.T) {
	f := newFleet(t, nil)
	c, opened := f.cfg.Clock.(*clock.Manual), make(chan struct{})
	f.cfg.Open = func(ctx context.Context, _ Want) (hosted.Config, func(), error) {
		select {
		case opened <- struct{}{}:
		case <-ctx.Done():
		}
		return hosted.Config{}, nil, errors.New("not now")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.ctx, f.open = ctx, true
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", Want{Name: "one", UID: "1", Generation: 1, Release: "r"})})
	f.slot("one").demand()
	<-opened
	deadline := time.Now().Add(time.Minute)
	for again := false; !again; {
		select {
		case <-opened:
			again = true
		default:
			if time.Now().After(deadline) {
				t.Fatal("it is not tried again")
			}
			c.Advance(openFirst)
			time.Sleep(time.Millisecond) // the runner takes its turn
		}
	}
	cancel()
	f.work.Wait()
}

// TestCopiesThatTakeOverWaitForTheirTurn: a change of what many apps use must not
// start them all at once, and one that does not get to run holds up nobody.
func TestCopiesThatTakeOverWaitForTheirTurn(t *testing.T) {
	f := newFleet(t, nil)
	c := f.cfg.Clock.(*clock.Manual)
	f.turns = make(chan struct{}, 1)
	(*follower)(f).Reset([]state.Document{document(t, "/a/one", Want{Name: "one"}), document(t, "/a/two", Want{Name: "two"})})
	one, two := f.slot("one"), f.slot("two")
	<-one.wake
	<-two.wake
	if !one.turn(t.Context()) {
		t.Fatal("the first has to wait")
	}
	two.changed()
	if two.turn(t.Context()) {
		t.Fatal("two at a time")
	}
	one.handOn(t.Context(), &running{up: make(chan struct{}), ended: make(chan struct{})})
	if err := c.AwaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(turnMost)
	if !two.turn(t.Context()) {
		t.Fatal("the turn is not handed on")
	}
	two.handOn(t.Context(), nil)
	ended, end := context.WithCancel(t.Context())
	end()
	if !one.turn(t.Context()) || two.turn(ended) {
		t.Error("a fleet that ends waits")
	}
	f.work.Wait()
}
