package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const sub = "11111111-1111-1111-1111-111111111111"

// fixture is a state with the resource groups rg and other.
type fixture struct {
	*app.Apps
	inv   *inventory.Inventory
	store *memory.Store
}

func newFixture(t *testing.T, hooks ...func(context.Context, app.App) error) fixture {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	inv := &inventory.Inventory{Store: store, Clock: c}
	for _, g := range []string{"rg", "other"} {
		if _, _, err := inv.Write(t.Context(), resource.Group(sub, g), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) {
			r.Location = "local"
			return r, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return fixture{app.New(app.Config{Inventory: inv, Clock: c, OnDelete: hooks}), inv, store}
}

func siteID(group, name string) resource.ID {
	return resource.Group(sub, group).Child("Microsoft.Web", "sites", name)
}

func planID(group, name string) resource.ID {
	return resource.Group(sub, group).Child("Microsoft.Web", "serverfarms", name)
}

func spec(t *testing.T, body string) app.Spec {
	t.Helper()
	s, err := app.ParseSite([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f fixture) put(t *testing.T, name, body string) app.App {
	t.Helper()
	a, _, err := f.Put(t.Context(), siteID("rg", name), "me", spec(t, body))
	if err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
	return a
}

const minimal = `{"location":"local","kind":"functionapp,linux"}`

func TestPutCreatesAnAppThatRuns(t *testing.T) {
	f := newFixture(t)
	a := f.put(t, "Orders", `{"location":"local","kind":"functionapp,linux","tags":{"a":"b"},
		"properties":{"httpsOnly":true,"state":"Stopped","unknown":1,"siteConfig":{"alwaysOn":true,"appSettings":[{"name":"A","value":"1"}],
		"connectionStrings":[{"name":"Db","connectionString":"Server=x","type":"sqlazure"}]}}}`)
	if a.Name != "Orders" || a.State != app.Running || !a.Enabled || !a.Wanted() || a.UID == "" || a.Generation != 1 {
		t.Errorf("%+v is not a new app that runs", a)
	}
	var properties map[string]any
	if err := json.Unmarshal(a.Resource.Properties, &properties); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"httpsOnly": true, "serverFarmId": planID("rg", "localLinuxDynamicPlan").String()}
	if diff := cmp.Diff(want, properties); diff != "" {
		t.Errorf("properties: %s", diff)
	}
	settings, rev, err := f.Settings(t.Context(), a.ID)
	if diff := cmp.Diff(map[string]string{"A": "1"}, settings); diff != "" || err != nil || rev == state.Absent {
		t.Errorf("settings: %s %v at %d", diff, err, rev)
	}
	connections, _, err := f.Connections(t.Context(), a.ID)
	if diff := cmp.Diff(map[string]app.Connection{"Db": {Value: "Server=x", Type: "SQLAzure"}}, connections); diff != "" || err != nil {
		t.Errorf("connection strings: %s %v", diff, err)
	}
	byName, err := f.ByName(t.Context(), "oRDERS")
	if err != nil || !byName.ID.Equal(a.ID) {
		t.Errorf("ByName gives %v, %v", byName.ID, err)
	}
	if snap, err := f.Snapshot(t.Context(), a.ID); err != nil || snap.Settings["A"] != "1" || string(snap.Web) != `{"alwaysOn":true}` || snap.Generation != 1 {
		t.Errorf("snapshot %+v, %v", snap, err)
	}
}

func TestCurrentGivesAnAppAsItIsNow(t *testing.T) {
	f := newFixture(t)
	a := f.put(t, "orders", minimal)
	if now, err := f.Current(t.Context(), a); err != nil || now.UID != a.UID || now.State != app.Running {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := f.SetState(t.Context(), a.ID, "me", app.Stopped); err != nil {
		t.Fatal(err)
	}
	now, err := f.Current(t.Context(), a)
	if err != nil || now.State != app.Stopped {
		t.Errorf("%+v, %v", now, err)
	}
	if err := f.Delete(t.Context(), a.ID, "me"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Current(t.Context(), now); !errors.Is(err, problem.NotFound) {
		t.Errorf("an app that was deleted: %v", err)
	}
	next := f.put(t, "orders", minimal)
	if now, err := f.Current(t.Context(), now); err != nil || now.UID != next.UID {
		t.Errorf("the next app of the name: %+v, %v", now, err)
	}
}

func TestGenerationGrowsWithWhatRunningCopiesMustTakeUp(t *testing.T) {
	f := newFixture(t)
	id := f.put(t, "orders", minimal).ID
	web := func(text string) func() error {
		return func() error {
			w, err := app.ParseWeb(json.RawMessage(text))
			if err == nil {
				_, err = f.UpdateWeb(context.Background(), id, "me", w)
			}
			return err
		}
	}
	patch := func(text string) func() error {
		return func() error {
			_, err := f.Patch(context.Background(), id, "me", spec(t, text))
			return err
		}
	}
	section := func(s app.Section, text string) func() error {
		return func() error {
			_, err := f.SetSection(context.Background(), id, "me", s, json.RawMessage(text), state.Any)
			return err
		}
	}
	settings := func(value string) func() error {
		return func() error {
			_, err := f.SetSettings(context.Background(), id, "me", map[string]string{"A": value}, state.Any)
			return err
		}
	}
	run := func(s app.State) func() error {
		return func() error { _, err := f.SetState(context.Background(), id, "me", s); return err }
	}
	for _, step := range []struct {
		what  string
		do    func() error
		grows bool
	}{
		{"settings", settings("1"), true},
		{"the same settings", settings("1"), false},
		{"other settings", settings("2"), true},
		{"configuration", web(`{"alwaysOn":true}`), true},
		{"the same configuration", web(`{"alwaysOn": true}`), false},
		{"stop", run(app.Stopped), true},
		{"stop again", run(app.Stopped), false},
		{"start", run(app.Running), true},
		{"restart", func() error { _, err := f.Restart(context.Background(), id, "me"); return err }, true},
		{"a package", func() error { _, err := f.Activate(context.Background(), id, "me", "r1"); return err }, true},
		{"the same package", func() error { _, err := f.Activate(context.Background(), id, "me", "r1"); return err }, false},
		{"what is so by default", patch(`{"properties":{"enabled":true,"httpsOnly":false,"reserved":true}}`), false},
		{"configuration that is so by default", web(`{"http20Enabled":false}`), false},
		{"tags", patch(`{"tags":{"x":"y"}}`), false},
		{"enabled", patch(`{"properties":{"enabled":false}}`), true},
		{"identity", patch(`{"identity":{"type":"SystemAssigned"}}`), true},
		{"logs", section(app.Logs, `{"httpLogs":{}}`), false},
		{"mounts", section(app.StorageAccounts, `{"m":{}}`), true},
		{"policy", func() error { return f.AllowPasswords(context.Background(), id, "me", app.PolicySCM, false) }, false},
	} {
		before, err := f.Get(t.Context(), id)
		if err == nil {
			err = step.do()
		}
		after, err2 := f.Get(t.Context(), id)
		if err != nil || err2 != nil {
			t.Fatalf("%s: %v %v", step.what, err, err2)
		}
		if grew := after.Generation > before.Generation; grew != step.grows {
			t.Errorf("%s: generation went from %d to %d", step.what, before.Generation, after.Generation)
		}
	}
}

func TestPutReplacesPropertiesAndKeepsWhatItDoesNotSay(t *testing.T) {
	f := newFixture(t)
	first := f.put(t, "orders", `{"location":"local","kind":"functionapp","tags":{"a":"b"},"identity":{"type":"SystemAssigned"},
		"properties":{"httpsOnly":true,"siteConfig":{"alwaysOn":true,"appSettings":[{"name":"A","value":"1"}]}}}`)
	again := f.put(t, "orders", `{"location":"local","properties":{"clientCertEnabled":true,"serverFarmId":null,"siteConfig":{"http20Enabled":true,"appSettings":null}}}`)
	want := fmt.Sprintf(`{"clientCertEnabled":true,"serverFarmId":%q}`, first.Plan)
	if string(again.Resource.Properties) != want || again.Resource.Tags != nil || string(again.Resource.Identity) != `{"type":"SystemAssigned"}` {
		t.Errorf("after a second put: %+v", again.Resource)
	}
	snap, err := f.Snapshot(t.Context(), first.ID)
	if err != nil || snap.Settings["A"] != "1" || string(snap.Web) != `{"alwaysOn":true,"http20Enabled":true}` {
		t.Errorf("%v, %s, %v", snap.Settings, snap.Web, err)
	}
	f.put(t, "orders", `{"properties":{"siteConfig":{"appSettings":[]}}}`)
	if settings, _, err := f.Settings(t.Context(), first.ID); err != nil || len(settings) != 0 {
		t.Errorf("settings %v, %v after an empty list", settings, err)
	}
}

func TestPatchMergesAndNullRemoves(t *testing.T) {
	f := newFixture(t)
	id := f.put(t, "orders", `{"location":"local","tags":{"a":"b"},"properties":{"httpsOnly":true,"virtualNetworkSubnetId":"/x",
		"functionAppConfig":{"runtime":{"name":"node","version":"20"},"scaleAndConcurrency":{"maximumInstanceCount":100}}}}`).ID
	a, err := f.Patch(t.Context(), id, "me", spec(t, `{"properties":{"virtualNetworkSubnetId":null,"functionAppConfig":{"runtime":{"version":"22"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"functionAppConfig":{"runtime":{"name":"node","version":"22"},"scaleAndConcurrency":{"maximumInstanceCount":100}},"httpsOnly":true,"serverFarmId":%q}`, a.Plan)
	if string(a.Resource.Properties) != want || a.Resource.Tags["a"] != "b" {
		t.Errorf("%s, %v", a.Resource.Properties, a.Resource.Tags)
	}
	if _, err := f.Patch(t.Context(), siteID("rg", "nobody"), "me", app.Spec{}); !errors.Is(err, problem.NotFound) {
		t.Errorf("patch of nothing: %v", err)
	}
}

func TestNamesAreUniqueInTheInstallation(t *testing.T) {
	f := newFixture(t)
	f.put(t, "orders", minimal)
	_, _, err := f.Put(t.Context(), siteID("other", "ORDERS"), "me", spec(t, minimal))
	if !errors.Is(err, problem.Exists) || problem.NextOf(err) == "" || strings.Contains(problem.NextOf(err), "rg") { // where the other is is not everybody's business
		t.Errorf("a second app of the name: %v (%s)", err, problem.NextOf(err))
	}
	if _, _, err := f.Put(t.Context(), siteID("none", "fresh"), "me", spec(t, minimal)); !errors.Is(err, problem.NotFound) {
		t.Errorf("an app in a group that is not there: %v", err)
	}
}

func TestOnlyOneOfManyGetsAName(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group := "rg"
		if i%2 == 1 {
			group = "other"
		}
		wg.Go(func() {
			_, _, errs[i] = f.Put(context.Background(), siteID(group, "orders"), "me", app.Spec{Location: "local"})
		})
	}
	wg.Wait()
	all, _, err := f.List(t.Context(), resource.Root, "", 0)
	if err != nil || len(all) != 1 {
		t.Fatalf("there are %d apps, %v", len(all), err)
	}
	for i, err := range errs {
		sameGroup := (i%2 == 0) == (all[0].ID.Group() == "rg")
		if sameGroup && err != nil || !sameGroup && !errors.Is(err, problem.Exists) {
			t.Errorf("put %d: %v", i, err)
		}
	}
}

func TestNamesMustBeHostNameLabels(t *testing.T) {
	for name, good := range map[string]bool{
		"orders": true, "a1": true, "A-b": true, strings.Repeat("a", 60): true,
		"": false, "a": false, "-ab": false, "ab-": false, "a.b": false, "a_b": false, "ä1": false, "xn--ab": false, "scm": false,
		strings.Repeat("a", 61): false, "a/b": false, "a b": false,
	} {
		if err := app.CheckName(name); (err == nil) != good || err != nil && !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSettingsAreCheckedByName(t *testing.T) {
	many := map[string]string{}
	for i := range app.MaxSettings + 1 {
		many[fmt.Sprint("S", i)] = ""
	}
	for _, tt := range []struct {
		what     string
		settings map[string]string
		kind     problem.Kind
		says     string
	}{
		{"empty name", map[string]string{"": "x"}, problem.Invalid, "empty"},
		{"equals sign", map[string]string{"A=B": "x"}, problem.Invalid, `"A=B"`},
		{"line break", map[string]string{"A\nB": "x"}, problem.Invalid, "cannot be seen"},
		{"space at the end", map[string]string{"A ": "x"}, problem.Invalid, `"A "`},
		{"long name", map[string]string{strings.Repeat("n", 300): "x"}, problem.Invalid, "256"},
		{"case only", map[string]string{"Key": "x", "KEY": "y"}, problem.Invalid, `"KEY" and "Key"`},
		{"zero byte", map[string]string{"A": "secret\x00"}, problem.Invalid, `"A"`},
		{"long value", map[string]string{"A": strings.Repeat("secret", 20000)}, problem.TooLarge, `"A"`},
		{"many", many, problem.TooLarge, "1000"},
	} {
		err := app.CheckSettings(tt.settings)
		if problem.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %.300v", tt.what, err)
		}
	}
	if err := app.CheckSettings(map[string]string{"A__B": "", "a.b:c-d": "ö\n", "Ünï": "x"}); err != nil {
		t.Errorf("good settings: %v", err)
	}
	f := newFixture(t)
	id := f.put(t, "orders", minimal).ID
	big := map[string]string{}
	for i := range 5 {
		big[fmt.Sprint("S", i)] = strings.Repeat("x", app.MaxSettingValue)
	}
	if _, err := f.SetSettings(t.Context(), id, "me", big, state.Any); !errors.Is(err, problem.TooLarge) || !strings.Contains(err.Error(), "appsettings") {
		t.Errorf("settings over the limit together: %v", err)
	}
}

func TestSettingsAreWrittenOnCondition(t *testing.T) {
	f := newFixture(t)
	id := f.put(t, "orders", minimal).ID
	v, err := f.SetSettings(t.Context(), id, "me", map[string]string{"A": "1"}, state.Absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetSettings(t.Context(), id, "me", map[string]string{"A": "2"}, v.Revision); err != nil {
		t.Errorf("with the revision there is: %v", err)
	}
	if _, err := f.SetSettings(t.Context(), id, "me", map[string]string{"A": "3"}, v.Revision); !errors.Is(err, problem.Conflict) {
		t.Errorf("with a revision there was: %v", err)
	}
	if settings, _, _ := f.Settings(t.Context(), id); settings["A"] != "2" {
		t.Errorf("settings are %v", settings)
	}
}

func TestConcurrentChangesAreAllKept(t *testing.T) {
	f := newFixture(t)
	id := f.put(t, "orders", minimal).ID
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			_, err := f.UpdateSection(context.Background(), id, "me", app.Metadata, state.Any, func(old json.RawMessage) (json.RawMessage, error) {
				m := map[string]string{}
				if old != nil {
					_ = json.Unmarshal(old, &m)
				}
				m[fmt.Sprint(i)] = "x"
				return json.Marshal(m)
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := f.Restart(context.Background(), id, "me"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v, err := f.Section(t.Context(), id, app.Metadata)
	m := map[string]string{}
	if err == nil {
		err = json.Unmarshal(v.JSON, &m)
	}
	a, err2 := f.Get(t.Context(), id)
	if err != nil || err2 != nil || len(m) != 6 || a.Restarts != 6 {
		t.Errorf("%d of 6 changes and %d of 6 restarts are there, %v %v", len(m), a.Restarts, err, err2)
	}
}

func TestPublishingCredentialOpensOnlyItsApp(t *testing.T) {
	f := newFixture(t)
	a, b := f.put(t, "orders", minimal), f.put(t, "bills", minimal)
	cred, err := f.Publishing(t.Context(), a.ID)
	if err != nil || cred.User != "$orders" || len(cred.Password) != 60 {
		t.Fatalf("%+v, %v", cred.User, err)
	}
	check := func(what string, id resource.ID, user, password string, kind error) {
		t.Helper()
		if err := f.CheckPublishing(t.Context(), id, user, password); !errors.Is(err, kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("right", a.ID, "$orders", cred.Password, nil)
	check("right with the app's name", a.ID, `ORDERS\$Orders`, cred.Password, nil)
	check("another app's", b.ID, "$bills", cred.Password, problem.Unauthenticated)
	check("wrong user", a.ID, "orders", cred.Password, problem.Unauthenticated)
	check("empty", a.ID, "$orders", "", problem.Unauthenticated)
	check("no such app", siteID("rg", "nobody"), "$nobody", "", problem.Unauthenticated)
	if err := f.AllowPasswords(t.Context(), a.ID, "me", app.PolicySCM, false); err != nil {
		t.Fatal(err)
	}
	check("right, not allowed", a.ID, "$orders", cred.Password, problem.Denied)
	check("wrong, not allowed", a.ID, "$orders", "x", problem.Unauthenticated)
	if err := f.NewPublishingPassword(t.Context(), a.ID, "me"); err != nil {
		t.Fatal(err)
	}
	check("replaced", a.ID, "$orders", cred.Password, problem.Unauthenticated)
}
