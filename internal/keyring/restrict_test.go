package keyring_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
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

var hostKeys = keyring.HostKeys()

// limit sets the metadata of host key k1, which has the value "limited value".
func (e *env) limit(change func(*accesskey.Meta)) {
	e.t.Helper()
	if _, err := e.SetMeta(e.ctx, hostKeys, "k1", func(m *accesskey.Meta) error { change(m); return nil }); err != nil {
		e.t.Fatal(err)
	}
}

const limitedValue = "limited value"

func limitedEnv(t *testing.T, options ...func(*keyring.Config)) *env {
	e := newEnv(t, options...)
	e.put(keystore.HostDoc, hostSet("mastervalue", []accesskey.Key{key("k1", limitedValue), key("k2", "plain value")}, []accesskey.Key{key("s1", "system value")}))
	e.put("fn", accesskey.Set{Keys: []accesskey.Key{key("default", "fn value")}})
	return e.open()
}

// present authorizes a request for function fn.
func (e *env) present(value, method, from string) keyring.Decision {
	return e.Authorize(e.ctx, keyring.Request{Key: value, Function: e.Function("fn"), Method: method, Source: netip.MustParseAddr(from)})
}

func TestRestrictionsRefuseWithoutSayingSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(e *env) func(*accesskey.Meta)
		wait   time.Duration
		method string
		from   string
		want   keyring.Reason
	}{
		{"disabled", func(*env) func(*accesskey.Meta) { return func(m *accesskey.Meta) { m.Disabled = true } }, 0, "GET", "192.0.2.1", keyring.KeyDisabled},
		{"not yet", func(e *env) func(*accesskey.Meta) {
			return func(m *accesskey.Meta) { m.NotBefore = e.clock.Now().Add(time.Hour) }
		}, time.Hour - time.Second, "GET", "192.0.2.1", keyring.NotYetValid},
		{"begun", func(e *env) func(*accesskey.Meta) {
			return func(m *accesskey.Meta) { m.NotBefore = e.clock.Now().Add(time.Hour) }
		}, time.Hour, "GET", "192.0.2.1", keyring.Matched},
		{"about to expire", func(e *env) func(*accesskey.Meta) {
			return func(m *accesskey.Meta) { m.Expires = e.clock.Now().Add(time.Hour) }
		}, time.Hour - time.Second, "GET", "192.0.2.1", keyring.Matched},
		{"expired", func(e *env) func(*accesskey.Meta) {
			return func(m *accesskey.Meta) { m.Expires = e.clock.Now().Add(time.Hour) }
		}, time.Hour, "GET", "192.0.2.1", keyring.KeyExpired},
		{"method", methods("POST"), 0, "GET", "192.0.2.1", keyring.MethodNotAllowed},
		{"method allowed", methods("POST", "get"), 0, http.MethodGet, "192.0.2.1", keyring.Matched},
		{"method not said", methods("POST"), 0, "", "192.0.2.1", keyring.MethodNotAllowed},
		{"network", networks("10.0.0.0/8"), 0, "GET", "192.0.2.1", keyring.SourceNotAllowed},
		{"network allowed", networks("10.0.0.0/8", "192.0.2.1"), 0, "GET", "::ffff:192.0.2.1", keyring.Matched},
		{"function", functions("other"), 0, "GET", "192.0.2.1", keyring.FunctionNotAllowed},
		{"function allowed", functions("other", "FN"), 0, "GET", "192.0.2.1", keyring.Matched},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := limitedEnv(t)
			e.limit(c.set(e))
			e.clock.Advance(c.wait)
			d := e.present(limitedValue, c.method, c.from)
			if d.Reason != c.want || d.Name != "k1" || d.Throttled || (d.Level == keyring.Anonymous) == (c.want == keyring.Matched) {
				t.Errorf("decision %+v, want %v", d, c.want)
			}
			if got := e.present("plain value", c.method, c.from); got.Reason != keyring.Matched {
				t.Errorf("another key: %+v", got)
			}
			refused := e.events.of(keyring.KeyRefused)
			if want := c.want != keyring.Matched; want != (len(refused) == 1) || want && (refused[0].Name != "k1" || refused[0].Reason != c.want) {
				t.Errorf("events %+v", refused)
			}
			if strings.Contains(e.logs.String(), limitedValue) {
				t.Error("the value is in the log")
			}
		})
	}
}

