package keyring_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestOpenCreatesHostKeysWhereThereAreNone(t *testing.T) {
	e := newEnv(t).open()
	set := e.stored(keystore.HostDoc)
	if set.Master.Name != accesskey.MasterStoredName || len(set.System) != 0 {
		t.Errorf("master %q, %d system keys", set.Master.Name, len(set.System))
	}
	if diff := cmp.Diff([]string{"default"}, names(set.Keys)); diff != "" {
		t.Error(diff)
	}
	e.expect(set.Master.Value, "", keyring.AdminLevel, "master", keyring.Matched)
	e.expect(set.Keys[0].Value, "", keyring.FunctionLevel, "default", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK || h.Reason != "" {
		t.Errorf("health %+v", h)
	}
	if n := len(e.events.of(keyring.DocumentCreated)); n != 1 {
		t.Errorf("%d events about creation", n)
	}
}

func TestEnsureCreatesADefaultKeyPerFunction(t *testing.T) {
	e := newEnv(t).open()
	e.put("old", accesskey.Set{Keys: []accesskey.Key{key("mine", "a")}})
	if err := e.Ensure(e.ctx, []string{"HttpTrigger1", "old"}); err != nil {
		t.Fatal(err)
	}
	docs := must[[]keystore.Doc](t)(e.mem.List(e.ctx))
	if diff := cmp.Diff([]keystore.Doc{"host", "httptrigger1", "old"}, docs); diff != "" {
		t.Error(diff)
	}
	k := e.stored("httptrigger1").Keys
	if diff := cmp.Diff([]string{"default"}, names(k)); diff != "" {
		t.Error(diff)
	}
	e.expect(k[0].Value, "HttpTrigger1", keyring.FunctionLevel, "default", keyring.Matched)
	if diff := cmp.Diff([]string{"mine"}, names(e.stored("old").Keys)); diff != "" {
		t.Error(diff)
	}
}

func TestEnsureNamesWhatFailedAndDoesTheRest(t *testing.T) {
	e := newEnv(t).open()
	e.mem.Corrupt("bad")
	err := e.Ensure(e.ctx, []string{"bad", "host", "good"})
	if !errors.Is(err, problem.Undecryptable) || !errors.Is(err, problem.Invalid) {
		t.Errorf("error %v", err)
	}
	e.expect(e.stored("good").Keys[0].Value, "good", keyring.FunctionLevel, "default", keyring.Matched)
}

func TestGeneratedKeysValidateWithTheirOwnKindOnly(t *testing.T) {
	e := newEnv(t).open()
	if err := e.Ensure(e.ctx, []string{"f"}); err != nil {
		t.Fatal(err)
	}
	system, _, err := e.EnsureSystemKey(e.ctx, "eventgrid")
	if err != nil {
		t.Fatal(err)
	}
	host := e.stored(keystore.HostDoc)
	for value, want := range map[string]azfkey.Kind{
		host.Master.Value: azfkey.Master, host.Keys[0].Value: azfkey.Function,
		e.stored("f").Keys[0].Value: azfkey.Function, system.Value: azfkey.System,
	} {
		for _, kind := range azfkey.Kinds() {
			if azfkey.Check(value, kind) != (kind == want) {
				t.Errorf("a %v key checked as %v", want, kind)
			}
		}
		if len(value) != azfkey.TextLen || strings.ContainsAny(value, "+/") {
			t.Error("a generated key has the wrong form")
		}
	}
}

func TestConcurrentFirstNeedsReadAndGenerateOnce(t *testing.T) {
	e := newEnv(t)
	f := e.Function("f")
	var all sync.WaitGroup
	lists := make([][]accesskey.Key, 10)
	for i := range lists {
		all.Go(func() {
			e.Authorize(e.ctx, keyring.Request{Key: "a wrong key", Function: f, Source: source})
			lists[i], _ = e.List(e.ctx, keyring.FunctionKeys("F"))
		})
	}
	all.Wait()
	for _, l := range lists {
		if len(l) != 1 || l[0].Value != lists[0][0].Value {
			t.Fatal("callers saw different keys")
		}
	}
	if got := e.tap.updates.Load(); got != 2 { // the host's and the function's
		t.Errorf("%d documents generated, want 2", got)
	}
}

func TestRingsOnOneStoreAgree(t *testing.T) {
	mem := memory.New()
	rings := []*env{newEnvOn(t, mem), newEnvOn(t, mem), newEnvOn(t, mem)}
	var all sync.WaitGroup
	for _, e := range rings {
		all.Go(func() {
			if err := errors.Join(e.Open(e.ctx), e.Ensure(e.ctx, []string{"f", "g"})); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, e := range rings {
		e.expect(rings[0].stored(keystore.HostDoc).Master.Value, "", keyring.AdminLevel, "master", keyring.Matched)
		e.expect(rings[0].stored("g").Keys[0].Value, "g", keyring.FunctionLevel, "default", keyring.Matched)
	}
}

func TestTheLoserOfACreationTakesTheWinnersKeys(t *testing.T) {
	for name, fail := range map[string]error{"seen by the change": nil, "reported as a conflict": problem.New(problem.Conflict, "somebody else wrote")} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			winner := hostSet("theirs", []accesskey.Key{key("default", "also theirs")}, nil)
			var once sync.Once
			e.tap.beforeUpdate(func() (err error) {
				once.Do(func() {
					e.put(keystore.HostDoc, winner)
					err = fail
				})
				return err
			})
			e.open()
			e.expect("theirs", "", keyring.AdminLevel, "master", keyring.Matched)
			if diff := cmp.Diff(winner, e.stored(keystore.HostDoc)); diff != "" {
				t.Error(diff)
			}
			if n := len(e.events.of(keyring.DocumentCreated)); n != 0 {
				t.Error("the ring claims to have created the keys")
			}
		})
	}
}

func TestUnusableStoresNeverCauseKeys(t *testing.T) {
	unavailable := problem.Wrap(problem.Unavailable, "no such share", problem.NotFound) // must not pass for "no document"
	for name, breakIt := range map[string]func(*env){
		"undecryptable": func(e *env) { e.mem.Corrupt(keystore.HostDoc); e.mem.Corrupt("f") },
		"unavailable":   func(e *env) { e.mem.SetUnavailable(true) },
		"looks missing": func(e *env) {
			e.tap.beforeLoad(func(context.Context, keystore.Doc) error { return unavailable })
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			breakIt(e)
			if err := e.Open(e.ctx); err == nil {
				t.Fatal("opened")
			}
			d := e.ask("some key of at least thirty-two characters", "f")
			if !d.Unavailable() || d.Level != keyring.Anonymous || d.Throttled {
				t.Errorf("decision %+v", d)
			}
			h := e.Health()
			if h.State != keyring.Unavailable || !strings.Contains(h.Reason, "memory") || !strings.Contains(h.Next, "latchkey doctor") {
				t.Errorf("health %+v", h)
			}
			if !strings.Contains(e.logs.String(), "no keys were generated") {
				t.Errorf("log: %s", e.logs)
			}
			if e.tap.updates.Load() != 0 {
				t.Error("the store was written")
			}
		})
	}
}

