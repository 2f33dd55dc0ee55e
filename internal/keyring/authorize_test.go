package keyring_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
)

// standard is the store of the stock host's authorisation tests.
func standard(t *testing.T, options ...func(*keyring.Config)) *env {
	e := newEnv(t, options...)
	e.put(keystore.HostDoc, hostSet("mastervalue",
		[]accesskey.Key{key("hostkey1", "hostvalue1"), key("hostkey2", "hostvalue2")},
		[]accesskey.Key{key("system1", "systemvalue1"), key("system2", "systemvalue2")}))
	e.put("function1", accesskey.Set{Keys: []accesskey.Key{key("f1key1", "f1value1"), key("f1key2", "f1value2")}})
	e.put("function2", accesskey.Set{Keys: []accesskey.Key{key("f2key1", "f2value1"), key("f2key2", "f2value2")}})
	return e.open()
}

func TestAuthorizeByKindAndFunction(t *testing.T) {
	e := standard(t)
	for range 3 { // the answer must not depend on what was asked before
		e.expect("f1value1", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
		e.expect("f1value2", "FUNCTION1", keyring.FunctionLevel, "f1key2", keyring.Matched)
		e.expect("f2value1", "function2", keyring.FunctionLevel, "f2key1", keyring.Matched)
		e.expect("f2value1", "function1", keyring.Anonymous, "", keyring.OtherFunction)
		e.expect("f1value1", "", keyring.Anonymous, "", keyring.OtherFunction)
		e.expect("nothing", "function1", keyring.Anonymous, "", keyring.Unknown)
		e.expect("F1VALUE1", "function1", keyring.Anonymous, "", keyring.Unknown)
		e.expect("f1value1 ", "function1", keyring.Anonymous, "", keyring.Unknown)
		e.expect("hostvalue2", "function1", keyring.FunctionLevel, "hostkey2", keyring.Matched)
		e.expect("hostvalue1", "function2", keyring.FunctionLevel, "hostkey1", keyring.Matched)
		e.expect("mastervalue", "function1", keyring.AdminLevel, "master", keyring.Matched)
		e.expect("mastervalue", "", keyring.AdminLevel, "master", keyring.Matched)
		e.expect("systemvalue1", "", keyring.SystemLevel, "system1", keyring.Matched)
		e.expect("systemvalue2", "function1", keyring.SystemLevel, "system2", keyring.Matched)
		e.expect("", "function1", keyring.Anonymous, "", keyring.NoKey)
	}
}

func TestOneValueInSeveralPlacesTakesTheFirst(t *testing.T) {
	e := newEnv(t)
	e.put(keystore.HostDoc, hostSet("m",
		[]accesskey.Key{key("h1", "host twice"), key("h2", "host twice"), key("h3", "sys and host"), key("h4", "host and function"), key("h5", "m")},
		[]accesskey.Key{key("s1", "sys and host"), key("s2", "m")}))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("a", "host and function"), key("b", "own twice"), key("c", "own twice"), key("h1", "own value of h1")}})
	e.open()
	e.expect("m", "f", keyring.AdminLevel, "master", keyring.Matched)
	e.expect("sys and host", "f", keyring.SystemLevel, "s1", keyring.Matched)
	e.expect("host twice", "f", keyring.FunctionLevel, "h1", keyring.Matched)
	e.expect("host and function", "f", keyring.FunctionLevel, "h4", keyring.Matched)
	e.expect("own twice", "f", keyring.FunctionLevel, "b", keyring.Matched)
	e.expect("own value of h1", "f", keyring.FunctionLevel, "h1", keyring.Matched) // both keys named h1 work
	if d := e.ask("own twice", "f"); d.Kind != accesskey.Function {
		t.Errorf("kind %v", d.Kind)
	}
	if d := e.ask("host and function", "f"); d.Kind != accesskey.Host {
		t.Errorf("kind %v", d.Kind)
	}
}

func TestValuesThatNeverMatch(t *testing.T) {
	e := newEnv(t)
	long := strings.Repeat("x", keyring.MaxValue)
	e.put(keystore.HostDoc, hostSet("", []accesskey.Key{key("empty", ""), key("longest", long), key("toolong", long+"x"), key("Twice", "first"), key("twice", "second")}, nil))
	e.put("f", accesskey.Set{})
	e.open()
	e.expect("", "f", keyring.Anonymous, "", keyring.NoKey)
	e.expect(long, "f", keyring.FunctionLevel, "longest", keyring.Matched)
	e.expect(long+"x", "f", keyring.Anonymous, "", keyring.TooLong)
	e.expect("first", "f", keyring.FunctionLevel, "Twice", keyring.Matched)
	e.expect("second", "f", keyring.Anonymous, "", keyring.Unknown)
	if got := len(e.events.of(keyring.KeysIgnored)); got != 1 {
		t.Errorf("%d events about ignored keys, want 1", got)
	}
	if got := len(e.events.of(keyring.MasterMissing)); got != 1 {
		t.Errorf("%d events about the missing master key, want 1", got)
	}
}

func TestHandlesExistOnlyForNamesThatCanHaveKeys(t *testing.T) {
	e := standard(t)
	for _, name := range []string{"", "host", "HOST"} {
		if e.Function(name) != nil {
			t.Errorf("function %q has a handle", name)
		}
	}
	if e.Function("Function1") != e.Function("function1") {
		t.Error("two handles for one function")
	}
}

// reference decides as the rules are written down, slowly.
func reference(host accesskey.Set, own []accesskey.Key, presented string) (keyring.Level, string) {
	if presented == "" {
		return keyring.Anonymous, ""
	}
	if presented == host.Master.Value {
		return keyring.AdminLevel, "master"
	}
	for i, list := range [][]accesskey.Key{host.System, host.Keys, own} {
		for _, k := range list {
			if k.Value == presented {
				return []keyring.Level{keyring.SystemLevel, keyring.FunctionLevel, keyring.FunctionLevel}[i], k.Name
			}
		}
	}
	return keyring.Anonymous, ""
}

