package keyring_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestRotateKeepsTheOldValueForTheOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		sec   keyring.Section
		key   string
		old   string
		level keyring.Level
		shown string
	}{
		"host":                    {hostKeys, "k1", limitedValue, keyring.FunctionLevel, "k1"},
		"system":                  {keyring.SystemKeys(), "s1", "system value", keyring.SystemLevel, "s1"},
		"function":                {keyring.FunctionKeys("fn"), "default", "fn value", keyring.FunctionLevel, "default"},
		"master":                  {keyring.MasterKey(), "_master", "mastervalue", keyring.AdminLevel, "master"},
		"master by reserved name": {hostKeys, "_master", "mastervalue", keyring.AdminLevel, "master"},
	} {
		t.Run(name, func(t *testing.T) {
			e := limitedEnv(t)
			got := must[keyring.Rotation](t)(e.Rotate(e.ctx, c.sec, c.key, 0))
			if !got.Until.Equal(e.clock.Now().Add(24*time.Hour)) || got.Key.Value == c.old {
				t.Errorf("rotation %+v", got)
			}
			e.expect(got.Key.Value, "fn", c.level, c.shown, keyring.Matched)
			e.expect(c.old, "fn", c.level, c.shown, keyring.Matched)
			if d := e.ask(c.old, "fn"); d.Retired != got.Retired || got.Retired == "" {
				t.Errorf("the old value is not told from the new one: %+v", d)
			}
			if d := e.ask(got.Key.Value, "fn"); d.Retired != "" {
				t.Errorf("the new value is taken for the old: %+v", d)
			}
			if used := e.events.of(keyring.RetiredKeyUsed); len(used) != 1 || used[0].Name != c.shown {
				t.Errorf("events %+v", used)
			}
			again := newEnvOn(t, e.mem).open() // another node, or after a restart
			again.expect(c.old, "fn", c.level, c.shown, keyring.Matched)
			e.clock.Advance(24 * time.Hour)
			e.expect(c.old, "fn", keyring.Anonymous, c.shown, keyring.KeyExpired)
			e.expect(got.Key.Value, "fn", c.level, c.shown, keyring.Matched)
			if refused := e.events.of(keyring.KeyRefused); len(refused) != 1 || refused[0].Retired != got.Retired {
				t.Errorf("reuse of a former value is told as %+v", refused)
			}
			removed := must[[]keyring.KeyRef](t)(e.Retire(e.ctx))
			if len(removed) != 0 {
				t.Errorf("removed within the grace period: %v", removed)
			}
			e.clock.Advance(7*24*time.Hour + time.Second)
			if removed = must[[]keyring.KeyRef](t)(e.Retire(e.ctx)); len(removed) != 1 {
				t.Errorf("removed %v", removed)
			}
			e.expect(c.old, "fn", keyring.Anonymous, "", keyring.Unknown)
			e.expect(got.Key.Value, "fn", c.level, c.shown, keyring.Matched)
			if strings.Contains(e.logs.String(), c.old) || strings.Contains(e.logs.String(), got.Key.Value) {
				t.Error("a value is in the log")
			}
		})
	}
}

func TestFormerValuesEndWithoutMetadata(t *testing.T) {
	e := newEnv(t)
	mem := flat{e.mem}
	e = newEnvOn(t, e.mem, on(mem)).open()
	old := must[accesskey.Key](t)(e.Get(e.ctx, hostKeys, "default"))
	must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "default", time.Hour))
	e.drop(keystore.HostDoc, nil) // what such a store keeps
	again := newEnvOn(t, e.mem, on(mem)).open()
	again.expect(old.Value, "fn", keyring.FunctionLevel, "default", keyring.Matched)
	again.clock.Advance(time.Hour)
	again.expect(old.Value, "fn", keyring.Anonymous, "default", keyring.KeyExpired)
}

