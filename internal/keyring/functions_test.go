package keyring_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

// grace is how long keys of functions that are gone are kept by default.
const grace = 30 * 24 * time.Hour

// list is a roster in memory.
type list struct {
	mu   sync.Mutex
	data []byte
	err  error
}

func (l *list) Read(context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data, l.err
}

func (l *list) Revise(_ context.Context, change func([]byte) ([]byte, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	data, err := change(l.data)
	if err == nil {
		l.data = data
	}
	return err
}

func (l *list) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func roster(l *list) func(*keyring.Config) { return func(c *keyring.Config) { c.Roster = l } }

// tend says which functions there are and has the ring settle what that means.
func (e *env) tend(functions ...string) {
	e.t.Helper()
	e.Deployed(functions)
	if err := e.TendFunctions(e.ctx); err != nil {
		e.t.Error(err)
	}
}

func twoFunctions(t *testing.T, l *list) *env {
	e := newEnv(t, roster(l))
	e.put(keystore.HostDoc, hostSet("master", nil, nil))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-f")}})
	e.put("g", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-g")}})
	e.open()
	e.tend("F", "g")
	e.expect("the-key-of-f", "F", keyring.FunctionLevel, "default", keyring.Matched)
	return e
}

// again is another ring on the same store and roster, as after a restart.
func (e *env) again(l *list, options ...func(*keyring.Config)) *env {
	e.t.Helper()
	next := newEnvOn(e.t, e.mem, append(options, roster(l))...)
	next.clock.Advance(e.clock.Now().Sub(next.clock.Now()))
	return next.open()
}

func TestKeysOfAFunctionThatIsGoneOpenNothingAndAreKept(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
	e.expect("the-key-of-g", "g", keyring.FunctionLevel, "default", keyring.Matched)
	if got := e.stored("f").Keys[0].Value; got != "the-key-of-f" {
		t.Error("the document was changed")
	}
	want := []keyring.Quarantine{{Function: "F", Since: e.clock.Now().UTC(), Until: e.clock.Now().UTC().Add(grace)}}
	if diff := cmp.Diff(want, must[[]keyring.Quarantine](t)(e.Quarantined(e.ctx))); diff != "" {
		t.Error(diff)
	}
	if n := len(e.events.of(keyring.KeysQuarantined)); n != 1 {
		t.Errorf("%d events", n)
	}
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health: %+v", h)
	}
}

// TestKeysThatSomebodyRemovedAreNotKept: asking for them would make new ones.
func TestKeysThatSomebodyRemovedAreNotKept(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	if err := e.mem.Delete(e.ctx, "f"); err != nil {
		t.Fatal(err)
	}
	if left := must[[]keyring.Quarantine](t)(e.again(l).Quarantined(e.ctx)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestKeysOfAFunctionThatIsBackInTimeWorkAgain(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace - time.Second)
	e.tend("g")
	e.tend("g", "f")
	e.expect("the-key-of-f", "f", keyring.FunctionLevel, "default", keyring.Matched)
	if n := len(e.events.of(keyring.KeysReturned)); n != 1 {
		t.Errorf("%d events", n)
	}
	e.clock.Advance(grace)
	e.tend("g", "f")
	e.expect("the-key-of-f", "f", keyring.FunctionLevel, "default", keyring.Matched)
}

func TestAfterTheGraceAFunctionOfTheNameGetsNewKeys(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	next := e.again(l) // the quarantine outlives the process
	next.tend("g")
	next.clock.Advance(grace)
	next.tend("g")
	if _, _, err := e.mem.Load(e.ctx, "f"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the document is still there: %v", err)
	}
	if n := len(next.events.of(keyring.DocumentPruned)); n != 1 {
		t.Errorf("%d events", n)
	}
	next.tend("f", "g")
	next.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
	made := next.stored("f").Keys
	next.expect(made[0].Value, "f", keyring.FunctionLevel, "default", keyring.Matched)
	if left := must[[]keyring.Quarantine](t)(next.Quarantined(next.ctx)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestAFunctionBackTooLateDoesNotGetItsOldKeys though nothing ran in between: they
// are removed before the first request sees them.
func TestAFunctionBackTooLateDoesNotGetItsOldKeys(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	next := e.again(l)
	next.Deployed([]string{"f", "g"}) // nothing has been tended yet
	next.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
	made := next.stored("f").Keys[0].Value
	next.tend("f", "g")
	next.expect(made, "f", keyring.FunctionLevel, "default", keyring.Matched)
	if next.stored("f").Keys[0].Value != made {
		t.Error("the new keys were replaced")
	}
}

func TestOldKeysThatCannotBeRemovedAreNotUsed(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	refusing := &noDelete{Store: e.mem, err: problem.New(keystore.ErrReadOnly, "no permission")}
	next := e.again(l, on(refusing))
	next.Deployed([]string{"f", "g"})
	if d := next.ask("the-key-of-f", "f"); d.Reason == keyring.Matched {
		t.Error("an old key works")
	}
	next.expect("the-key-of-g", "g", keyring.FunctionLevel, "default", keyring.Matched)
	if h := next.Health(); h.State != keyring.Degraded {
		t.Errorf("health: %+v", h)
	}
	refusing.set(nil)
	next.clock.Advance(time.Hour)
	next.tend("f", "g")
	next.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
	next.expect(next.stored("f").Keys[0].Value, "f", keyring.FunctionLevel, "default", keyring.Matched)
}

type noDelete struct {
	keystore.Store
	mu  sync.Mutex
	err error
}

func (s *noDelete) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *noDelete) Delete(ctx context.Context, doc keystore.Doc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return s.Store.Delete(ctx, doc)
}

// TestLookingAtKeysOfAFunctionThatIsGoneDoesNotPutThemInUse for the time when it
// comes back too late.
func TestLookingAtKeysOfAFunctionThatIsGoneDoesNotPutThemInUse(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	next := e.again(l, on(&noDelete{Store: e.mem, err: problem.New(keystore.ErrReadOnly, "no permission")}))
	next.tend("g")
	must[[]accesskey.Key](t)(next.List(next.ctx, keyring.FunctionKeys("f")))
	next.clock.Advance(grace)
	next.Deployed([]string{"f", "g"})
	if d := next.ask("the-key-of-f", "f"); d.Reason == keyring.Matched {
		t.Error("an old key works")
	}
	next.expect("the-key-of-g", "g", keyring.FunctionLevel, "default", keyring.Matched)
}

func TestKeysThatSomebodyElseChangedMeanwhileStay(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-f"), key("theirs", "put-there-since")}})
	e.clock.Advance(grace)
	e.tend("g")
	if n := len(e.stored("f").Keys); n != 2 {
		t.Errorf("%d keys", n)
	}
	e.clock.Advance(grace)
	e.tend("g")
	if _, _, err := e.mem.Load(e.ctx, "f"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("unchanged for as long again, and still there: %v", err)
	}
}

func TestDocumentsOfFunctionsThatNeverWereHereStay(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.put("stranger", accesskey.Set{Keys: []accesskey.Key{key("default", "of-another-app")}})
	e.clock.Advance(2 * grace)
	e.tend("f", "g")
	e.clock.Advance(2 * grace)
	e.tend("f", "g")
	e.stored("stranger")
}

func TestNothingIsRemovedBeforeTheAppWasLoaded(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	next := e.again(l)
	if err := next.TendFunctions(next.ctx); err != nil {
		t.Fatal(err)
	}
	next.stored("f")
}

func TestNothingIsRemovedFromAStoreThatCannotBeWritten(t *testing.T) {
	mem, l := memory.New(), &list{}
	mem.Put("f", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("default", "declared")}}})
	mem.Put(keystore.HostDoc, keystore.Document{Keys: hostSet("master", nil, nil)})
	e := newEnvOn(t, mem, roster(l), on(mem.ReadOnly())).open()
	e.tend("f")
	e.tend()
	e.clock.Advance(2 * grace)
	e.tend()
	e.stored("f")
	if l.data != nil {
		t.Errorf("kept: %s", l.data)
	}
}

