// Package storetest owns the one conformance suite that all stores of orchestrations
// pass. It is for tests only, and does not know where a store keeps what it is given.
package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Run tests stores. open makes an empty one; the function that it gives opens the
// same one anew, as after a restart.
func Run(t *testing.T, open func(t *testing.T) (s instances.Store, again func() instances.Store)) {
	for name, test := range map[string]func(*testing.T, instances.Store, func() instances.Store){
		"what was written is there after a restart": testKept,
		"instances that are not there":              testMissing,
		"an error of a change changes nothing":      testErrors,
		"changes at the same time are all kept":     testConcurrent,
		"lists are in order and in pages":           testList,
		"ids with any character, and long ones":     testIDs,
		"instances that are too large":              testTooLarge,
		"those that have not ended":                 testUnfinished,
	} {
		t.Run(name, func(t *testing.T) {
			s, again := open(t)
			test(t, s, again)
		})
	}
}

func put(t *testing.T, s instances.Store, i *instances.Instance) {
	t.Helper()
	if _, err := s.Update(t.Context(), i.ID, func(*instances.Instance) (*instances.Instance, error) { return i, nil }); err != nil {
		t.Fatal(err)
	}
}

func testKept(t *testing.T, s instances.Store, again func() instances.Store) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 123_000_000, time.UTC)
	want := &instances.Instance{
		ID: "one", Name: "Hello", Execution: "e", Status: instances.Running, Input: json.RawMessage(`{"a":[1,2.50]}`),
		Created: at, Updated: at.Add(time.Second), Parent: &instances.Parent{ID: "p", Task: 3}, NextID: 4, Assigned: []int{0, -1, 1},
		History: []instances.Event{{EventType: instances.EventRaised, EventId: -1, Timestamp: at, Name: "go", Input: instances.Text(`"x"`)}},
		Tasks:   map[int]instances.Task{1: {Kind: instances.Timer, FireAt: at}},
	}
	put(t, s, want)
	got, err := again().Get(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want)
	if b, _ := json.Marshal(got); string(a) != string(b) {
		t.Errorf("got  %s\nwant %s", b, a)
	}
}

