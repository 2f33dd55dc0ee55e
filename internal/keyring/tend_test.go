package keyring_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

func every(d, overlap time.Duration) func(*accesskey.Meta) error {
	return func(m *accesskey.Meta) error { m.RotateEvery, m.Overlap = d, overlap; return nil }
}

// A ring that nobody asked for anything tends the keys of an app that does not run.
func TestTendLooksAfterDocumentsThatNobodyRead(t *testing.T) {
	first := limitedEnv(t)
	must[accesskey.Key](t)(first.SetMeta(first.ctx, keyring.FunctionKeys("fn"), "default", every(48*time.Hour, time.Hour)))
	e := newEnvOn(t, first.mem)
	start := e.clock.Now()
	got := must[keyring.Tended](t)(e.Tend(e.ctx))
	if len(got.Rotated) != 0 || !got.Next.Equal(start.Add(48*time.Hour)) {
		t.Fatalf("before it was due: %+v", got)
	}
	e.clock.Advance(48 * time.Hour)
	got = must[keyring.Tended](t)(e.Tend(e.ctx))
	if len(got.Rotated) != 1 || got.Rotated[0].Retired == "" || !got.Next.Equal(e.clock.Now().Add(48*time.Hour)) {
		t.Fatalf("when it was due: %+v", got)
	}
	told := e.events.of(keyring.KeyRotated)
	if len(told) != 1 || told[0].Cause != keyring.Scheduled || told[0].Name != "default" || told[0].Retired != got.Rotated[0].Retired {
		t.Errorf("told as %+v", told)
	}
	e.clock.Advance(time.Hour + 7*24*time.Hour + time.Second)
	must[accesskey.Key](t)(e.SetMeta(e.ctx, keyring.FunctionKeys("fn"), "default", every(0, 0)))
	got = must[keyring.Tended](t)(e.Tend(e.ctx))
	if len(got.Removed) != 1 || !got.Next.IsZero() {
		t.Errorf("after the grace period: %+v", got)
	}
}

func TestTendMakesNothing(t *testing.T) {
	e := newEnv(t)
	if got := must[keyring.Tended](t)(e.Tend(e.ctx)); len(got.Rotated) != 0 || !got.Next.IsZero() {
		t.Errorf("%+v", got)
	}
	if docs := must[[]keystore.Doc](t)(e.mem.List(e.ctx)); len(docs) != 0 {
		t.Errorf("an app that never had keys has %v", docs)
	}
}

// Of several nodes that tend the same store at once one rotates.
func TestTendRotatesOnceOverAllNodes(t *testing.T) {
	first := limitedEnv(t)
	must[accesskey.Key](t)(first.SetMeta(first.ctx, hostKeys, "k1", every(2*time.Hour, time.Hour)))
	nodes := []*env{newEnvOn(t, first.mem), newEnvOn(t, first.mem), newEnvOn(t, first.mem)}
	done := make(chan int)
	for _, e := range nodes {
		e.clock.Advance(2 * time.Hour)
		go func() {
			got, err := e.Tend(e.ctx)
			if err != nil {
				t.Error(err)
			}
			done <- len(got.Rotated)
		}()
	}
	total := 0
	for range nodes {
		total += <-done
	}
	if total != 1 {
		t.Errorf("rotated %d times", total)
	}
}

func TestTendDoesNotTryAStoreThatCannotBeWritten(t *testing.T) {
	e := limitedEnv(t)
	must[accesskey.Key](t)(e.SetMeta(e.ctx, hostKeys, "k1", every(2*time.Hour, time.Hour)))
	ro := newEnvOn(t, e.mem.ReadOnly())
	ro.clock.Advance(2 * time.Hour)
	got, err := ro.Tend(ro.ctx)
	if !errors.Is(err, problem.ReadOnly) || problem.NextOf(err) == "" || !strings.Contains(err.Error(), "k1") {
		t.Errorf("%v", err)
	}
	if n := ro.tap.updates.Load(); n != 0 || len(got.Rotated) != 0 {
		t.Errorf("%d writes, %+v", n, got)
	}
}

