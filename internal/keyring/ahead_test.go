package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// allAtOnce is a store that can be asked for all documents. It can watch only as
// far as a test says that something changed.
type allAtOnce struct {
	*tap
	asked   atomic.Int64
	err     error
	during  func()             // called while the documents are on their way
	after   func(keystore.Doc) // called while one is on its way
	changed func(keystore.Doc)
}

func (s *allAtOnce) LoadAll(ctx context.Context) (map[keystore.Doc]keystore.Loaded, error) {
	s.asked.Add(1)
	docs, err := s.tap.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	all := map[keystore.Doc]keystore.Loaded{}
	for _, doc := range docs {
		d, rev, err := s.tap.Store.Load(ctx, doc)
		all[doc] = keystore.Loaded{Document: d, Revision: rev, Err: err}
	}
	if s.during != nil {
		s.during()
	}
	return all, s.err
}

func (s *allAtOnce) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	d, rev, err := s.tap.Load(ctx, doc)
	if s.after != nil {
		s.after(doc)
	}
	return d, rev, err
}

func (s *allAtOnce) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	s.changed = changed
	done := make(chan struct{})
	context.AfterFunc(ctx, func() { close(done) })
	return done, nil
}

// many makes a ring on such a store with the keys of n functions, and their names.
func many(t *testing.T, n int) (e *env, s *allAtOnce, functions []string) {
	s = &allAtOnce{}
	e = newEnv(t, func(c *keyring.Config) {
		s.tap = c.Store.(*tap)
		c.Store = s
	})
	e.put(keystore.HostDoc, hostSet("mastervalue", []accesskey.Key{key("default", "hostvalue")}, nil))
	for i := range n {
		name := fmt.Sprint("f", i)
		e.put(keystore.FunctionDoc(name), accesskey.Set{Keys: []accesskey.Key{key("default", name+"value")}})
		functions = append(functions, name)
	}
	return e, s, functions
}

func (e *env) expectAll(functions []string, suffix string) {
	e.t.Helper()
	for _, f := range functions {
		e.expect(f+suffix, f, keyring.FunctionLevel, "default", keyring.Matched)
	}
}

func TestAStartAsksForAllDocumentsAtOnce(t *testing.T) {
	e, s, functions := many(t, 40)
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	if err := e.Ensure(e.ctx, functions); err != nil {
		t.Fatal(err)
	}
	if s.asked.Load() != 1 || e.tap.loads.Load() != 0 {
		t.Errorf("asked %d times for all, %d times for one", s.asked.Load(), e.tap.loads.Load())
	}
	e.expectAll(functions, "value")
}

func TestWithoutAStartManyDocumentsAreReadAtOnceAndFewEachByItself(t *testing.T) {
	e, s, functions := many(t, 40)
	e.open()
	if err := e.Ensure(e.ctx, functions[:2]); err != nil || s.asked.Load() != 0 || e.tap.loads.Load() != 3 {
		t.Errorf("%v; asked %d times for all, %d times for one", err, s.asked.Load(), e.tap.loads.Load())
	}
	if err := e.Ensure(e.ctx, functions); err != nil || s.asked.Load() != 1 || e.tap.loads.Load() != 3 {
		t.Errorf("%v; asked %d times for all, %d times for one", err, s.asked.Load(), e.tap.loads.Load())
	}
}

func TestWhatChangedSinceIsReadAgain(t *testing.T) {
	change := func(e *env, name string) {
		e.put(keystore.FunctionDoc(name), accesskey.Set{Keys: []accesskey.Key{key("default", name+"new")}})
	}
	tests := map[string]struct {
		during, after func(e *env, s *allAtOnce)
		again         []int
	}{
		"changed on the way": {during: func(e *env, s *allAtOnce) { change(e, "f1"); s.changed("f1") }, again: []int{1}},
		"all changed on the way": {during: func(e *env, s *allAtOnce) {
			change(e, "f1")
			change(e, "f2")
			s.changed("")
		}, again: []int{1, 2}},
		"changed later":      {after: func(e *env, s *allAtOnce) { change(e, "f1"); s.changed("f1") }, again: []int{1}},
		"all changed later":  {after: func(e *env, s *allAtOnce) { change(e, "f1"); change(e, "f0"); s.changed("") }, again: []int{0, 1}},
		"a long time passed": {after: func(e *env, _ *allAtOnce) { change(e, "f2"); e.clock.Advance(10 * time.Second) }, again: []int{2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, s, functions := many(t, 3)
			if test.during != nil {
				s.during = func() { test.during(e, s) }
			}
			if err := e.Start(e.ctx); err != nil {
				t.Fatal(err)
			}
			if test.after != nil {
				test.after(e, s)
			}
			if err := e.Ensure(e.ctx, functions); err != nil {
				t.Fatal(err)
			}
			suffix := map[string]string{"f0": "value", "f1": "value", "f2": "value"}
			for _, i := range test.again {
				suffix[functions[i]] = "new"
			}
			for f, s := range suffix {
				e.expectAll([]string{f}, s)
			}
		})
	}
}

func TestWhatCannotBeReadAheadIsReadByItself(t *testing.T) {
	e, s, functions := many(t, 8)
	s.err = problem.New(problem.Denied, "no permission to list")
	e.mem.Corrupt("f3")
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	err := e.Ensure(e.ctx, append(functions, "fresh"))
	if !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("error %v", err)
	}
	if n := e.tap.loads.Load(); n != 2 { // the damaged one and the one that is not there
		t.Errorf("%d documents read by themselves", n)
	}
	if got := e.stored("fresh"); len(got.Keys) != 1 {
		t.Errorf("the new function has %v", names(got.Keys))
	}
	e.expectAll(append(functions[:3:3], functions[4:]...), "value")
}

func TestAChangeDuringTheFirstReadIsNotMissed(t *testing.T) {
	e, s, _ := many(t, 1)
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.put("late", accesskey.Set{Keys: []accesskey.Key{key("default", "latevalue")}})
	once := false
	s.after = func(doc keystore.Doc) {
		if doc == "late" && !once {
			once = true
			e.put("late", accesskey.Set{Keys: []accesskey.Key{key("default", "latenew")}})
			s.changed("late")
		}
	}
	if err := e.Ensure(e.ctx, []string{"late"}); err != nil {
		t.Fatal(err)
	}
	e.events.awaitAll(t, "the second read", func([]keyring.Event) bool {
		return e.Match("latenew", e.Function("late")).Reason == keyring.Matched
	})
}