func testMissing(t *testing.T, s instances.Store, _ func() instances.Store) {
	if _, err := s.Get(t.Context(), "gone"); !errors.Is(err, problem.NotFound) {
		t.Errorf("Get: %v, want not found", err)
	}
	got, err := s.Update(t.Context(), "gone", func(old *instances.Instance) (*instances.Instance, error) {
		if old != nil {
			t.Errorf("the change got %v", old)
		}
		return nil, nil
	})
	if got != nil || err != nil {
		t.Errorf("deleting what is not there: %v, %v", got, err)
	}
	put(t, s, &instances.Instance{ID: "x"})
	if _, err := s.Update(t.Context(), "x", func(*instances.Instance) (*instances.Instance, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "x"); !errors.Is(err, problem.NotFound) {
		t.Errorf("after deleting: %v, want not found", err)
	}
}

func testErrors(t *testing.T, s instances.Store, _ func() instances.Store) {
	put(t, s, &instances.Instance{ID: "x", Name: "before"})
	broken := errors.New("no")
	for _, cause := range []error{broken, instances.ErrKeep} {
		got, err := s.Update(t.Context(), "x", func(*instances.Instance) (*instances.Instance, error) {
			return &instances.Instance{ID: "x", Name: "after"}, cause
		})
		if cause == broken && !errors.Is(err, broken) {
			t.Errorf("error %v, want that of the change", err)
		}
		if cause != broken && (err != nil || got.Name != "before") {
			t.Errorf("kept: %v, %v", got, err)
		}
		if i, err := s.Get(t.Context(), "x"); err != nil || i.Name != "before" {
			t.Errorf("%v, %v: it was changed", i, err)
		}
	}
}

func testConcurrent(t *testing.T, s instances.Store, _ func() instances.Store) {
	const writers, writes = 4, 8
	put(t, s, &instances.Instance{ID: "x"})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range writes {
				for { // a store may give up after many conflicts
					_, err := s.Update(t.Context(), "x", func(old *instances.Instance) (*instances.Instance, error) {
						old.Inbox = append(slices.Clone(old.Inbox), instances.Event{Name: fmt.Sprint(w, n)})
						return old, nil
					})
					if err == nil {
						break
					}
					if !errors.Is(err, problem.Conflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	i, err := s.Get(t.Context(), "x")
	if err != nil || len(i.Inbox) != writers*writes {
		t.Errorf("%d of %d changes kept, %v", len(i.Inbox), writers*writes, err)
	}
}

func testList(t *testing.T, s instances.Store, _ func() instances.Store) {
	if list, more, err := s.List(t.Context(), "", 5); len(list) != 0 || more || err != nil {
		t.Errorf("empty: %v, %v, %v", list, more, err)
	}
	for _, id := range []string{"c", "a", "ab", "é", "b", "B"} {
		put(t, s, &instances.Instance{ID: id})
	}
	var ids []string
	for after, more := "", true; more; {
		var list []*instances.Instance
		var err error
		if list, more, err = s.List(t.Context(), after, 2); err != nil || len(list) > 2 {
			t.Fatalf("%d instances, %v", len(list), err)
		}
		for _, i := range list {
			ids, after = append(ids, i.ID), i.ID
		}
	}
	if want := []string{"B", "a", "ab", "b", "c", "é"}; !slices.Equal(ids, want) {
		t.Errorf("order %q, want %q", ids, want)
	}
	if list, _, err := s.List(t.Context(), "aa", 1); err != nil || len(list) != 1 || list[0].ID != "ab" {
		t.Errorf("after one that is not there: %v, %v", list, err)
	}
}

func testIDs(t *testing.T, s instances.Store, again func() instances.Store) {
	for _, id := range []string{"a b", "@counter@1", "..", "A", "日本", strings.Repeat("x", instances.MaxID), "%2e"} {
		put(t, s, &instances.Instance{ID: id, Name: id})
		if i, err := again().Get(t.Context(), id); err != nil || i.Name != id {
			t.Errorf("%q: %v, %v", id, i, err)
		}
	}
	if list, _, err := s.List(t.Context(), "", 0); err != nil || len(list) != 7 {
		t.Errorf("%d listed, %v", len(list), err)
	}
	for _, id := range []string{"", "a/b", `a\b`, "a#", "a?", "a\n", strings.Repeat("x", instances.MaxID+1), "\xff"} {
		if _, err := s.Get(t.Context(), id); !errors.Is(err, problem.Invalid) {
			t.Errorf("Get %q: %v, want invalid", id, err)
		}
		if _, err := s.Update(t.Context(), id, nil); !errors.Is(err, problem.Invalid) {
			t.Errorf("Update %q: %v, want invalid", id, err)
		}
	}
}

func testTooLarge(t *testing.T, s instances.Store, _ func() instances.Store) {
	big, _ := json.Marshal(strings.Repeat("x", instances.MaxBytes))
	_, err := s.Update(t.Context(), "x", func(*instances.Instance) (*instances.Instance, error) {
		return &instances.Instance{ID: "x", Input: big}, nil
	})
	if !errors.Is(err, problem.TooLarge) {
		t.Errorf("error %v, want too large", err)
	}
}

func testUnfinished(t *testing.T, s instances.Store, again func() instances.Store) {
	for id, status := range map[string]instances.Status{
		"a": instances.Running, "b": instances.Completed, "c": instances.Failed, "d": instances.Suspended, "é": instances.Pending, "gone": instances.Running,
	} {
		put(t, s, &instances.Instance{ID: id, Status: status})
	}
	if _, err := s.Update(t.Context(), "gone", func(*instances.Instance) (*instances.Instance, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	check := func(s instances.Store, want ...string) {
		t.Helper()
		if ids, err := s.Unfinished(t.Context()); err != nil || !slices.Equal(ids, want) {
			t.Errorf("%q, %v; want %q", ids, err, want)
		}
	}
	for range 2 {
		check(s, "a", "d", "é")
		check(again(), "a", "d", "é")
	}
	put(t, s, &instances.Instance{ID: "a", Status: instances.Terminated})
	put(t, s, &instances.Instance{ID: "c", Status: instances.Running}) // rewound
	check(s, "c", "d", "é")
	check(again(), "c", "d", "é")
}