func methods(list ...string) func(*env) func(*accesskey.Meta) {
	return func(*env) func(*accesskey.Meta) { return func(m *accesskey.Meta) { m.Methods = list } }
}

func functions(list ...string) func(*env) func(*accesskey.Meta) {
	return func(*env) func(*accesskey.Meta) { return func(m *accesskey.Meta) { m.Functions = list } }
}

func networks(list ...string) func(*env) func(*accesskey.Meta) {
	return func(e *env) func(*accesskey.Meta) {
		nets := must[[]netip.Prefix](e.t)(accesskey.ParseNetworks(list))
		return func(m *accesskey.Meta) { m.CIDRs = nets }
	}
}

// A caller must not be able to tell a restricted key from a wrong one.
func TestRefusedKeysCostWhatWrongOnesDo(t *testing.T) {
	answers := func(value string, set bool) (out []bool) {
		e := limitedEnv(t, func(c *keyring.Config) { c.Limits.Burst = 3 })
		if set {
			e.limit(func(m *accesskey.Meta) { m.Disabled = true })
		}
		for range 6 {
			out = append(out, e.present(value, "GET", "192.0.2.1").Throttled)
		}
		return out
	}
	if diff := cmp.Diff(answers("a wrong value", false), answers(limitedValue, true)); diff != "" {
		t.Errorf("wrong (-) and disabled (+) keys are answered differently:\n%s", diff)
	}
}

func TestRefusalsAreToldOnceAMinute(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	for range 5 {
		e.present(limitedValue, "GET", "192.0.2.1")
	}
	e.clock.Advance(time.Minute)
	e.present(limitedValue, "GET", "192.0.2.1")
	if n := len(e.events.of(keyring.KeyRefused)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func TestRateAndQuotaThrottle(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) {
		m.Rate = accesskey.Rate{N: 6, Per: time.Minute, Burst: 2}
		m.Quota = accesskey.Quota{N: 4, Per: accesskey.Day}
	})
	expect := func(want keyring.Reason, retry time.Duration) {
		t.Helper()
		d := e.present(limitedValue, "GET", "192.0.2.1")
		if d.Reason != want || d.RetryAfter != retry || d.Throttled != (want != keyring.Matched) {
			t.Errorf("%v, retry after %v, throttled %v; want %v after %v", d.Reason, d.RetryAfter, d.Throttled, want, retry)
		}
	}
	expect(keyring.Matched, 0)
	expect(keyring.Matched, 0)
	expect(keyring.RateExceeded, 10*time.Second)
	e.clock.Advance(10 * time.Second)
	expect(keyring.Matched, 0)
	expect(keyring.RateExceeded, 10*time.Second)
	e.limit(func(m *accesskey.Meta) { m.Note = "what was used is not forgotten when the document changes" })
	expect(keyring.RateExceeded, 10*time.Second)
	e.clock.Advance(time.Minute)
	expect(keyring.Matched, 0)
	midnight := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	expect(keyring.QuotaExceeded, midnight.Sub(e.clock.Now()))
	e.clock.Advance(midnight.Sub(e.clock.Now()))
	expect(keyring.Matched, 0)
}

