package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

func (e *env) declare(sec keyring.Section, list ...keyring.Declared) []keyring.DeclaredKey {
	e.t.Helper()
	done, err := e.Declare(e.ctx, sec, list)
	if err != nil {
		e.t.Fatal(err)
	}
	return done
}

func outcomes(done []keyring.DeclaredKey) (list []string) {
	for _, d := range done {
		list = append(list, d.Outcome.String())
	}
	return list
}

func (e *env) value(sec keyring.Section, name string) string {
	e.t.Helper()
	k, err := e.Get(e.ctx, sec, name)
	if err != nil {
		e.t.Fatal(err)
	}
	return k.Value
}

func onlyFrom(network string) func(*accesskey.Meta) {
	return func(m *accesskey.Meta) { m.CIDRs = []netip.Prefix{netip.MustParsePrefix(network)} }
}

func TestDeclaredValuesAreNotPrinted(t *testing.T) {
	e := newEnv(t)
	want := keyring.Declared{Name: "partner", Value: "a-value-that-nobody-may-see"}
	done := e.declare(hostKeys, want)
	for _, text := range []string{fmt.Sprint(want), fmt.Sprintf("%+v %#v", want, done), fmt.Sprintf("%v", []any{&want, &done[0]})} {
		if strings.Contains(text, want.Value) || !strings.Contains(text, want.Name) {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestDeclaringTwiceChangesNothing(t *testing.T) {
	e := limitedEnv(t)
	list := []keyring.Declared{
		{Name: "k1", Value: "another value"},
		{Name: "k2", Meta: func(m *accesskey.Meta) { m.Note = "of the partner" }},
		{Name: "made"},
		{Name: "given", Value: "given value", Meta: onlyFrom("10.0.0.0/8")},
	}
	if diff := cmp.Diff([]string{"updated", "updated", "created", "created"}, outcomes(e.declare(hostKeys, list...))); diff != "" {
		t.Fatal(diff)
	}
	made := e.value(hostKeys, "made")
	_, rev, _ := e.mem.Load(e.ctx, keystore.HostDoc)
	updates := e.tap.updates.Load()
	before, _ := e.events.all()
	for range 3 {
		if diff := cmp.Diff([]string{"unchanged", "unchanged", "unchanged", "unchanged"}, outcomes(e.declare(hostKeys, list...))); diff != "" {
			t.Fatal(diff)
		}
	}
	_, again, _ := e.mem.Load(e.ctx, keystore.HostDoc)
	if again != rev || e.tap.updates.Load() != updates || e.value(hostKeys, "made") != made {
		t.Errorf("revision %s, then %s; %d writes", rev, again, e.tap.updates.Load()-updates)
	}
	if after, _ := e.events.all(); changes(after) != changes(before) {
		t.Errorf("events of changes: %v", after[len(before):])
	}
	if e.value(hostKeys, "k2") != "plain value" {
		t.Error("a value that nothing was said about changed")
	}
}

func changes(events []keyring.Event) (n int) {
	for _, e := range events {
		switch e.Type {
		case keyring.KeyCreated, keyring.KeyUpdated, keyring.KeyDeleted, keyring.KeyRestricted, keyring.KeysChanged:
			n++
		}
	}
	return n
}

func TestDeclaredKeyIsNeverInForceWithoutItsRestrictions(t *testing.T) {
	e := limitedEnv(t)
	updates := e.tap.updates.Load()
	e.declare(hostKeys, keyring.Declared{Name: "partner", Value: "partner value", Meta: onlyFrom("10.0.0.0/8")})
	if n := e.tap.updates.Load() - updates; n != 1 {
		t.Errorf("%d writes", n)
	}
	if d := e.present("partner value", "GET", "10.1.2.3"); d.Reason != keyring.Matched {
		t.Error(d)
	}
	if d := e.present("partner value", "GET", "192.0.2.1"); d.Reason != keyring.SourceNotAllowed {
		t.Error(d)
	}
}

func TestDeclaredKeyThatCannotBeDoesNotKeepOthersFromBeing(t *testing.T) {
	e := limitedEnv(t, func(c *keyring.Config) { c.Mode = keyring.Enabled })
	e.limit(func(m *accesskey.Meta) { m.Note = "restricted" })
	past := func(m *accesskey.Meta) { m.Expires = e.clock.Now().Add(-time.Hour) }
	done := e.declare(hostKeys,
		keyring.Declared{Name: "weak", Value: "chosen by people"},
		keyring.Declared{Name: "..", Value: ""},
		keyring.Declared{Name: "late", Meta: past},
		keyring.Declared{Name: "k2", Value: "short", Meta: func(m *accesskey.Meta) { m.Note = "half" }},
		keyring.Declared{Name: "good"},
	)
	if diff := cmp.Diff([]string{"failed", "failed", "failed", "failed", "created"}, outcomes(done)); diff != "" {
		t.Fatal(diff)
	}
	for _, d := range done[:4] {
		if problem.KindOf(d.Err) != problem.Invalid {
			t.Errorf("%s: %v", d.Name, d.Err)
		}
	}
	for _, name := range []string{"weak", "late"} {
		if _, err := e.Get(e.ctx, hostKeys, name); !errors.Is(err, problem.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if k, _ := e.Get(e.ctx, hostKeys, "k2"); k.Value != "plain value" || k.HasMeta() {
		t.Error("a key that failed was changed in part")
	}
}

func TestDeclaringDoesNotBringFormerValueBack(t *testing.T) {
	e := limitedEnv(t)
	if _, err := e.Rotate(e.ctx, hostKeys, "k2", time.Hour); err != nil {
		t.Fatal(err)
	}
	now := e.value(hostKeys, "k2")
	done := e.declare(hostKeys, keyring.Declared{Name: "k2", Value: "plain value"})
	if done[0].Outcome != keyring.Failed || e.value(hostKeys, "k2") != now {
		t.Errorf("%+v", done)
	}
}

func TestDeclaredMasterAndFunctionKeys(t *testing.T) {
	e := limitedEnv(t)
	done := e.declare(keyring.MasterKey(), keyring.Declared{Name: accesskey.MasterName, Value: "declared master value"})
	if done[0].Outcome != keyring.Updated || !done[0].Replaced || e.value(keyring.MasterKey(), accesskey.MasterName) != "declared master value" {
		t.Errorf("%+v", done)
	}
	sec := keyring.FunctionKeys("fresh")
	done = e.declare(sec, keyring.Declared{Name: "own", Value: "own value"})
	if done[0].Outcome != keyring.Created || e.value(sec, "own") != "own value" {
		t.Errorf("%+v", done)
	}
	if e.value(sec, "default") == "" {
		t.Error("the function has no default key")
	}
}

func TestDeclaredKeysInStoreThatCannotBeWritten(t *testing.T) {
	e := limitedEnv(t)
	e.tap.beforeUpdate(func() error { return keystore.ErrReadOnly })
	if done := e.declare(hostKeys, keyring.Declared{Name: "k2", Value: "plain value"}); done[0].Outcome != keyring.Unchanged {
		t.Errorf("%+v", done)
	}
	if _, err := e.Declare(e.ctx, hostKeys, []keyring.Declared{{Name: "new"}}); !errors.Is(err, keystore.ErrReadOnly) {
		t.Error(err)
	}
}

func TestKeysDeclaredByManyAtOnceAreMadeOnce(t *testing.T) {
	e := limitedEnv(t)
	const writers = 16
	created := make(chan int, writers)
	for range writers {
		other, err := keyring.New(keyring.Config{Store: e.tap, Clock: e.clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.Close)
		go func() {
			done, err := other.Declare(context.Background(), hostKeys, []keyring.Declared{{Name: "shared"}})
			if err != nil || done[0].Err != nil {
				t.Error(err, done)
			}
			n := 0
			if err == nil && done[0].Outcome == keyring.Created {
				n = 1
			}
			created <- n
		}()
	}
	sum := 0
	for range writers {
		sum += <-created
	}
	if sum != 1 {
		t.Errorf("created %d times", sum)
	}
}

func TestDeclaredKeyThatIsNotIdentifiableIsWarnedAbout(t *testing.T) {
	for mode, want := range map[keyring.Mode]int{keyring.Default: 0, keyring.Warn: 1} {
		e := newEnv(t, func(c *keyring.Config) { c.Mode = mode }).open()
		if done := e.declare(hostKeys, keyring.Declared{Name: "partner", Value: "chosen by people"}); done[0].Outcome != keyring.Created {
			t.Fatalf("%+v", done)
		}
		weak := e.events.of(keyring.WeakKey)
		if len(weak) != want {
			t.Fatalf("mode %v: %d warnings", mode, len(weak))
		}
		if want > 0 && (weak[0].Name != "partner" || weak[0].Code != "AZFD0012") {
			t.Errorf("%+v", weak[0])
		}
	}
}