func TestLastGoodKeysStayInUse(t *testing.T) {
	for name, breakIt := range map[string]func(*env){
		"undecryptable": func(e *env) { e.mem.Corrupt("function1"); e.mem.Corrupt(keystore.HostDoc) },
		"unavailable":   func(e *env) { e.mem.SetUnavailable(true) },
		"disappeared": func(e *env) {
			_ = e.mem.Delete(e.ctx, "function1")
			_ = e.mem.Delete(e.ctx, keystore.HostDoc)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := standard(t)
			e.expect("f1value1", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
			breakIt(e)
			e.clock.Advance(2 * time.Minute)
			e.expect("wrong", "function1", keyring.Anonymous, "", keyring.Unknown) // makes it read again
			e.expect("mastervalue", "function1", keyring.AdminLevel, "master", keyring.Matched)
			e.expect("f1value2", "function1", keyring.FunctionLevel, "f1key2", keyring.Matched)
			h := e.Health()
			if h.State != keyring.Degraded || !strings.Contains(h.Reason, "last good keys") {
				t.Errorf("health %+v", h)
			}
			if e.tap.updates.Load() != 0 {
				t.Error("the store was written")
			}
			keys := must[[]accesskey.Key](t)(e.List(e.ctx, keyring.HostKeys()))
			if diff := cmp.Diff([]string{"hostkey1", "hostkey2"}, names(keys)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFunctionKeysUnreadableLeaveHostKeysWorking(t *testing.T) {
	e := standard(t)
	e.mem.Corrupt("function2")
	e.expect("hostvalue1", "function2", keyring.FunctionLevel, "hostkey1", keyring.Matched)
	e.expect("f2value1", "function2", keyring.Anonymous, "", keyring.StoreUnavailable)
	e.expect("f1value1", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
	if h := e.Health(); h.State != keyring.Degraded || !strings.Contains(h.Reason, "function2") {
		t.Errorf("health %+v", h)
	}
	before := e.tap.loads.Load()
	e.ask("f2value1", "function2")
	if e.tap.loads.Load() != before {
		t.Error("the store was asked again before the wait was over")
	}
	e.put("function2", accesskey.Set{Keys: []accesskey.Key{key("k", "mended")}})
	e.clock.Advance(time.Second)
	e.expect("mended", "function2", keyring.FunctionLevel, "k", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

func TestReadOnlyStoreWithoutKeysDenies(t *testing.T) {
	for name, e := range map[string]*env{
		"by nature":    newEnv(t, on(memory.New().ReadOnly())),
		"found out so": newEnv(t),
	} {
		t.Run(name, func(t *testing.T) {
			e.mem.SetReadOnly(true)
			e.open()
			for range 3 {
				e.expect("some key", "f", keyring.Anonymous, "", keyring.Unknown)
				e.clock.Advance(2 * time.Minute)
			}
			missing := e.events.of(keyring.DocumentMissing)
			if len(missing) != 2 || missing[0].Function != "" || missing[1].Function != "f" {
				t.Errorf("reports %v, want one for the host and one for f", missing)
			}
			if h := e.Health(); h.State != keyring.Degraded {
				t.Errorf("health %+v", h)
			}
			if _, _, err := e.Renew(e.ctx, keyring.HostKeys(), "k"); !errors.Is(err, problem.ReadOnly) {
				t.Errorf("renewing: %v", err)
			}
			if keys, err := e.List(e.ctx, keyring.FunctionKeys("f")); err != nil || len(keys) != 0 {
				t.Errorf("list %v, %v", names(keys), err)
			}
		})
	}
}

func TestReadOnlyStoreWithKeysWorks(t *testing.T) {
	mem := memory.New()
	mem.Put(keystore.HostDoc, keystore.Document{Keys: hostSet("m", nil, nil)})
	e := newEnv(t, on(mem.ReadOnly())).open()
	e.expect("m", "f", keyring.AdminLevel, "master", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

func TestStaleDocumentsAreSealedAnew(t *testing.T) {
	e := newEnv(t)
	host := hostSet("m", []accesskey.Key{key("h", "v")}, nil)
	fn := accesskey.Set{Keys: []accesskey.Key{key("k", "w")}}
	e.mem.Put(keystore.HostDoc, keystore.Document{Keys: host, Stale: true})
	e.mem.Put("f", keystore.Document{Keys: fn, Stale: true})
	e.open()
	e.expect("w", "f", keyring.FunctionLevel, "k", keyring.Matched)
	for doc, want := range map[keystore.Doc]accesskey.Set{keystore.HostDoc: host, "f": fn} {
		d, _, err := e.mem.Load(e.ctx, doc)
		if err != nil || d.Stale {
			t.Errorf("%s: stale %v, %v", doc, d.Stale, err)
		}
		if diff := cmp.Diff(want, d.Keys); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(e.events.of(keyring.DocumentResealed)); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestKeysInClearAreSealedAndNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		readOnly bool
		inClear  []string
		resealed string // text of the event, in part
		warned   string
	}{
		"old key":               {false, nil, "were sealed with an old key; they are sealed with the primary one now", ""},
		"in clear":              {false, []string{"the master key", `host key "h"`}, "were not all sealed; they are", `the master key, host key "h"; they are in force, and they are sealed now`},
		"in clear, not to seal": {true, []string{`host key "h"`}, "", `host key "h"; they are in force, and they are still in clear`},
	} {
		e := newEnv(t)
		e.mem.Put(keystore.HostDoc, keystore.Document{Keys: hostSet("m", []accesskey.Key{key("h", "v")}, nil), Stale: true, InClear: tc.inClear})
		e.mem.SetReadOnly(tc.readOnly)
		e.open()
		e.expect("v", "f", keyring.FunctionLevel, "h", keyring.Matched)
		one(t, name, e.events.of(keyring.DocumentResealed), slog.LevelInfo, tc.resealed)
		one(t, name, e.events.of(keyring.KeysInClear), slog.LevelWarn, tc.warned)
	}
}

// one wants one event with a text; none if the text is "".
func one(t *testing.T, name string, events []keyring.Event, level slog.Level, text string) {
	t.Helper()
	switch {
	case text == "" && len(events) == 0:
	case text == "" || len(events) != 1 || events[0].Level != level || !strings.Contains(events[0].Text, text):
		t.Errorf("%s: %+v, want %q", name, events, text)
	}
}

// TestAChangeSealsNothingSilently: the key in clear came after the last read.
func TestAChangeSealsNothingSilently(t *testing.T) {
	e := newEnv(t)
	e.mem.Put(keystore.HostDoc, keystore.Document{Keys: hostSet("m", nil, nil)})
	e.open()
	e.mem.Put(keystore.HostDoc, keystore.Document{
		Keys: hostSet("m", []accesskey.Key{key("evil", "v")}, nil), Stale: true, InClear: []string{`host key "evil"`},
	})
	if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "mine", "w"); err != nil {
		t.Fatal(err)
	}
	one(t, "set", e.events.of(keyring.KeysInClear), slog.LevelWarn, `host key "evil"`)
}

func TestStaleDocumentsThatCannotBeSealedAnewWork(t *testing.T) {
	e := newEnv(t)
	e.mem.Put(keystore.HostDoc, keystore.Document{Keys: hostSet("m", nil, nil), Stale: true})
	e.mem.SetReadOnly(true)
	e.open()
	e.expect("m", "", keyring.AdminLevel, "master", keyring.Matched)
}

func TestKeysThatAreNotIdentifiableAreReported(t *testing.T) {
	good := newKey(t, azfkey.Function)
	for m, want := range map[keyring.Mode]string{
		keyring.Default: "", keyring.Warn: "WARN", keyring.Enabled: "ERROR",
	} {
		e := newEnv(t, mode(m))
		e.put(keystore.HostDoc, hostSet(newKey(t, azfkey.Master), nil, nil))
		e.put("f", accesskey.Set{Keys: []accesskey.Key{key("good1", good), key("bad", "chosen by hand"), key("good2", newKey(t, azfkey.Function))}})
		e.open()
		for range 2 { // the second reading finds nothing new and says nothing
			e.ask("wrong", "F")
			e.clock.Advance(2 * time.Minute)
		}
		reads := slices.DeleteFunc(e.events.of(keyring.DocumentRead), func(ev keyring.Event) bool { return ev.Function == "" })
		if len(reads) != 2 || reads[0].Identifiable != 2 || reads[0].NotIdentifiable != 1 {
			t.Errorf("mode %v: reads %v", m, reads)
		}
		weak := e.events.of(keyring.WeakKey)
		if want == "" {
			if len(weak) != 0 {
				t.Errorf("mode %v: %v", m, weak)
			}
			continue
		}
		if len(weak) != 1 {
			t.Fatalf("mode %v: %d events, want 1", m, len(weak))
		}
		w := weak[0]
		text := "A non highly-identifiable secret has been loaded by the application: (KeyType:Function, KeyName:bad, FunctionName:F)."
		if w.Text != text || w.Code != "AZFD0012" || w.Help == "" || w.Level.String() != want {
			t.Errorf("mode %v: %+v", m, w)
		}
		if strings.Contains(e.logs.String(), "chosen by hand") {
			t.Error("a value was logged")
		}
	}
}

func TestReadsAreMeasured(t *testing.T) {
	e := newEnv(t)
	e.tap.beforeLoad(func(context.Context, keystore.Doc) error {
		e.clock.Advance(40 * time.Millisecond)
		return nil
	})
	e.open()
	reads := e.events.of(keyring.DocumentRead)
	if len(reads) != 1 || reads[0].Took != 40*time.Millisecond {
		t.Errorf("reads %v", reads)
	}
}
