package keyring_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestSetAndRenewStoreKeysAndPutThemInForce(t *testing.T) {
	for _, c := range []struct {
		name  string
		sec   keyring.Section
		doc   keystore.Doc
		kind  azfkey.Kind
		level keyring.Level
		log   string
	}{
		{"function", keyring.FunctionKeys("Fn"), "fn", azfkey.Function, keyring.FunctionLevel, "Function secret 'k' for 'Fn' "},
		{"host", keyring.HostKeys(), "host", azfkey.Function, keyring.FunctionLevel, "Host secret 'k' for 'functionkeys' "},
		{"system", keyring.SystemKeys(), "host", azfkey.System, keyring.SystemLevel, "Host secret 'k' for 'systemkeys' "},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t).open()
			renewed, created, err := e.Renew(e.ctx, c.sec, "k")
			if err != nil || !created || !azfkey.Check(renewed.Value, c.kind) {
				t.Fatalf("created %v, %v", created, err)
			}
			e.expect(renewed.Value, "fn", c.level, "k", keyring.Matched)
			set, created, err := e.Set(e.ctx, c.sec, "K", "my own value")
			if err != nil || created || set.Name != "K" || set.Value != "my own value" {
				t.Fatalf("key %v, created %v, %v", set, created, err)
			}
			e.expect("my own value", "fn", c.level, "K", keyring.Matched)
			e.expect(renewed.Value, "fn", keyring.Anonymous, "", keyring.Unknown)
			stored := e.stored(c.doc)
			if got, ok := stored.Find(c.sec.Kind, "k"); !ok || got.Value != "my own value" {
				t.Error("not stored as given")
			}
			if c.doc.IsHost() && stored.Master.Value == "" {
				t.Error("no master key beside it")
			}
			if err := e.Delete(e.ctx, c.sec, "k"); err != nil {
				t.Fatal(err)
			}
			e.expect("my own value", "fn", keyring.Anonymous, "", keyring.Unknown)
			if err := e.Delete(e.ctx, c.sec, "k"); !errors.Is(err, problem.NotFound) {
				t.Errorf("deleting again: %v", err)
			}
			for _, line := range []string{c.log + "Created.", strings.Replace(c.log, "'k'", "'K'", 1) + "Updated."} {
				if !strings.Contains(e.logs.String(), line) {
					t.Errorf("no log line %q in\n%s", line, e.logs)
				}
			}
			if strings.Contains(e.logs.String(), "my own value") || strings.Contains(e.logs.String(), renewed.Value) {
				t.Error("a value was logged")
			}
		})
	}
}

func TestChangesAreAnnouncedInTheStockHostsWords(t *testing.T) {
	e := newEnv(t).open()
	_, _, err1 := e.Renew(e.ctx, keyring.FunctionKeys("Fn"), "k")
	_, _, err2 := e.Renew(e.ctx, keyring.HostKeys(), "k")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, line := range []string{
		"Host keys change detected. Clearing cache.",
		"Function keys change detected. Clearing cache for function 'Fn'.",
	} {
		if !strings.Contains(e.logs.String(), line) {
			t.Errorf("no log line %q", line)
		}
	}
}

func TestChangingADocumentThatDoesNotExistCreatesIt(t *testing.T) {
	e := newEnv(t) // not opened
	if _, created, err := e.Set(e.ctx, keyring.HostKeys(), "k", "v"); err != nil || !created {
		t.Fatal(created, err)
	}
	set := e.stored(keystore.HostDoc)
	if diff := cmp.Diff([]string{"default", "k"}, names(set.Keys)); diff != "" || set.Master.Value == "" {
		t.Error(diff)
	}
	if _, created, err := e.Set(e.ctx, keyring.FunctionKeys("f"), "k", "w"); err != nil || !created {
		t.Fatal(created, err)
	}
	if diff := cmp.Diff([]string{"default", "k"}, names(e.stored("f").Keys)); diff != "" {
		t.Error(diff)
	}
	if err := e.Delete(e.ctx, keyring.FunctionKeys("g"), "default"); !errors.Is(err, problem.NotFound) {
		t.Errorf("deleting from nothing: %v", err)
	}
	if _, _, err := e.mem.Load(e.ctx, "g"); !errors.Is(err, problem.NotFound) {
		t.Error("deleting created a document")
	}
}

