package state_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

func testStore(t *testing.T) (context.Context, *memory.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s := memory.New(clock.Real{})
	t.Cleanup(func() { _ = s.Close() })
	return ctx, s
}

func mustWrite(ctx context.Context, t *testing.T, s state.Store, ops ...state.Op) state.Revision {
	t.Helper()
	rev, err := s.Write(ctx, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// to gives a change to a fixed value; nil removes.
func to(value []byte) state.Change {
	return func([]byte, bool) ([]byte, error) { return value, nil }
}

func TestUpdate(t *testing.T) {
	ctx, s := testStore(t)
	for i, step := range []struct {
		change state.Change
		want   string // "" for none
	}{
		{to(nil), ""},
		{func([]byte, bool) ([]byte, error) { return nil, state.ErrUnchanged }, ""},
		{func(old []byte, exists bool) ([]byte, error) { return fmt.Append(nil, string(old), exists), nil }, "false"},
		{func(old []byte, exists bool) ([]byte, error) { return fmt.Append(nil, string(old), exists), nil }, "falsetrue"},
		{func([]byte, bool) ([]byte, error) { return nil, fmt.Errorf("so: %w", state.ErrUnchanged) }, "falsetrue"},
		{to(nil), ""},
		{to([]byte("again")), "again"},
	} {
		got, err := state.Update(ctx, s, "/a", step.change)
		if err != nil || string(got.Value) != step.want {
			t.Errorf("step %d: %+v, %v", i, got, err)
		}
		stored, err := s.Get(ctx, "/a")
		if (err == nil) != (step.want != "") || err == nil && !cmp.Equal(stored, got) {
			t.Errorf("step %d: stored %+v, given %+v, %v", i, stored, got, err)
		}
	}
	if _, err := state.Update(ctx, s, "bad", to(nil)); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestUpdateGivesTheChangesErrorAsItIs(t *testing.T) {
	ctx, s := testStore(t)
	for _, want := range []error{errors.New("mine"), problem.New(problem.Conflict, "mine"), problem.New(problem.Denied, "mine")} {
		runs := 0
		doc, err := state.Update(ctx, s, "/a", func([]byte, bool) ([]byte, error) {
			runs++
			return []byte("never"), want
		})
		if err != want || runs != 1 || doc.Value != nil {
			t.Errorf("ran %d times: %+v, %v", runs, doc, err)
		}
	}
	if _, err := s.Get(ctx, "/a"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestUpdateRunsAgainOnWhatOthersWrote(t *testing.T) {
	ctx, s := testStore(t)
	mustWrite(ctx, t, s, state.Put("/a", []byte("0"), state.Any))
	var seen []string
	doc, err := state.Update(ctx, s, "/a", func(old []byte, _ bool) ([]byte, error) {
		if seen = append(seen, string(old)); len(seen) < 4 {
			mustWrite(ctx, t, s, state.Put("/a", fmt.Append(nil, len(seen)), state.Any))
		}
		return []byte("mine"), nil
	}, state.Put("/b", nil, state.Absent))
	if diff := cmp.Diff([]string{"0", "1", "2", "3"}, seen); diff != "" || err != nil || string(doc.Value) != "mine" {
		t.Errorf("%+v, %v, saw (-want +got):\n%s", doc, err, diff)
	}
}

func TestUpdateGivesUp(t *testing.T) {
	ctx, s := testStore(t)
	runs := 0
	meddle := func([]byte, bool) ([]byte, error) {
		runs++
		mustWrite(ctx, t, s, state.Put("/a", nil, state.Any))
		return []byte("mine"), nil
	}
	if _, err := state.Update(ctx, s, "/a", meddle); !errors.Is(err, state.ErrConflict) || runs < 5 || runs > 100 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	ending, cancel := context.WithCancel(ctx)
	_, err := state.Update(ending, s, "/a", func([]byte, bool) ([]byte, error) {
		mustWrite(ctx, t, s, state.Put("/a", nil, state.Any))
		cancel()
		return []byte("mine"), nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestUpdateDoesNotRepeatWhatOtherKeysForbid(t *testing.T) {
	ctx, s := testStore(t)
	mustWrite(ctx, t, s, state.Put("/name", nil, state.Any))
	for _, first := range []state.Op{state.Put("/a", []byte("old"), state.Any), state.Delete("/a", state.Any)} {
		mustWrite(ctx, t, s, first)
		runs := 0
		doc, err := state.Update(ctx, s, "/a", func([]byte, bool) ([]byte, error) {
			runs++
			return []byte("new"), nil
		}, state.Put("/name", nil, state.Absent))
		if !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "/name") || runs != 1 || doc.Value != nil {
			t.Errorf("after %d runs: %+v, %v", runs, doc, err)
		}
	}
}

func TestUpdateFailsWithItsStore(t *testing.T) {
	ctx, s := testStore(t)
	s.SetUnavailable(true)
	if _, err := state.Update(ctx, s, "/a", to(nil)); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("when reading: %v", err)
	}
	s.SetUnavailable(false)
	_, err := state.Update(ctx, s, "/a", func([]byte, bool) ([]byte, error) {
		s.SetUnavailable(true)
		return []byte("x"), nil
	})
	if !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("when writing: %v", err)
	}
}

// notes is a follower that writes down what it is told.
type notes struct{ lines chan string }

func (n notes) Reset(docs []state.Document) {
	line := "reset"
	for _, d := range docs {
		line += fmt.Sprintf(" %s=%s", d.Key, d.Value)
	}
	n.lines <- line
}

func (n notes) Apply(e state.Event) { n.lines <- fmt.Sprintf("%d %s=%s", e.Kind, e.Key, e.Value) }
func (n notes) Cut(err error)       { n.lines <- fmt.Sprint("cut ", problem.KindOf(err)) }

func (n notes) want(ctx context.Context, t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-n.lines:
		if got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	case <-ctx.Done():
		t.Fatalf("never told %q", want)
	}
}

func TestFollow(t *testing.T) {
	ctx, s := testStore(t)
	c, n := clock.NewManual(time.Unix(0, 0)), notes{make(chan string)}
	mustWrite(ctx, t, s, state.Put("/a/1", []byte("x"), state.Any), state.Put("/b", nil, state.Any))
	following, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { state.Follow(following, s, "/a/", c, n) })
	n.want(ctx, t, "reset /a/1=x")
	mustWrite(ctx, t, s, state.Put("/a/2", []byte("y"), state.Any), state.Put("/c", nil, state.Any))
	n.want(ctx, t, "0 /a/2=y")
	mustWrite(ctx, t, s, state.Delete("/a/1", state.Any))
	n.want(ctx, t, "1 /a/1=")
	s.Forget()
	n.want(ctx, t, "reset /a/2=y")
	s.SetUnavailable(true)
	s.Forget()
	for _, wait := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000} {
		n.want(ctx, t, "cut unavailable")
		if err := c.AwaitTimers(ctx, 1); err != nil {
			t.Fatal(err)
		}
		c.Advance(wait*time.Millisecond - 1)
		if err := c.AwaitTimers(ctx, 1); err != nil || len(n.lines) > 0 {
			t.Fatalf("it does not wait for %d ms", wait)
		}
		c.Advance(1)
	}
	n.want(ctx, t, "cut unavailable")
	s.SetUnavailable(false)
	c.Advance(2 * time.Second)
	n.want(ctx, t, "reset /a/2=y")
	mustWrite(ctx, t, s, state.Put("/a/3", nil, state.Any))
	n.want(ctx, t, "0 /a/3=")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n.want(ctx, t, "cut internal error") // the store ended the watch
	if err := c.AwaitTimers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(50 * time.Millisecond)
	n.want(ctx, t, "cut unavailable")
	stop()
	wg.Wait()
}

type thing struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

func TestCollection(t *testing.T) {
	ctx, s := testStore(t)
	things := state.Collection[thing]{Store: s, Prefix: "/things/"}
	made, err := things.Create(ctx, "b", thing{Text: "hello"})
	if err != nil || made.Name != "b" || made.Value.Text != "hello" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := things.Create(ctx, "b", thing{}); !errors.Is(err, problem.Exists) {
		t.Errorf("created twice: %v", err)
	}
	if got, err := things.Get(ctx, "b"); err != nil || got != made {
		t.Errorf("got %+v, %v, want %+v", got, err, made)
	}
	if _, err := things.Get(ctx, "none"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	for want := range 2 {
		got, err := things.Update(ctx, "a/x", func(old thing, exists bool) (thing, error) {
			if old.Count != want || exists != (want > 0) {
				t.Errorf("the change is given %+v, %v", old, exists)
			}
			return thing{Count: old.Count + 1}, nil
		})
		if err != nil || got.Value.Count != want+1 || got.Name != "a/x" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	mustWrite(ctx, t, s, state.Put("/thing", nil, state.Any))
	items, err := things.List(ctx)
	if err != nil || len(items) != 2 || items[0].Name != "a/x" || items[1] != made {
		t.Errorf("%+v, %v", items, err)
	}
	if err := things.Delete(ctx, "b"); err != nil {
		t.Error(err)
	}
	if err := things.Delete(ctx, "b"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestCollectionLeavesUnchangedAlone(t *testing.T) {
	ctx, s := testStore(t)
	things := state.Collection[thing]{Store: s, Prefix: "/things/"}
	same := func(old thing, _ bool) (thing, error) { return old, state.ErrUnchanged }
	if got, err := things.Update(ctx, "a", same); err != nil || got.Revision != state.Absent {
		t.Errorf("of none: %+v, %v", got, err)
	}
	made, err := things.Create(ctx, "a", thing{Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := things.Update(ctx, "a", same); err != nil || got != made {
		t.Errorf("%+v, %v, want %+v", got, err, made)
	}
}

func TestCollectionNamesDocumentsThatItCannotRead(t *testing.T) {
	ctx, s := testStore(t)
	things := state.Collection[thing]{Store: s, Prefix: "/things/"}
	mustWrite(ctx, t, s, state.Put("/things/a", []byte(`{"count":"many"}`), state.Any))
	_, get := things.Get(ctx, "a")
	_, list := things.List(ctx)
	_, update := things.Update(ctx, "a", func(old thing, _ bool) (thing, error) { return old, nil })
	for _, err := range []error{get, list, update} {
		if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), "/things/a") {
			t.Errorf("got %v", err)
		}
	}
	if err := things.Delete(ctx, "a"); err != nil {
		t.Errorf("it cannot be deleted: %v", err)
	}
}