func TestSetMetaRefusesWhatCannotBe(t *testing.T) {
	e := limitedEnv(t)
	oops := errors.New("oops")
	for name, c := range map[string]struct {
		sec    keyring.Section
		key    string
		change func(*accesskey.Meta) error
		want   error
		says   string
	}{
		"no such key":    {hostKeys, "missing", func(*accesskey.Meta) error { return nil }, problem.NotFound, ""},
		"past":           {hostKeys, "k1", func(m *accesskey.Meta) error { m.Expires = e.clock.Now(); return nil }, problem.Invalid, "expires:"},
		"own error":      {hostKeys, "k1", func(*accesskey.Meta) error { return oops }, oops, ""},
		"master":         {keyring.MasterKey(), "_master", func(m *accesskey.Meta) error { m.Disabled = true; return nil }, problem.Invalid, "disabled:"},
		"master by name": {hostKeys, "_MASTER", func(m *accesskey.Meta) error { m.Disabled = true; return nil }, problem.Invalid, "disabled:"},
		"function limits": {keyring.FunctionKeys("fn"), "default", func(m *accesskey.Meta) error { m.Functions = []string{"x"}; return nil },
			problem.Invalid, "functions:"},
	} {
		before := e.stored(keystore.HostDoc)
		_, err := e.SetMeta(e.ctx, c.sec, c.key, c.change)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, e.stored(keystore.HostDoc)); diff != "" {
			t.Errorf("%s changed the store: %s", name, diff)
		}
	}
	none := newEnv(t, on(flat{memory.New()})).open()
	if _, err := none.Disable(none.ctx, hostKeys, "default"); !errors.Is(err, problem.Unsupported) {
		t.Errorf("a store without metadata: %v", err)
	}
	if _, err := none.Rotate(none.ctx, keyring.MasterKey(), "", 0); !errors.Is(err, problem.Unsupported) {
		t.Errorf("a store without metadata: %v", err)
	}
}