func TestTheLoopRemovesWhatIsDue(t *testing.T) {
	l := &list{}
	e := newEnv(t, roster(l))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-f")}})
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.Deployed([]string{"f"})
	e.clock.Advance(time.Second)
	deadline := time.After(30 * time.Second)
	for { // until it is entered: what was never seen cannot go
		if data, _ := l.Read(e.ctx); len(data) > 2 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("nothing was entered")
		default:
		}
		e.Deployed([]string{"f"})
	}
	e.Deployed(nil)
	e.events.await(t, "the quarantine", func(ev keyring.Event) bool { return ev.Type == keyring.KeysQuarantined })
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				e.clock.Advance(time.Hour)
			}
		}
	}()
	e.events.await(t, "the removal", func(ev keyring.Event) bool { return ev.Type == keyring.DocumentPruned })
}

// TestManyNodesRemoveKeysOnce: whoever comes late must not remove the new keys.
func TestManyNodesRemoveKeysOnce(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	nodes := make([]*env, 8)
	for i := range nodes {
		nodes[i] = e.again(l)
		nodes[i].Deployed([]string{"f", "g"})
	}
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() { _ = n.TendFunctions(n.ctx); n.ask("the-key-of-f", "f") })
	}
	all.Wait()
	made, pruned := e.stored("f").Keys[0].Value, 0
	for _, n := range nodes {
		n.clock.Advance(2 * time.Minute)
		if err := n.TendFunctions(n.ctx); err != nil {
			t.Error(err)
		}
		n.expect(made, "f", keyring.FunctionLevel, "default", keyring.Matched)
		n.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
		pruned += len(n.events.of(keyring.DocumentPruned))
	}
	if pruned != 1 {
		t.Errorf("removed %d times", pruned)
	}
}

