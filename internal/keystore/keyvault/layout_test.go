package keyvault_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

func TestSecretsAreNamedAsTheFunctionsHostNamesThem(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	put(t, s, "http-trigger_1", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{
		{Name: "default", Value: "plain"}, {Name: "100%.é", Value: "odd"},
	}}})
	want := []string{
		"function--http-045trigger-0951--100-037-046-233", "function--http-045trigger-0951--default",
		"host--functionKey--default", "host--masterKey--master", "host--systemKey--eventgrid-095extension",
	}
	if diff := cmp.Diff(want, p.names()); diff != "" {
		t.Error(diff)
	}
	if got := p.get("function--http-045trigger-0951--default"); *got.Value != "plain" || *got.Tags["latchkey-app"] != "orders" {
		t.Errorf("%v", got)
	}
}

func TestOddKeyNamesComeBack(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	var d keystore.Document
	for i, name := range []string{"default", "MiXed", "-", "--", "-045", "a--b", "with space", "日本", "🔑", "é", "100%", "a/b.c\\d", "-1234", "\u00ff\u0100"} {
		d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: name, Value: fmt.Sprint("v", i)})
	}
	put(t, s, "fn", d)
	got, _, err := s.Load(t.Context(), "fn")
	if diff := cmp.Diff(d, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestKeysThatNeedTheSameSecretAreRefused(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	d := keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "\u04d2", Value: "1"}, {Name: "{4", Value: "2"}}}}
	if err := try(t.Context(), p.open(), "fn", d); !errors.Is(err, keystore.ErrInvalid) || len(p.names()) != 0 {
		t.Errorf("%v, %v", err, p.names())
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	for name, k := range map[string]accesskey.Key{
		"name":  {Name: strings.Repeat("n", 110), Value: "v"},
		"value": {Name: "a", Value: strings.Repeat("v", 25_001)},
		"notes": {Name: "a", Value: "v", Extra: map[string][]byte{"note": fmt.Appendf(nil, "%q", strings.Repeat("n", 2900))}},
	} {
		err := try(t.Context(), p.open(), "function_1", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{k}}})
		if !errors.Is(err, keystore.ErrInvalid) || strings.Contains(err.Error(), "vvv") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names := p.names(); len(names) != 0 {
		t.Errorf("%v", names)
	}
}

func TestNotesGoIntoTagsAndOthersTagsStay(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	p.set("function--fn--default", "v", "cost-center", "7")
	note := fmt.Appendf(nil, "%q", strings.Repeat("note with spaces 🔑 ", 120))
	d := keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "default", Value: "v", Extra: map[string][]byte{"note": note, "off": []byte("false")}}}}}
	put(t, s, "fn", d)
	got, _, err := s.Load(t.Context(), "fn")
	if diff := cmp.Diff(d, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	tags := p.get("function--fn--default").Tags
	if len(tags) > 15 || *tags["cost-center"] != "7" {
		t.Errorf("%d tags", len(tags))
	}
	for name, value := range tags {
		if len([]rune(*value)) > 256 || strings.HasPrefix(*value, " ") || strings.HasSuffix(*value, " ") {
			t.Errorf("tag %s is %q", name, *value)
		}
	}
}

func TestAFunctionsKeysAreNotThoseOfALongerName(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	for _, name := range []string{"function--FooBar--default", "function--Foo--old", "function--Foo--default", "function--Foo-045x--default"} {
		p.set(name, "v of "+name)
	}
	put(t, s, "foo", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "new", Value: "n"}}}})
	if err := s.Delete(t.Context(), "foo"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"function--Foo-045x--default", "function--FooBar--default"}, p.names()); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsNobodyOfUsNamedAreLeftAlone(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	names := []string{"database", "function--", "function--Host--default", "function--fn", "host--other--x", "hosts--masterKey--master", "latchkey--other"}
	for _, name := range names {
		p.set(name, "v")
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 0 {
		t.Errorf("%v, %v", docs, err)
	}
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	put(t, s, "fn", keystoretest.Function("1"))
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p.get(name)
	}
}

func TestWhatTheStockHostWroteIsReadAndRewrittenNoMoreThanNeeded(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	p.stock(keystore.HostDoc, keystoretest.Host("1"))
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
	before := p.raw(keystore.HostDoc)
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	if string(before) != string(p.raw(keystore.HostDoc)) {
		t.Error("an update that changes nothing wrote")
	}
	master := p.get("host--masterKey--master")
	if _, _, err := s.Update(t.Context(), keystore.HostDoc, addKey("more", "v")); err != nil {
		t.Fatal(err)
	}
	if again := p.get("host--masterKey--master"); *again.ID != *master.ID {
		t.Error("a key that did not change was written")
	}
}