func TestDisableEnableExpire(t *testing.T) {
	e := limitedEnv(t)
	must[accesskey.Key](t)(e.Disable(e.ctx, hostKeys, "K1"))
	e.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
	must[accesskey.Key](t)(e.Enable(e.ctx, hostKeys, "k1"))
	e.expect(limitedValue, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
	must[accesskey.Key](t)(e.Expire(e.ctx, hostKeys, "k1", e.clock.Now().Add(time.Hour)))
	e.expect(limitedValue, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
	must[accesskey.Key](t)(e.Expire(e.ctx, hostKeys, "k1", time.Time{}))
	e.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyExpired)
	renewed, _, err := e.Renew(e.ctx, hostKeys, "k1")
	if err != nil {
		t.Fatal(err)
	}
	e.expect(renewed.Value, "fn", keyring.Anonymous, "k1", keyring.KeyExpired) // a new value has the key's restrictions
	if _, err := e.Expire(e.ctx, hostKeys, "k1", e.clock.Now().Add(-time.Hour)); !errors.Is(err, problem.Invalid) {
		t.Errorf("an expiry in the past: %v", err)
	}
	must[accesskey.Key](t)(e.SetMeta(e.ctx, hostKeys, "k1", func(m *accesskey.Meta) error { m.Expires = time.Time{}; return nil }))
	e.expect(renewed.Value, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
}

func TestPlainKeysStayPlain(t *testing.T) {
	e := limitedEnv(t)
	if _, _, err := e.Renew(e.ctx, hostKeys, "k2"); err != nil {
		t.Fatal(err)
	}
	for _, k := range e.stored(keystore.HostDoc).Keys {
		if k.Extra != nil {
			t.Errorf("%s has members %v", k.Name, k.Extra)
		}
	}
}

// drop writes a document as a stock host does, without our members.
func (e *env) drop(doc keystore.Doc, more func(*accesskey.Set)) {
	e.t.Helper()
	set := e.stored(doc)
	set.Master.Extra = nil
	for i := range set.Keys {
		set.Keys[i].Extra = nil
	}
	for i := range set.System {
		set.System[i].Extra = nil
	}
	if more != nil {
		more(&set)
	}
	e.put(doc, set)
}

func TestRestrictionsOutliveAStockHostsWrite(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	master := must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
	e.drop(keystore.HostDoc, func(s *accesskey.Set) { s.Keys = append(s.Keys, key("theirs", "their value")) })
	e.expect("their value", "fn", keyring.FunctionLevel, "theirs", keyring.Matched) // was read again
	e.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
	e.expect("mastervalue", "fn", keyring.AdminLevel, "master", keyring.Matched)
	e.expect(master.Key.Value, "fn", keyring.AdminLevel, "master", keyring.Matched)
	if n := len(e.events.of(keyring.MetadataRestored)); n != 1 {
		t.Errorf("%d events about it", n)
	}
	k, _ := e.stored(keystore.HostDoc).Find(accesskey.Host, "k1")
	if m, err := k.Meta(); err != nil || !m.Disabled {
		t.Errorf("not written back: %+v, %v", m, err)
	}
	again := newEnvOn(t, e.mem).open()
	again.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
}

func TestRestrictionsStayInForceWhereTheyCannotBeWrittenBack(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.tap.beforeUpdate(func() error { return problem.New(problem.Unavailable, "down") })
	e.drop(keystore.HostDoc, nil)
	for range 3 {
		e.clock.Advance(2 * time.Minute)
		e.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
	}
	if n := e.tap.updates.Load(); n != 2 { // one was ours
		t.Errorf("%d updates: it is tried once per write of others", n)
	}
	e.tap.beforeUpdate(func() error { return nil })
	if _, _, err := e.Set(e.ctx, hostKeys, "k2", "another"); err != nil {
		t.Fatal(err)
	}
	if k, _ := e.stored(keystore.HostDoc).Find(accesskey.Host, "k1"); !k.HasMeta() {
		t.Error("not written back with the next change")
	}
}

func TestAWriteBetweenIsCompleted(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.drop(keystore.HostDoc, nil) // not noticed yet
	if _, _, err := e.Set(e.ctx, hostKeys, "k2", "another"); err != nil {
		t.Fatal(err)
	}
	e.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
}

func TestDeliberateFreedomIsNotUndone(t *testing.T) {
	e := limitedEnv(t)
	other := newEnvOn(t, e.mem).open()
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.clock.Advance(2 * time.Minute)
	other.clock.Advance(2 * time.Minute)
	other.ask("wrong", "fn") // reads again
	other.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
	must[accesskey.Key](t)(e.Enable(e.ctx, hostKeys, "k1"))
	other.clock.Advance(2 * time.Minute)
	other.expect(limitedValue, "fn", keyring.FunctionLevel, "k1", keyring.Matched)
	if n := len(other.events.of(keyring.MetadataRestored)); n != 0 {
		t.Error("freed restrictions were restored")
	}
}

func TestANewValueByOthersIsReported(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.drop(keystore.HostDoc, func(s *accesskey.Set) { s.Keys[0].Value = "their choice" })
	e.expect("their choice", "fn", keyring.FunctionLevel, "k1", keyring.Matched)
	if lost := e.events.of(keyring.MetadataLost); len(lost) != 1 || !strings.Contains(lost[0].Text, "k1") {
		t.Errorf("events %v", lost)
	}
}

func TestBrokenMetadataRefuses(t *testing.T) {
	e := newEnv(t)
	for name, raw := range map[string]string{"later": `{"v":2}`, "typo": `{"v":1,"cidrs":["10.0.0/8"]}`, "text": `"x"`} {
		k := key(name, name+" value")
		k.Extra = map[string][]byte{accesskey.MetaMember: []byte(raw)}
		e.mem.Put(keystore.FunctionDoc(name), keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{k}}})
	}
	e.put(keystore.HostDoc, hostSet("m", nil, nil))
	e.open()
	for _, name := range []string{"later", "typo", "text"} {
		e.expect(name+" value", name, keyring.Anonymous, name, keyring.MetadataUnreadable)
		if _, err := e.Rotate(e.ctx, keyring.FunctionKeys(name), name, 0); !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%s: rotated: %v", name, err)
		}
	}
	if n := len(e.events.of(keyring.MetadataBroken)); n != 3 {
		t.Errorf("%d events", n)
	}
	must[accesskey.Key](t)(e.Enable(e.ctx, keyring.FunctionKeys("typo"), "typo"))
	e.expect("typo value", "typo", keyring.FunctionLevel, "typo", keyring.Matched)
}

