package statestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

const prefix state.Key = "/apps/a/durable/"

type small struct {
	t     *testing.T
	docs  *counting
	clock *clock.Manual
	cfg   Config
	*Store
}

// counting counts the documents that are read.
type counting struct {
	state.Store
	mu   sync.Mutex
	read int
}

func (c *counting) Get(ctx context.Context, key state.Key) (state.Document, error) {
	c.mu.Lock()
	c.read++
	c.mu.Unlock()
	return c.Store.Get(ctx, key)
}

func (c *counting) List(ctx context.Context, prefix state.Key, page state.Page) (state.Listing, error) {
	l, err := c.Store.List(ctx, prefix, page)
	if !page.KeysOnly {
		c.mu.Lock()
		c.read += len(l.Documents)
		c.mu.Unlock()
	}
	return l, err
}

func (c *counting) reads(during func()) int {
	c.mu.Lock()
	before := c.read
	c.mu.Unlock()
	during()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read - before
}

func newSmall(t *testing.T, number, bytes int64) *small {
	at := clock.NewManual(time.Unix(0, 0))
	docs := &counting{Store: memory.New(at)}
	cfg := Config{Docs: docs, Prefix: prefix, Budget: instances.Budget{Instances: number, Bytes: bytes}, Clock: at}
	return &small{t, docs, at, cfg, New(cfg)}
}

// other is another host, or this one after a restart.
func (s *small) other() *small { return &small{s.t, s.docs, s.clock, s.cfg, New(s.cfg)} }

func (s *small) put(i *instances.Instance) error {
	_, err := s.Update(s.t.Context(), i.ID, func(*instances.Instance) (*instances.Instance, error) { return i, nil })
	return err
}

func (s *small) must(i *instances.Instance) {
	s.t.Helper()
	if err := s.put(i); err != nil {
		s.t.Fatal(err)
	}
}

func (s *small) refused(i *instances.Instance, kind problem.Kind, limit string) {
	s.t.Helper()
	err := s.put(i)
	if problem.KindOf(err) != kind || !strings.Contains(err.Error(), limit) || !strings.Contains(problem.NextOf(err), "purge") {
		s.t.Errorf("%v; %s: want %v that names %q and purging", err, problem.NextOf(err), kind, limit)
	}
}

func (s *small) purge(id string) {
	s.t.Helper()
	if _, err := s.Update(s.t.Context(), id, func(*instances.Instance) (*instances.Instance, error) { return nil, nil }); err != nil {
		s.t.Fatal(err)
	}
}

func pending(id string) *instances.Instance {
	return &instances.Instance{ID: id, Status: instances.Pending}
}

func sized(id string, status instances.Status, bytes int) *instances.Instance {
	v, _ := json.Marshal(strings.Repeat("x", bytes))
	return &instances.Instance{ID: id, Status: status, Input: v}
}

func TestMoreInstancesThanTheBudgetAreRefused(t *testing.T) {
	s := newSmall(t, 3, 1<<20)
	for n := range 3 {
		s.must(pending(fmt.Sprint(n)))
	}
	s.refused(pending("more"), problem.Throttled, "3 instances")
	s.other().refused(pending("more"), problem.Throttled, "3 instances")
	s.must(&instances.Instance{ID: "0", Status: instances.Running})
	s.must(&instances.Instance{ID: "0", Status: instances.Completed})
	s.refused(pending("more"), problem.Throttled, "3 instances") // it is still there
	s.must(pending("0"))                                         // started anew in its own place
	s.purge("0")
	s.must(pending("more"))
	s.refused(pending("0"), problem.Throttled, "3 instances")
}

func TestMoreBytesThanTheBudgetAreRefused(t *testing.T) {
	s := newSmall(t, 100, 100_000)
	s.must(sized("a", instances.Completed, 60_000))
	s.refused(sized("b", instances.Pending, 60_000), problem.Throttled, "100000 bytes")
	s.other().refused(sized("b", instances.Pending, 60_000), problem.Throttled, "100000 bytes")
	s.must(sized("b", instances.Pending, 10_000))
	s.refused(sized("a", instances.Pending, 99_000), problem.Throttled, "100000 bytes") // anew, and larger
	s.must(sized("a", instances.Completed, 10))
	s.must(sized("c", instances.Pending, 60_000))
}