func TestRotateRefuses(t *testing.T) {
	e := limitedEnv(t)
	first := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
	for name, c := range map[string]struct {
		key     string
		overlap time.Duration
		want    error
		says    string
	}{
		"no such key":       {"missing", 0, problem.NotFound, ""},
		"overlap too long":  {"k1", accesskey.MaxOverlap + time.Second, problem.Invalid, "overlap:"},
		"overlap too short": {"k1", time.Millisecond, problem.Invalid, "overlap:"},
		"overlap negative":  {"k1", -time.Hour, problem.Invalid, "overlap:"},
		"former value":      {first.Retired, 0, problem.Invalid, "former value"},
	} {
		if _, err := e.Rotate(e.ctx, hostKeys, c.key, c.overlap); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{first.Retired, accesskey.RetiredName("mine", e.clock.Now())} {
		if _, _, err := e.Set(e.ctx, hostKeys, name, "value"); !errors.Is(err, problem.Invalid) {
			t.Errorf("set %s: %v", name, err)
		}
	}
	for _, sec := range []keyring.Section{hostKeys, keyring.SystemKeys()} {
		if _, _, err := e.Set(e.ctx, sec, "other", limitedValue); !errors.Is(err, problem.Invalid) {
			t.Errorf("a former value was set as another key: %v", err)
		}
	}
	if _, err := e.SetMeta(e.ctx, hostKeys, first.Retired, func(m *accesskey.Meta) error { m.Expires = time.Time{}; return nil }); !errors.Is(err, problem.Invalid) {
		t.Errorf("a former value was freed: %v", err)
	}
}

func TestReplacingAndDeletingEndFormerValues(t *testing.T) {
	for name, end := range map[string]func(e *env, sec keyring.Section, key string) error{
		"renew": func(e *env, sec keyring.Section, key string) error { _, _, err := e.Renew(e.ctx, sec, key); return err },
		"set": func(e *env, sec keyring.Section, key string) error {
			_, _, err := e.Set(e.ctx, sec, key, "brand new "+sec.Kind.String())
			return err
		},
		"end overlap": func(e *env, sec keyring.Section, key string) error { return e.EndOverlap(e.ctx, sec, key) },
		"delete": func(e *env, sec keyring.Section, key string) error {
			if sec.Kind == accesskey.Master {
				return e.EndOverlap(e.ctx, sec, key)
			}
			return e.Delete(e.ctx, sec, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := limitedEnv(t)
			for range 2 {
				must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
				must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
			}
			e.expect(limitedValue, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
			e.expect("mastervalue", "fn", keyring.AdminLevel, "master", keyring.Matched)
			for sec, key := range map[keyring.Section]string{hostKeys: "K1", keyring.MasterKey(): ""} {
				if err := end(e, sec, key); err != nil {
					t.Fatal(err)
				}
			}
			e.expect(limitedValue, "fn", keyring.Anonymous, "", keyring.Unknown)
			e.expect("mastervalue", "fn", keyring.Anonymous, "", keyring.Unknown)
			if n := len(e.stored(keystore.HostDoc).Keys); n > 2 {
				t.Errorf("%d keys are left", n)
			}
		})
	}
}

func TestSettingTheSameValueEndsNothing(t *testing.T) {
	e := limitedEnv(t)
	got := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
	if _, created, err := e.Set(e.ctx, hostKeys, "k1", got.Key.Value); err != nil || created {
		t.Fatal(created, err)
	}
	e.expect(limitedValue, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
}

func TestARotationGivesNobodyMore(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) {
		m.Quota = accesskey.Quota{N: 2, Per: accesskey.Month}
		m.Methods = []string{"GET"}
		m.Expires = e.clock.Now().Add(time.Hour)
	})
	got := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", 48*time.Hour))
	if !got.Until.Equal(e.clock.Now().Add(time.Hour)) {
		t.Errorf("the old value outlives the key: %v", got.Until)
	}
	if d := e.present(limitedValue, "POST", "192.0.2.1"); d.Reason != keyring.MethodNotAllowed {
		t.Errorf("the old value is free: %v", d.Reason)
	}
	for i, c := range []struct {
		value string
		want  keyring.Reason
	}{{limitedValue, keyring.Matched}, {got.Key.Value, keyring.Matched}, {limitedValue, keyring.QuotaExceeded}, {got.Key.Value, keyring.QuotaExceeded}} {
		if d := e.present(c.value, "GET", "192.0.2.1"); d.Reason != c.want {
			t.Errorf("use %d: %v, want %v", i, d.Reason, c.want)
		}
	}
}

func TestHashOnlyKeysRotate(t *testing.T) {
	e := newEnv(t, func(c *keyring.Config) { c.HashOnly = true }).open()
	first, _, err := e.Renew(e.ctx, hostKeys, "k")
	if err != nil {
		t.Fatal(err)
	}
	got := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k", time.Hour))
	e.expect(first.Value, "fn", keyring.FunctionLevel, "k", keyring.Matched)
	e.expect(got.Key.Value, "fn", keyring.FunctionLevel, "k", keyring.Matched)
	if _, _, err := e.Set(e.ctx, hostKeys, "other", first.Value); !errors.Is(err, problem.Invalid) {
		t.Errorf("a former value came back: %v", err)
	}
	if _, err := e.SetMeta(e.ctx, hostKeys, "k", func(m *accesskey.Meta) error { m.RotateEvery = 48 * time.Hour; return nil }); !errors.Is(err, problem.Invalid) {
		t.Errorf("rotations that nobody learns of: %v", err)
	}
}

func TestDueKeysAreRotatedByOneNode(t *testing.T) {
	e := limitedEnv(t)
	other := newEnvOn(t, e.mem).open()
	e.limit(func(m *accesskey.Meta) { m.RotateEvery, m.Overlap = 48*time.Hour, time.Hour })
	if due := e.Due(e.clock.Now()); len(due) != 0 {
		t.Errorf("a key of unknown age is due at once: %v", due)
	}
	first := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", 0))
	if due := e.Due(e.clock.Now().Add(48*time.Hour - time.Second)); len(due) != 0 {
		t.Errorf("due too early: %v", due)
	}
	for _, n := range []*env{e, other} {
		n.clock.Advance(48 * time.Hour)
		n.ask("wrong", "") // reads again
	}
	if due := other.Due(other.clock.Now()); len(due) != 1 || due[0].Name != "k1" {
		t.Errorf("due %v", due)
	}
	done := must[[]keyring.Rotation](t)(e.RotateDue(e.ctx))
	if len(done) != 1 || !done[0].Until.Equal(e.clock.Now().Add(time.Hour)) {
		t.Fatalf("rotated %v", done)
	}
	if again := must[[]keyring.Rotation](t)(other.RotateDue(other.ctx)); len(again) != 0 {
		t.Errorf("rotated by two nodes: %v", again)
	}
	e.expect(first.Key.Value, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
}

func TestTooManyFormerValuesAreRefused(t *testing.T) {
	e := limitedEnv(t)
	for range accesskey.MaxRetired {
		must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
	}
	if _, err := e.Rotate(e.ctx, hostKeys, "k1", time.Hour); !errors.Is(err, problem.Invalid) {
		t.Errorf("%v", err)
	}
	for range accesskey.MaxFormer {
		must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
	}
	if _, err := e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour); !errors.Is(err, problem.Invalid) {
		t.Errorf("%v", err)
	}
	e.clock.Advance(time.Hour)
	must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
}

// window is when a value may at most be valid, as the operations on it said.
type window struct {
	from, to time.Time // to zero: no end
	off      bool
}

func (w window) holds(now time.Time) bool {
	return !w.off && !now.Before(w.from) && (w.to.IsZero() || now.Before(w.to))
}

// life drives one key through random operations, also such of a stock host, and
// restarts, beside a model of when each value may be valid.
type life struct {
	*env
	rnd     *rand.Rand
	windows map[string]*window
	current string
	terms   window // of the key
}

func TestNoSequenceMakesAKeyValidOutsideItsWindow(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			e := limitedEnv(t, func(c *keyring.Config) { c.HashOnly = seed%2 == 1 })
			l := &life{env: e, rnd: rand.New(rand.NewPCG(seed, 7)), windows: map[string]*window{}, current: limitedValue}
			l.windows[limitedValue] = &window{}
			for range 60 {
				name := l.step()
				for value, w := range l.windows {
					d := l.Match(value, l.Function("fn"))
					if valid := d.Reason == keyring.Matched; valid && !w.holds(l.clock.Now()) {
						t.Fatalf("after %s a value is valid outside its window: %+v %+v at %v", name, d, w, l.clock.Now())
					} else if value == l.current && !valid && w.holds(l.clock.Now()) {
						t.Fatalf("after %s the key does not work within its window: %+v", name, d)
					}
				}
			}
		})
	}
}