func TestMasterKeyIsReplacedNeverDeleted(t *testing.T) {
	e := newEnv(t).open()
	old := e.stored(keystore.HostDoc).Master.Value
	for _, sec := range []keyring.Section{keyring.MasterKey(), keyring.HostKeys(), keyring.SystemKeys()} {
		k, created, err := e.Set(e.ctx, sec, "_MASTER", "chosen master")
		if err != nil || created || k.Name != "_master" || k.Value != "chosen master" {
			t.Fatalf("%v: %v, created %v, %v", sec.Kind, k.Name, created, err)
		}
		e.expect("chosen master", "", keyring.AdminLevel, "master", keyring.Matched)
		k, created, err = e.Renew(e.ctx, sec, "_master")
		if err != nil || !created || !azfkey.Check(k.Value, azfkey.Master) {
			t.Fatalf("%v: created %v, %v", sec.Kind, created, err)
		}
		e.expect(k.Value, "", keyring.AdminLevel, "master", keyring.Matched)
	}
	e.expect(old, "", keyring.Anonymous, "", keyring.Unknown)
	for _, sec := range []keyring.Section{keyring.MasterKey(), keyring.HostKeys(), keyring.SystemKeys(), keyring.FunctionKeys("f")} {
		err := e.Delete(e.ctx, sec, "_MASter")
		if status, text := problem.HostStatus(err); status != 400 || text != "Cannot delete System Key." {
			t.Errorf("%v: %d %q", sec.Kind, status, text)
		}
	}
	for _, name := range []string{"_master", "_Master"} {
		if _, _, err := e.Set(e.ctx, keyring.FunctionKeys("f"), name, "v"); !errors.Is(err, problem.Invalid) {
			t.Errorf("%s at a function: %v", name, err)
		}
	}
	if diff := cmp.Diff([]string{"default"}, names(e.stored(keystore.HostDoc).Keys)); diff != "" {
		t.Error(diff)
	}
}

func TestGetIgnoresCaseAndKnowsWhereTheMasterKeyIs(t *testing.T) {
	e := standard(t)
	for _, c := range []struct {
		sec   keyring.Section
		name  string
		value string // "" is not found
	}{
		{keyring.HostKeys(), "HOSTKEY1", "hostvalue1"}, {keyring.SystemKeys(), "System2", "systemvalue2"},
		{keyring.FunctionKeys("Function1"), "f1KEY1", "f1value1"}, {keyring.FunctionKeys("function1"), "hostkey1", ""},
		{keyring.SystemKeys(), "_master", "mastervalue"}, {keyring.MasterKey(), "_MASTER", "mastervalue"},
		{keyring.HostKeys(), "_master", ""}, {keyring.HostKeys(), "master", ""}, {keyring.FunctionKeys("function1"), "_master", ""},
	} {
		k, err := e.Get(e.ctx, c.sec, c.name)
		if k.Value != c.value || (c.value == "") != errors.Is(err, problem.NotFound) {
			t.Errorf("%v %q: %q, %v", c.sec.Kind, c.name, k.Value, err)
		}
	}
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.SystemKeys()} {
		for _, k := range must[[]accesskey.Key](t)(e.List(e.ctx, sec)) {
			if k.Value == "mastervalue" {
				t.Errorf("%v: the master key is listed", sec.Kind)
			}
		}
	}
}