func TestTheSecretsOfAnotherAppAreRefused(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	put(t, p.open(func(c *keyvault.Config) { c.App = "billing" }), keystore.HostDoc, keystoretest.Host("1"))
	before := p.raw(keystore.HostDoc)
	s := p.open()
	_, _, load := s.Load(t.Context(), keystore.HostDoc)
	_, list := s.List(t.Context())
	_, _, byName := p.open(func(c *keyvault.Config) { c.GetOnly = true }).Load(t.Context(), keystore.HostDoc)
	for what, err := range map[string]error{
		"load": load, "list": list, "by name": byName, "delete": s.Delete(t.Context(), keystore.HostDoc),
		"update":           try(t.Context(), s, keystore.HostDoc, keystoretest.Host("2")),
		"another document": try(t.Context(), s, "fn", keystoretest.Function("2")),
	} {
		if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), `"billing"`) || !strings.Contains(err.Error(), `"orders"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if string(before) != string(p.raw(keystore.HostDoc)) {
		t.Error("it was changed")
	}
}

func TestAppsWithPrefixesShareAVault(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	stores := map[string]*keyvault.Store{}
	for _, app := range []string{"", "billing", "billing-staging"} {
		s := p.open(func(c *keyvault.Config) { c.App, c.Prefix = "app"+app, app })
		put(t, s, keystore.HostDoc, keystoretest.Host(app))
		put(t, s, "fn", keystoretest.Function(app))
		stores[app] = s
	}
	p.get("billing--host--masterKey--master")
	if err := stores["billing"].Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"", "billing-staging"} {
		want(t, stores[app], "fn", keystoretest.Function(app))
		want(t, stores[app], keystore.HostDoc, keystoretest.Host(app))
	}
}

func TestADisabledSecretIsAKeySwitchedOff(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	p.enable("function--fn--Second", false)
	only := keystoretest.Function("1")
	only.Keys.Keys = only.Keys.Keys[:1]
	want(t, s, "fn", only)
	if _, _, err := s.Update(t.Context(), "fn", addKey("third", "3")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Update(t.Context(), "fn", addKey("Second", "taken")); problem.KindOf(err) != problem.Conflict {
		t.Errorf("replaced: %v", err)
	}
	p.enable("function--fn--default", false)
	p.enable("function--fn--third", false)
	d, rev, err := s.Load(t.Context(), "fn")
	if err != nil || rev == "" || len(d.Keys.Keys) != 0 {
		t.Errorf("with all of them off: %v, %v", values(d), err)
	}
	p.enable("function--fn--Second", true)
	want(t, s, "fn", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "Second", Value: "second-1"}}}})
}

func TestNoMasterKeyIsMadeWhileThereAreOtherHostKeys(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	harm := map[string]func(){
		"disabled": func() { p.enable("host--masterKey--master", false) },
		"deleted":  func() { p.delete("host--masterKey--master") },
	}
	for what, do := range harm {
		put(t, s, keystore.HostDoc, keystoretest.Host("1"))
		do()
		before := p.names()
		_, _, load := s.Load(t.Context(), keystore.HostDoc)
		update := try(t.Context(), s, keystore.HostDoc, keystoretest.Host("2"))
		if !errors.Is(load, keystore.ErrUndecryptable) || !errors.Is(update, keystore.ErrUndecryptable) {
			t.Errorf("%s: load %v, update %v", what, load, update)
		}
		if diff := cmp.Diff(before, p.names()); diff != "" {
			t.Error(diff)
		}
		if what == "disabled" {
			p.enable("host--masterKey--master", true)
		} else if err := s.Delete(t.Context(), keystore.HostDoc); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADeletedSecretOfTheSameNameIsRecoveredAndReplaced(t *testing.T) {
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		p := newPlace(t, localvault.Config{DeletionDelay: delay})
		s := p.open()
		put(t, s, "fn", keystoretest.Function("1"))
		if err := s.Delete(t.Context(), "fn"); err != nil {
			t.Fatal(err)
		}
		put(t, s, "fn", keystoretest.Function("2"))
		want(t, s, "fn", keystoretest.Function("2"))
		if err := s.Delete(t.Context(), "fn"); err != nil {
			t.Fatal(err)
		}
		p.vault.Allow("app", "get", "list", "set", "delete")
		if err := try(t.Context(), s, "fn", keystoretest.Function("3")); !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(problem.NextOf(err), "Recover") {
			t.Errorf("without the permission: %v", err)
		}
	}
}

func TestKeysAreReadByNameWithThePermissionToGetOnly(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	p.vault.Allow("reader", "get")
	full := p.open()
	get := func(c *keyvault.Config) {
		c.Credential, c.GetOnly, c.Secrets = person("reader"), true, []string{"function--fn--Second", "host--systemKey--eventgrid-095extension"}
	}
	s := p.open(get)
	if _, _, err := s.Load(t.Context(), keystore.HostDoc); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("an empty vault: %v", err)
	}
	put(t, full, keystore.HostDoc, keystoretest.Host("1"))
	put(t, full, "fn", keystoretest.Function("1"))
	put(t, full, "other", keystoretest.Function("2"))
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
	want(t, s, "fn", keystoretest.Function("1"))
	only := keystoretest.Function("2")
	only.Keys.Keys = only.Keys.Keys[:1]
	want(t, s, "other", only)
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn host]" {
		t.Errorf("%v, %v", docs, err)
	}
	if err := try(t.Context(), s, "fn", keystoretest.Function("3")); !errors.Is(err, keystore.ErrReadOnly) || !s.Capabilities().ReadOnly {
		t.Errorf("update: %v", err)
	}
	if _, _, err := p.open(get, func(c *keyvault.Config) { c.GetOnly, c.Secrets = false, nil }).Load(t.Context(), "fn"); problem.KindOf(err) != problem.Denied || !strings.Contains(problem.NextOf(err), keyvault.AccessSetting) {
		t.Errorf("without saying so: %v", err)
	}
	heard := make(chan keystore.Doc, 100)
	done, err := s.Watch(t.Context(), func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	if d := <-heard; d != "" {
		t.Errorf("told of %q", d)
	}
	_ = done
}

func TestAnswersWithoutTheirSecretAreNotBelieved(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, "function--fn--default") {
			return answer(r, 200, "odd"), nil
		}
		return nil, nil
	})
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// A cold start of 200 functions with 1,000 keys in all.
func TestColdLoadTakesOneListAndOneRequestForEachKey(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a thousand secrets")
	}
	p := newPlace(t, localvault.Config{})
	for f := range 199 {
		for k := range 5 {
			p.set(fmt.Sprintf("function--f%03d--k%d", f, k), fmt.Sprintf("v-%d-%d", f, k))
		}
	}
	d := keystoretest.Host("1")
	d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: "a", Value: "a"}, accesskey.Key{Name: "b", Value: "b"})
	p.stock(keystore.HostDoc, d)
	lists := int64(0)
	p.wire.setAfter(func(r *http.Request, resp *http.Response) error {
		if strings.Trim(r.URL.Path, "/") == "secrets" && resp.StatusCode == 200 {
			lists++
		}
		return nil
	})
	s := p.open()
	began := time.Now()
	all, err := s.LoadAll(t.Context())
	if err != nil || len(all) != 200 || all["f198"].Document.Keys.Keys[4].Value != "v-198-4" {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	t.Logf("%d list pages, %d requests, %v", lists, p.wire.requests.Load(), time.Since(began))
	if n := p.wire.requests.Load(); lists != 40 || n != 1000+40+1 {
		t.Errorf("%d list pages, %d requests", lists, n)
	}
}

// Loads at the same time share lists: those that come while one is under way all
// get the next.
func TestLoadsAtTheSameTimeShareAList(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	lists := make(chan struct{}, 1000)
	release := make(chan struct{})
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.Trim(r.URL.Path, "/") == "secrets" {
			lists <- struct{}{}
			<-release
		}
		return nil, nil
	})
	done := make(chan error)
	load := func() { _, _, err := s.Load(t.Context(), "fn"); done <- err }
	go load()
	<-lists
	for range 50 {
		go load()
	}
	if err := keyvault.AwaitWaiting(t.Context(), s, 50); err != nil {
		t.Fatal(err)
	}
	close(release)
	for range 51 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := len(lists) + 1; n != 2 {
		t.Errorf("%d lists", n)
	}
}

func TestDatesOfSecretsHaveNoEffectAndStay(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	past := time.Unix(1_000_000_000, 0)
	p.label("function--fn--default", azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Expires: &past}})
	want(t, s, "fn", keystoretest.Function("1"))
	d := keystoretest.Function("1")
	d.Keys.Keys[0].Extra = map[string][]byte{"note": []byte(`"x"`)}
	put(t, s, "fn", d)
	if got := p.get("function--fn--default"); got.Attributes.Expires == nil || !got.Attributes.Expires.Equal(past) {
		t.Errorf("%v", got.Attributes.Expires)
	}
}