func TestHashOnlyValuesAreShownOnce(t *testing.T) {
	e := newEnv(t, func(c *keyring.Config) { c.HashOnly = true }).open()
	for _, sec := range []keyring.Section{hostKeys, keyring.FunctionKeys("fn")} {
		made, created, err := e.Renew(e.ctx, sec, "k")
		if err != nil || !created || !azfkey.Check(made.Value, azfkey.Function) || !made.HashOnly {
			t.Fatalf("%v, %v, %v", made, created, err)
		}
		e.expect(made.Value, "fn", keyring.FunctionLevel, "k", keyring.Matched)
		for _, k := range must[[]accesskey.Key](t)(e.List(e.ctx, sec)) {
			if !k.HashOnly || !strings.Contains(k.Value, "…") || strings.Contains(made.Value, k.Value) {
				t.Errorf("listed as %q, hash-only %v", k.Value, k.HashOnly)
			}
		}
		doc := keystore.HostDoc
		if sec.Function != "" {
			doc = "fn"
		}
		for _, k := range e.stored(doc).Keys {
			if !accesskey.IsVerifier(k.Value) {
				t.Errorf("%s is stored in clear", k.Name)
			}
			if d := e.ask(k.Value, "fn"); d.Level != keyring.Anonymous {
				t.Error("what is stored opens the function")
			}
		}
		// A stock host that drops the metadata does not make the verifier a value.
		e.drop(doc, nil)
		again := newEnvOn(t, e.mem).open()
		again.expect(made.Value, "fn", keyring.FunctionLevel, "k", keyring.Matched)
	}
	if _, _, err := e.Set(e.ctx, hostKeys, "short", "my own value"); !errors.Is(err, problem.Invalid) {
		t.Errorf("a value that can be guessed: %v", err)
	}
	own := newKey(t, azfkey.Function)
	if _, _, err := e.Set(e.ctx, hostKeys, "own", own); err != nil {
		t.Fatal(err)
	}
	before := e.stored(keystore.HostDoc)
	if _, created, err := e.Set(e.ctx, hostKeys, "own", own); err != nil || created {
		t.Fatal(created, err)
	}
	if diff := cmp.Diff(before, e.stored(keystore.HostDoc)); diff != "" {
		t.Errorf("setting the same value again changes something: %s", diff)
	}
	if k := must[accesskey.Key](t)(e.Get(e.ctx, keyring.MasterKey(), "")); k.HashOnly || k.Value == "" {
		t.Error("the master key is not kept")
	}
}

func TestHashOnlyKeysObeyStrictMode(t *testing.T) {
	e := newEnv(t, mode(keyring.Enabled))
	good, bad := newKey(t, azfkey.Function), strings.Repeat("not identifiable", 4)
	salt := accesskey.NewSalt()
	e.put(keystore.HostDoc, hostSet(newKey(t, azfkey.Master), []accesskey.Key{
		key("good", accesskey.NewVerifier(salt, good).String()), key("bad", accesskey.NewVerifier(salt, bad).String()),
	}, nil))
	e.open()
	e.expect(good, "fn", keyring.FunctionLevel, "good", keyring.Matched)
	e.expect(bad, "fn", keyring.Anonymous, "", keyring.NotIdentifiable)
}

// flat is a store that keeps names and values only.
type flat struct{ *memory.Store }

func (flat) Capabilities() keystore.Capabilities { return keystore.Capabilities{} }

// notebook is a Memory in memory.
type notebook struct {
	mu   sync.Mutex
	docs map[keystore.Doc][]byte
	fail error
}

func (n *notebook) Recall(_ context.Context, doc keystore.Doc) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.docs[doc], n.fail
}