// replaced notes that the key has a new value; others end at a time at most.
func (l *life) replaced(value string, end time.Time, others ...*window) {
	for _, w := range others {
		if w.to.IsZero() || w.to.After(end) {
			w.to = end
		}
	}
	terms := l.terms
	l.current, l.windows[value] = value, &terms
}

func (l *life) step() string {
	now := l.clock.Now()
	hour := time.Duration(1+l.rnd.IntN(30)) * time.Hour
	change := func(name string, edit func(*window), set func(*accesskey.Meta)) string {
		terms := l.terms
		edit(&terms)
		_, err := l.SetMeta(l.ctx, hostKeys, "k1", func(m *accesskey.Meta) error { set(m); return nil })
		if err == nil {
			l.terms = terms
			*l.windows[l.current] = terms
		} else if !errors.Is(err, problem.Invalid) {
			l.t.Fatal(err)
		}
		return name
	}
	switch l.rnd.IntN(11) {
	case 0:
		return change("disable", func(w *window) { w.off = true }, func(m *accesskey.Meta) { m.Disabled = true })
	case 1:
		return change("enable", func(w *window) { w.off = false }, func(m *accesskey.Meta) { m.Disabled = false })
	case 2:
		return change("expire", func(w *window) { w.to = now.Add(hour) }, func(m *accesskey.Meta) { m.Expires = now.Add(hour) })
	case 3:
		return change("begin", func(w *window) { w.from = now.Add(hour) }, func(m *accesskey.Meta) { m.NotBefore = now.Add(hour) })
	case 4:
		free := func(m *accesskey.Meta) { m.Expires, m.NotBefore = time.Time{}, time.Time{} }
		return change("free", func(w *window) { w.from, w.to = time.Time{}, time.Time{} }, free)
	case 5:
		got := must[keyring.Rotation](l.t)(l.Rotate(l.ctx, hostKeys, "k1", hour))
		l.replaced(got.Key.Value, now.Add(hour), l.windows[l.current])
		return "rotate"
	case 6:
		k, _, err := l.Renew(l.ctx, hostKeys, "k1")
		if err != nil {
			l.t.Fatal(err)
		}
		l.replaced(k.Value, now, slices.Collect(maps.Values(l.windows))...)
		return "renew"
	case 7:
		l.drop(keystore.HostDoc, nil) // a stock host writes
		l.clock.Advance(2 * time.Minute)
		l.ask("wrong", "fn")
		return "drop"
	case 8:
		l.env = restarted(l.env)
		return "restart"
	case 9:
		must[[]keyring.KeyRef](l.t)(l.Retire(l.ctx))
		return "retire"
	}
	l.clock.Advance(hour)
	return "wait"
}

// restarted gives a new ring on the same store at the same time.
func restarted(e *env) *env {
	now := e.clock.Now()
	next := newEnvOn(e.t, e.mem)
	next.clock.Advance(now.Sub(next.clock.Now()))
	return next.open()
}