func TestAuthorizeAgreesWithTheReference(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			// Few distinct values, so that they coincide across lists.
			list := func(prefix string) []accesskey.Key {
				var keys []accesskey.Key
				for i := range rng.IntN(8) {
					keys = append(keys, key(fmt.Sprint(prefix, i), fmt.Sprint("v", rng.IntN(30))))
				}
				return keys
			}
			host := hostSet(fmt.Sprint("v", rng.IntN(30)), list("h"), list("s"))
			e := newEnv(t)
			e.put(keystore.HostDoc, host)
			own := map[string][]accesskey.Key{"": nil}
			for i := range 4 {
				name := fmt.Sprint("fn", i)
				own[name] = list("k")
				e.put(keystore.FunctionDoc(name), accesskey.Set{Keys: own[name]})
			}
			e.open()
			if err := e.Ensure(e.ctx, []string{"fn0", "fn1", "fn2", "fn3"}); err != nil {
				t.Fatal(err)
			}
			for function, keys := range own {
				for i := -1; i < 32; i++ {
					presented := ""
					if i >= 0 {
						presented = fmt.Sprint("v", i)
					}
					level, name := reference(host, keys, presented)
					if d := e.Match(presented, e.Function(function)); d.Level != level || d.Name != name {
						t.Errorf("%q at %q: %v %q, want %v %q", presented, function, d.Level, d.Name, level, name)
					}
				}
			}
		})
	}
}

func TestStrictModeRefusesKeysThatAreNotIdentifiable(t *testing.T) {
	good, system := newKey(t, azfkey.Function), newKey(t, azfkey.System)
	for _, m := range []keyring.Mode{keyring.Default, keyring.Warn, keyring.Enabled} {
		e := newEnv(t, mode(m))
		e.put(keystore.HostDoc, hostSet(good, []accesskey.Key{key("h", system)}, []accesskey.Key{key("s", system)}))
		e.put("f", accesskey.Set{Keys: []accesskey.Key{key("bad", "chosen"), key("good", good)}})
		e.open()
		for range 3 {
			e.expect(system, "f", keyring.SystemLevel, "s", keyring.Matched)
			if m == keyring.Enabled {
				e.expect("chosen", "f", keyring.Anonymous, "", keyring.NotIdentifiable)
				// As a master key it has the wrong mark, as a function key the right one.
				e.expect(good, "f", keyring.FunctionLevel, "good", keyring.Matched)
				continue
			}
			e.expect("chosen", "f", keyring.FunctionLevel, "bad", keyring.Matched)
			e.expect(good, "f", keyring.AdminLevel, "master", keyring.Matched)
		}
	}
}

func TestAuthorizeDuringRotations(t *testing.T) {
	e := newEnv(t).open()
	if err := e.Ensure(e.ctx, []string{"f", "g"}); err != nil {
		t.Fatal(err)
	}
	stay, _, err := e.Renew(e.ctx, keyring.HostKeys(), "stay")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(e.ctx)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			f := e.Function("f")
			for ctx.Err() == nil {
				if d := e.Authorize(ctx, keyring.Request{Key: stay.Value, Function: f, Source: source}); d.Name != "stay" {
					t.Errorf("a key that stays was refused: %v", d.Reason)
					return
				}
				e.Authorize(ctx, keyring.Request{Key: "wrong", Function: f, Source: source})
			}
		})
	}
	var writers sync.WaitGroup
	for _, sec := range []keyring.Section{keyring.FunctionKeys("f"), keyring.FunctionKeys("g"), keyring.HostKeys(), keyring.MasterKey()} {
		writers.Go(func() { rotate(e, sec) })
	}
	writers.Wait()
	stop()
	readers.Wait()
}

// rotate renews a key and checks each time that the change is seen at once.
func rotate(e *env, sec keyring.Section) {
	old := ""
	for range 50 {
		k, _, err := e.Renew(e.ctx, sec, accesskeyName(sec))
		if err != nil {
			e.t.Error(err)
			return
		}
		if d := e.Match(k.Value, e.Function(sec.Function)); d.Reason != keyring.Matched {
			e.t.Errorf("%v: a renewed key does not work: %v", sec.Kind, d.Reason)
		}
		if d := e.Match(old, e.Function(sec.Function)); d.Reason == keyring.Matched {
			e.t.Errorf("%v: a replaced key still works", sec.Kind)
		}
		old = k.Value
	}
}

func accesskeyName(sec keyring.Section) string {
	if sec.Kind == accesskey.Master {
		return accesskey.MasterName
	}
	return "rotating"
}

func TestConfigNeedsAStore(t *testing.T) {
	if _, err := keyring.New(keyring.Config{Clock: clock.Real{}}); err == nil {
		t.Error("a ring without a store")
	}
}

func TestParseMode(t *testing.T) {
	for flags, want := range map[string]keyring.Mode{
		"": keyring.Default, "Other,EnableWorkerIndexing": keyring.Default,
		"StrictHISModeWarn": keyring.Warn, "a, stricthismodewarn ,b": keyring.Warn,
		"StrictHISModeEnabled": keyring.Enabled, "StrictHISModeWarn,STRICTHISMODEENABLED": keyring.Enabled,
		"StrictHISModeEnabled,StrictHISModeWarn": keyring.Enabled, "StrictHISModeEnabledX": keyring.Default,
	} {
		if got := keyring.ParseMode(flags); got != want {
			t.Errorf("%q: %v, want %v", flags, got, want)
		}
	}
}