func TestMergedListingPrefersTheFunctionsKeys(t *testing.T) {
	e := newEnv(t)
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("Key1", "host's"), key("HostKey", "h"), key("key1", "other case")}, nil))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("Key1", "function's")}})
	got := must[[]accesskey.Key](t)(e.open().Merged(e.ctx, "f"))
	if diff := cmp.Diff([]accesskey.Key{key("Key1", "function's"), key("HostKey", "h")}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadNamesAndValuesAreRefused(t *testing.T) {
	e := newEnv(t).open()
	before := e.tap.updates.Load()
	for _, c := range []struct {
		sec         keyring.Section
		name, value string
	}{
		{keyring.HostKeys(), "", "v"}, {keyring.HostKeys(), "k", ""}, {keyring.MasterKey(), "_master", ""},
		{keyring.MasterKey(), "other", "v"}, {keyring.HostKeys(), "a\nb", "v"}, {keyring.HostKeys(), "k", strings.Repeat("x", 5000)},
		{keyring.FunctionKeys("host"), "k", "v"}, {keyring.FunctionKeys(""), "k", "v"}, {keyring.Section{}, "k", "v"},
	} {
		if _, _, err := e.Set(e.ctx, c.sec, c.name, c.value); !errors.Is(err, problem.Invalid) {
			t.Errorf("%v %q: %v", c.sec, c.name, err)
		}
	}
	if e.tap.updates.Load() != before {
		t.Error("the store was written")
	}
}

func TestStrictModeRefusesToStoreKeysThatAreNotIdentifiable(t *testing.T) {
	sections := map[keyring.Section]azfkey.Kind{
		keyring.FunctionKeys("f"): azfkey.Function, keyring.HostKeys(): azfkey.Function,
		keyring.SystemKeys(): azfkey.System, keyring.MasterKey(): azfkey.Master,
	}
	for _, m := range []keyring.Mode{keyring.Default, keyring.Warn, keyring.Enabled} {
		for sec, kind := range sections {
			e := newEnv(t, mode(m)).open()
			if err := e.Ensure(e.ctx, []string{"f"}); err != nil {
				t.Fatal(err)
			}
			name := accesskeyName(sec)
			if _, _, err := e.Set(e.ctx, sec, name, newKey(t, kind)); err != nil {
				t.Fatal(err)
			}
			host, fn, logged := e.stored(keystore.HostDoc), e.stored("f"), e.logs.String()
			_, _, err := e.Set(e.ctx, sec, name, "chosen")
			if m != keyring.Enabled {
				if err != nil {
					t.Error(err)
				}
				continue
			}
			if !errors.Is(err, problem.Invalid) || strings.Contains(err.Error(), "chosen") {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(host, e.stored(keystore.HostDoc)) + cmp.Diff(fn, e.stored("f")); diff != "" || e.logs.String() != logged {
				t.Error("something was stored or logged")
			}
			if _, _, err := e.Renew(e.ctx, sec, name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAFailedWriteReachesTheCallerAndChangesNothing(t *testing.T) {
	e := standard(t)
	e.tap.beforeUpdate(func() error { return problem.New(problem.Unavailable, "disk full") })
	if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "hostkey1", "new"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("error %v", err)
	}
	e.expect("hostvalue1", "", keyring.FunctionLevel, "hostkey1", keyring.Matched)
	e.expect("new", "", keyring.Anonymous, "", keyring.Unknown)
}

func TestUndecryptableDocumentsAreNotReplacedByChanges(t *testing.T) {
	e := standard(t)
	e.mem.Corrupt(keystore.HostDoc)
	_, _, err := e.Set(e.ctx, keyring.HostKeys(), "k", "v")
	if !errors.Is(err, problem.Undecryptable) || problem.NextOf(err) == "" {
		t.Errorf("error %v, next %q", err, problem.NextOf(err))
	}
}

func TestAChangeWritesBackADocumentThatDisappeared(t *testing.T) {
	e := standard(t)
	if err := e.mem.Delete(e.ctx, keystore.HostDoc); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "new", "v"); err != nil {
		t.Fatal(err)
	}
	set := e.stored(keystore.HostDoc)
	if diff := cmp.Diff([]string{"hostkey1", "hostkey2", "new"}, names(set.Keys)); diff != "" || set.Master.Value != "mastervalue" {
		t.Error(diff)
	}
}

func TestUnknownMembersSurviveAChange(t *testing.T) {
	e := newEnv(t)
	e.mem.Put(keystore.HostDoc, keystore.Document{
		Keys: accesskey.Set{
			Master: accesskey.Key{Name: "master", Value: "m", Extra: map[string][]byte{"a": []byte("1")}},
			Keys:   []accesskey.Key{{Name: "k", Value: "v", Extra: map[string][]byte{"b": []byte("2")}}, key("K", "duplicate")},
		},
		Extra: map[string][]byte{"c": []byte("3")},
	})
	e.open()
	if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "k", "w"); err != nil {
		t.Fatal(err)
	}
	d, _, err := e.mem.Load(e.ctx, keystore.HostDoc)
	if err != nil || string(d.Extra["c"]) != "3" || string(d.Keys.Master.Extra["a"]) != "1" || string(d.Keys.Keys[0].Extra["b"]) != "2" {
		t.Errorf("members lost: %v", err)
	}
	e.expect("duplicate", "", keyring.Anonymous, "", keyring.Unknown)
	if diff := cmp.Diff([]string{"k"}, names(d.Keys.Keys)); diff != "" {
		t.Error(diff)
	}
}

func TestAMissingMasterKeyIsAddedByAChangeOnly(t *testing.T) {
	e := newEnv(t)
	e.put(keystore.HostDoc, accesskey.Set{Keys: []accesskey.Key{key("k", "v")}})
	e.open()
	if h := e.Health(); h.State != keyring.Degraded || !strings.Contains(h.Reason, "master") {
		t.Errorf("health %+v", h)
	}
	if e.tap.updates.Load() != 0 {
		t.Error("reading wrote the store")
	}
	if _, _, err := e.Renew(e.ctx, keyring.MasterKey(), "_master"); err != nil {
		t.Fatal(err)
	}
	e.expect("v", "", keyring.FunctionLevel, "k", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

func TestEnsureSystemKeyCreatesOnceInLowerCase(t *testing.T) {
	e := newEnv(t).open()
	first, created, err := e.EnsureSystemKey(e.ctx, "EventGrid")
	if err != nil || !created || first.Name != "eventgrid_extension" || !azfkey.Check(first.Value, azfkey.System) {
		t.Fatalf("%s, created %v, %v", first.Name, created, err)
	}
	again, created, err := e.EnsureSystemKey(e.ctx, "eventgrid")
	if err != nil || created || again.Value != first.Value {
		t.Errorf("created %v, %v", created, err)
	}
	e.expect(first.Value, "", keyring.SystemLevel, "eventgrid_extension", keyring.Matched)
	if _, _, err := e.EnsureSystemKey(e.ctx, ""); !errors.Is(err, problem.Invalid) {
		t.Errorf("no extension: %v", err)
	}
}

func TestEnsureSystemKeyTakesTheOneSomebodyElseJustMade(t *testing.T) {
	e := newEnv(t).open()
	set := e.stored(keystore.HostDoc)
	set.System = []accesskey.Key{key("blobs_extension", "theirs")}
	e.tap.beforeUpdate(func() error { e.put(keystore.HostDoc, set); return nil })
	k, created, err := e.EnsureSystemKey(e.ctx, "blobs")
	if err != nil || created || k.Value != "theirs" {
		t.Errorf("created %v, %v", created, err)
	}
	e.expect("theirs", "", keyring.SystemLevel, "blobs_extension", keyring.Matched)
}

func TestOrphansAreListedAndPrunedOnlyWhenAsked(t *testing.T) {
	e := standard(t)
	if err := e.Ensure(e.ctx, []string{"function1", "function2"}); err != nil {
		t.Fatal(err)
	}
	orphans := must[[]string](t)(e.Orphans(e.ctx, []string{"Function1"}))
	if diff := cmp.Diff([]string{"function2"}, orphans); diff != "" {
		t.Error(diff)
	}
	e.expect("f2value1", "function2", keyring.FunctionLevel, "f2key1", keyring.Matched)
	pruned, err := e.Prune(e.ctx, append(orphans, "never was"))
	if diff := cmp.Diff([]string{"function2"}, pruned); diff != "" || !errors.Is(err, problem.Invalid) {
		t.Error(diff, err) // "never was" cannot be a function
	}
	e.expect("f2value1", "function2", keyring.Anonymous, "", keyring.Unknown) // a new document by now
	if diff := cmp.Diff([]string{"default"}, names(e.stored("function2").Keys)); diff != "" {
		t.Error(diff)
	}
	if _, err := e.Prune(e.ctx, []string{"host"}); !errors.Is(err, problem.Invalid) {
		t.Errorf("pruning the host: %v", err)
	}
	e.expect("mastervalue", "", keyring.AdminLevel, "master", keyring.Matched)
}

func TestListsShowWhatIsStoredNow(t *testing.T) {
	e := standard(t)
	e.clock.Advance(time.Second)
	e.put("function1", accesskey.Set{Keys: []accesskey.Key{key("theirs", "v")}})
	keys := must[[]accesskey.Key](t)(e.List(e.ctx, keyring.FunctionKeys("function1")))
	if diff := cmp.Diff([]string{"theirs"}, names(keys)); diff != "" {
		t.Error(diff)
	}
}