// A node that ended while it removed keys, with a clock that was ahead, does not
// keep a function without keys until that time has come.
func TestAClaimFromTheFutureEnds(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	var entries map[string]map[string]any
	if err := json.Unmarshal(l.data, &entries); err != nil {
		t.Fatal(err)
	}
	entries["f"]["purging"] = e.clock.Now().Add(365 * 24 * time.Hour).UTC()
	l.data, _ = json.Marshal(entries)
	next := e.again(l)
	next.Deployed([]string{"f", "g"})
	next.expect("the-key-of-f", "f", keyring.Anonymous, "", keyring.Unknown)
	next.expect(next.stored("f").Keys[0].Value, "f", keyring.FunctionLevel, "default", keyring.Matched)
}

func TestARosterThatCannotBeReadKeepsNobodyOut(t *testing.T) {
	l := &list{data: []byte("{broken")}
	e := newEnv(t, roster(l))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-f")}})
	e.open()
	e.Deployed([]string{"f"})
	if err := e.TendFunctions(e.ctx); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("got %v", err)
	}
	e.expect("the-key-of-f", "f", keyring.FunctionLevel, "default", keyring.Matched)
	if string(l.data) != "{broken" {
		t.Error("it was replaced")
	}
	l.fail(problem.New(problem.Unavailable, "away"))
	e.put("g", accesskey.Set{Keys: []accesskey.Key{key("default", "the-key-of-g")}})
	e.expect("the-key-of-g", "g", keyring.FunctionLevel, "default", keyring.Matched)
}

// wroteLast is a store in which somebody writes between the look at a document and
// its removal.
type wroteLast struct {
	*memory.Store
	write func()
}

func (s *wroteLast) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	s.write()
	return s.Store.DeleteAt(ctx, doc, rev)
}

// TestAWriteInTheMomentOfTheRemovalIsNotLost though the keys' time was over.
func TestAWriteInTheMomentOfTheRemovalIsNotLost(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	e.tend("g")
	e.clock.Advance(grace)
	late := &wroteLast{e.mem, func() {
		e.put("f", accesskey.Set{Keys: []accesskey.Key{key("default", "written-in-the-last-moment")}})
	}}
	next := e.again(l, on(late))
	next.tend("g")
	if got := next.stored("f").Keys[0].Value; got != "written-in-the-last-moment" {
		t.Errorf("the document has %q", got)
	}
	kept := must[[]keyring.Quarantine](t)(next.Quarantined(next.ctx))
	if len(kept) != 1 || !kept[0].Until.Equal(next.clock.Now().UTC().Add(grace)) {
		t.Errorf("kept: %+v", kept)
	}
}