func (n *notebook) Remember(_ context.Context, doc keystore.Doc, data []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.docs == nil {
		n.docs = map[keystore.Doc][]byte{}
	}
	n.docs[doc] = data
	return n.fail
}

func TestRestrictionsOutliveARestartWithAMemory(t *testing.T) {
	book := &notebook{}
	remembering := func(c *keyring.Config) { c.Memory = book }
	e := limitedEnv(t, remembering)
	must[accesskey.Key](t)(e.Disable(e.ctx, keyring.FunctionKeys("fn"), "default"))
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	must[keyring.Rotation](t)(e.Rotate(e.ctx, keyring.MasterKey(), "", time.Hour))
	for _, data := range book.docs {
		if s := string(data); strings.Contains(s, limitedValue) || strings.Contains(s, "mastervalue") {
			t.Error("a value is in the memory")
		}
	}
	e.Close()
	e.drop(keystore.HostDoc, nil)
	e.drop("fn", nil)

	again := newEnvOn(t, e.mem, remembering).open()
	again.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
	again.expect("fn value", "fn", keyring.Anonymous, "default", keyring.KeyDisabled)
	again.expect("mastervalue", "fn", keyring.AdminLevel, "master", keyring.Matched)
	if k, _ := e.stored(keystore.HostDoc).Find(accesskey.Host, "k1"); !k.HasMeta() {
		t.Error("not written back")
	}
	if n := len(again.events.of(keyring.MetadataRestored)); n != 2 {
		t.Errorf("%d events", n)
	}
	book.fail = errors.New("down")
	third := newEnvOn(t, e.mem, remembering)
	if err := third.Open(third.ctx); !errors.Is(err, problem.Unavailable) {
		t.Errorf("opened without its memory: %v", err)
	}
	third.expect(limitedValue, "fn", keyring.Anonymous, "", keyring.StoreUnavailable)
	book.fail = nil
	third.clock.Advance(time.Minute)
	third.expect(limitedValue, "fn", keyring.Anonymous, "k1", keyring.KeyDisabled)
}

func TestRestrictedSystemKeysOutliveAStockHostsWrite(t *testing.T) {
	e := limitedEnv(t)
	must[accesskey.Key](t)(e.Disable(e.ctx, keyring.SystemKeys(), "s1"))
	e.drop(keystore.HostDoc, nil)
	e.expect("wrong", "fn", keyring.Anonymous, "", keyring.Unknown) // reads again
	e.expect("system value", "fn", keyring.Anonymous, "s1", keyring.KeyDisabled)
}

// A value that strict mode refuses as one key and that another key has, too, is
// subject to the restrictions of that one.
func TestARestrictedKeyBehindOneThatIsNotIdentifiable(t *testing.T) {
	e := newEnv(t, mode(keyring.Enabled))
	good := newKey(t, azfkey.Function)
	e.put(keystore.HostDoc, hostSet(good, []accesskey.Key{key("h", good).WithMeta(accesskey.Meta{Disabled: true})}, nil))
	e.open()
	e.expect(good, "fn", keyring.Anonymous, "h", keyring.KeyDisabled)
}

func TestOfTwoKeysOfOneValueTheFirstDecides(t *testing.T) {
	e := newEnv(t)
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("h", "twice").WithMeta(accesskey.Meta{Disabled: true}), key("other", "twice")}, nil))
	e.put("fn", accesskey.Set{Keys: []accesskey.Key{key("own", "twice")}})
	e.open()
	e.expect("twice", "fn", keyring.Anonymous, "h", keyring.KeyDisabled)
}

func TestKnownTellsKeysFromOtherTexts(t *testing.T) {
	e := limitedEnv(t)
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.expect("fn value", "fn", keyring.FunctionLevel, "default", keyring.Matched) // has its keys read
	for value, want := range map[string]bool{limitedValue: true, "plain value": true, "fn value": true, "wrong": false, "": false} {
		if got := e.ask(value, "other").Known(); got != want {
			t.Errorf("%q: known %v", value, got)
		}
	}
}