func TestAKeyThatHasExpiredIsNotRotated(t *testing.T) {
	e := limitedEnv(t)
	must[accesskey.Key](t)(e.SetMeta(e.ctx, hostKeys, "k1", func(m *accesskey.Meta) error {
		m.RotateEvery, m.Expires = 48*time.Hour, e.clock.Now().Add(time.Hour)
		return nil
	}))
	if got := must[keyring.Tended](t)(e.Tend(e.ctx)); !got.Next.IsZero() {
		t.Errorf("%+v", got)
	}
	e.clock.Advance(49 * time.Hour)
	if got := must[keyring.Tended](t)(e.Tend(e.ctx)); len(got.Rotated) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestFormerMasterKeysAreListedAndCanBeEnded(t *testing.T) {
	e := limitedEnv(t)
	one := must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
	e.clock.Advance(time.Minute)
	two := must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
	list := must[[]accesskey.Key](t)(e.List(e.ctx, keyring.MasterKey()))
	if len(list) != 3 || list[0].Value != two.Key.Value || list[1].Name != one.Retired || list[2].Name != two.Retired {
		t.Fatalf("listed %+v", list)
	}
	for i, k := range list[1:] {
		m, err := k.Meta()
		if err != nil || m.Retires != accesskey.MasterName || !m.Expires.Equal([]time.Time{one.Until, two.Until}[i]) || !k.HashOnly || strings.Contains(k.Value, "lkh1") {
			t.Errorf("%+v %+v %v", k, m, err)
		}
	}
	if got := must[accesskey.Key](t)(e.Get(e.ctx, keyring.MasterKey(), strings.ToUpper(one.Retired))); got.Name != one.Retired {
		t.Errorf("got %+v", got)
	}
	if err := e.Delete(e.ctx, keyring.MasterKey(), one.Retired); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(e.ctx, keyring.MasterKey(), one.Retired); !errors.Is(err, problem.NotFound) {
		t.Errorf("a second time: %v", err)
	}
	e.expect("mastervalue", "fn", keyring.Anonymous, "", keyring.Unknown)
	e.expect(one.Key.Value, "fn", keyring.AdminLevel, "master", keyring.Matched)
	if err := e.EndOverlap(e.ctx, keyring.MasterKey(), ""); err != nil {
		t.Fatal(err)
	}
	e.expect(one.Key.Value, "fn", keyring.Anonymous, "", keyring.Unknown)
	e.expect(two.Key.Value, "fn", keyring.AdminLevel, "master", keyring.Matched)
	if list := must[[]accesskey.Key](t)(e.List(e.ctx, keyring.MasterKey())); len(list) != 1 {
		t.Errorf("listed %+v", list)
	}
}

func TestUseOfARetiredKeyIsToldPerClassOfSource(t *testing.T) {
	e := limitedEnv(t)
	must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
	for range 3 {
		e.present(limitedValue, "GET", "10.0.0.1")
		e.present(limitedValue, "GET", "198.51.100.7")
		e.present(limitedValue, "GET", "198.51.100.8")
	}
	var classes []string
	for _, used := range e.events.of(keyring.RetiredKeyUsed) {
		if used.Cause != keyring.Presented {
			t.Errorf("cause %s", used.Cause)
		}
		classes = append(classes, used.From.String())
	}
	if slices.Sort(classes); !slices.Equal(classes, []string{"private", "public"}) {
		t.Errorf("told of %v", classes)
	}
}

// Keys of a function that is gone are not rotated, which would keep them for ever,
// and do not come into use by being looked at: it may come back too late.
func TestTendLeavesFunctionsThatAreGone(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	must[accesskey.Key](t)(e.SetMeta(e.ctx, keyring.FunctionKeys("f"), "default", every(48*time.Hour, time.Hour)))
	e.tend("g")
	before := e.stored("f")
	refusing := &noDelete{Store: e.mem, err: problem.New(keystore.ErrReadOnly, "no permission")}
	next := e.again(l, on(refusing))
	next.Deployed([]string{"g"})
	for range 20 {
		next.clock.Advance(48 * time.Hour)
		if got, err := next.Tend(next.ctx); len(got.Rotated) > 0 {
			t.Fatalf("rotated %v, %v", got.Rotated, err)
		}
	}
	if got := e.stored("f"); len(got.Keys) != 1 || got.Keys[0].Value != before.Keys[0].Value {
		t.Errorf("%d keys", len(got.Keys))
	}
	next.Deployed([]string{"f", "g"}) // too late, and nothing has been tended yet
	if d := next.ask("the-key-of-f", "f"); d.Reason == keyring.Matched {
		t.Error("an old key works")
	}
}

func TestTendWaitsUntilItIsKnownWhichFunctionsAreGone(t *testing.T) {
	l := &list{}
	e := twoFunctions(t, l)
	for _, sec := range []keyring.Section{hostKeys, keyring.FunctionKeys("f")} {
		if _, _, err := e.Set(e.ctx, sec, "own", "a-value-of-its-own-that-is-long"); err != nil {
			t.Fatal(err)
		}
		must[accesskey.Key](t)(e.SetMeta(e.ctx, sec, "own", every(48*time.Hour, time.Hour)))
	}
	e.clock.Advance(48 * time.Hour)
	away := problem.New(problem.Unavailable, "away")
	l.fail(away)
	if got, err := e.Tend(e.ctx); len(got.Rotated) != 1 || !errors.Is(err, away) {
		t.Errorf("rotated %d, %v", len(got.Rotated), err)
	}
	l.fail(nil)
	if got, err := e.Tend(e.ctx); len(got.Rotated) != 1 || err != nil {
		t.Errorf("rotated %d, %v", len(got.Rotated), err)
	}
}