func TestWhatIsInProgressMayFinishAboveTheBudget(t *testing.T) {
	s := newSmall(t, 2, 100_000)
	s.must(sized("a", instances.Running, 50_000))
	s.must(sized("b", instances.Running, 40_000))
	s.must(sized("a", instances.Running, 120_000)) // grows into what is kept for that
	child := pending("child")
	child.Parent = &instances.Parent{ID: "a", Task: 1}
	s.must(child)
	s.refused(sized("b", instances.Running, 90_000), problem.TooLarge, "200000 bytes")
	s.must(sized("a", instances.Running, 158_000))
	told := sized("a", instances.Running, 158_000)
	told.Inbox = []instances.Event{{EventType: instances.ExecutionTerminated, Input: instances.Text(`"enough"`)}}
	s.must(told)
	flood := sized("a", instances.Running, 158_000)
	flood.Inbox = slices.Repeat(told.Inbox, 40)
	s.refused(flood, problem.TooLarge, "200000 bytes")
	s.must(sized("b", instances.Failed, 43_000)) // the end of one is always written
	third := pending("child 2")
	third.Parent = &instances.Parent{ID: "a", Task: 2}
	s.refused(third, problem.TooLarge, "200000 bytes")
}

func TestChildrenAreBoundedToo(t *testing.T) {
	s := newSmall(t, 2, 1<<20)
	s.must(pending("a"))
	for n := range 4 {
		child := pending(fmt.Sprint("child", n))
		child.Parent = &instances.Parent{ID: "a", Task: n}
		if n < 3 {
			s.must(child)
			continue
		}
		s.refused(child, problem.TooLarge, "4 instances")
	}
}

func TestPurgesByOtherHostsMakeRoom(t *testing.T) {
	s := newSmall(t, 1, 1<<20)
	s.must(pending("a"))
	s.refused(pending("b"), problem.Throttled, "1 instances")
	s.other().purge("a")
	s.clock.Advance(recountAfter + time.Second)
	s.must(pending("b"))
	s.other().refused(pending("c"), problem.Throttled, "1 instances")
}

func TestManyStartsAtOnceStayWithinTheBudget(t *testing.T) {
	const most = 5
	s := newSmall(t, most, 1<<20)
	var all sync.WaitGroup
	for n := range 8 * most {
		all.Go(func() {
			if err := s.put(pending(fmt.Sprint(n))); err != nil && !errors.Is(err, problem.Throttled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, _, err := s.List(t.Context(), "", 0); err != nil || len(list) != most {
		t.Errorf("%d instances, %v; want %d", len(list), err, most)
	}
}

func TestInstancesThatEndedAreNotReadAgain(t *testing.T) {
	s := newSmall(t, 100, 1<<20)
	for n := range 40 {
		s.must(sized(fmt.Sprint("old", n), instances.Completed, 100))
	}
	s.must(pending("live"))
	s = s.other()
	look := func() {
		t.Helper()
		if ids, err := s.Unfinished(t.Context()); err != nil || len(ids) != 1 || ids[0] != "live" {
			t.Errorf("%q, %v", ids, err)
		}
	}
	if n := s.docs.reads(look); n != 41 {
		t.Errorf("the first look reads %d documents, want all 41", n)
	}
	if n := s.docs.reads(look); n != 0 {
		t.Errorf("the second look reads %d documents", n)
	}
	s.other().must(&instances.Instance{ID: "old7", Status: instances.Failed})
	if n := s.docs.reads(look); n != 1 {
		t.Errorf("after one change elsewhere %d documents are read", n)
	}
}

func TestADocumentThatIsDamagedStopsNoOthers(t *testing.T) {
	s := newSmall(t, 100, 1<<20)
	s.must(pending("b"))
	if _, err := s.docs.Write(t.Context(), state.Put(s.key("a"), []byte("{"), state.Any)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if ids, err := s.Unfinished(t.Context()); err != nil || len(ids) != 2 {
			t.Errorf("%q, %v", ids, err)
		}
	}
}
