package manage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// installation starts a platform with an app and signs in to it.
func installation(t *testing.T) (*manage.Installation, manage.App, *platformtest.Platform) {
	t.Helper()
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	in, err := manage.Open(t.Context(), p.Cred)
	if err != nil {
		t.Fatal(err)
	}
	a, err := in.App(t.Context(), "Orders")
	if err != nil {
		t.Fatal(err)
	}
	return in, a, p
}

func TestChangesOfSettingsDoNotOverwriteEachOther(t *testing.T) {
	in, a, _ := installation(t)
	rounds := 0
	set := func(name string) func(map[string]string) error {
		return func(s map[string]string) error { s[name] = "x"; return nil }
	}
	got, err := in.ChangeSettings(t.Context(), a, func(s map[string]string) error {
		if rounds++; rounds == 1 { // somebody else is faster
			if _, err := in.ChangeSettings(t.Context(), a, set("OTHER")); err != nil {
				t.Error(err)
			}
		}
		return set("MINE")(s)
	})
	if err != nil || got["OTHER"] != "x" || got["MINE"] != "x" || rounds != 2 {
		t.Errorf("%v after %d rounds, %v", got, rounds, err)
	}
	stored, err := in.Settings(t.Context(), a)
	if diff := cmp.Diff(got, stored); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	_, err = in.ChangeSettings(t.Context(), a, func(map[string]string) error {
		_, err := in.ChangeSettings(t.Context(), a, func(s map[string]string) error { s["COUNT"] += "x"; return nil })
		return err
	})
	if !errors.Is(err, problem.Conflict) {
		t.Errorf("others that never stop: %v", err)
	}
}

func TestScopesAreShortForIDs(t *testing.T) {
	in, a, p := installation(t)
	for text, want := range map[string]string{
		"/": "/", "subscription": p.Subscription(), "group/rg": p.Subscription() + "/resourceGroups/rg", "app/orders": a.ID, a.ID: a.ID,
	} {
		if got, err := in.Scope(t.Context(), text); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, kind := range map[string]problem.Kind{
		"": problem.Invalid, "group": problem.Invalid, "group/": problem.Invalid, "group/a/b": problem.Invalid, "rg": problem.Invalid, "/x": problem.Invalid,
		"app/": problem.Invalid, "app/nope": problem.NotFound,
	} {
		if got, err := in.Scope(t.Context(), text); !errors.Is(err, kind) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestAssigningTwiceIsOneAssignment(t *testing.T) {
	in, a, _ := installation(t)
	p, err := in.CreatePrincipal(t.Context(), "it's ci")
	if err != nil {
		t.Fatal(err)
	}
	if found, err := in.Principal(t.Context(), "it's ci"); err != nil || found.ObjectID != p.ObjectID {
		t.Errorf("by name: %+v, %v", found, err)
	}
	r, err := in.Role(t.Context(), a.ID, "reader")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		got, created, err := in.Assign(t.Context(), a.ID, r, p)
		if err != nil || created != want || got.Scope != a.ID || got.Role != "Reader" {
			t.Errorf("%+v, created %v, %v", got, created, err)
		}
	}
	list, err := in.Assignments(t.Context(), "/", p.ObjectID)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := in.Unassign(t.Context(), list[0]); err != nil {
		t.Error(err)
	}
	if _, err := in.CreatePrincipal(t.Context(), "it's ci"); err == nil {
		if _, err := in.Principal(t.Context(), "it's ci"); !errors.Is(err, problem.Conflict) {
			t.Errorf("two of one name: %v", err)
		}
	}
}

func TestKeysKeepTheOrderTheyComeIn(t *testing.T) {
	in, a, _ := installation(t)
	keys := in.Keys(a)
	names := []string{"zz", "aa", "a/b", "m m"}
	for _, name := range names {
		key, created, err := keys.Renew(t.Context(), keyring.HostKeys(), name)
		if strings.Contains(name, "/") {
			if !errors.Is(err, problem.Invalid) && !errors.Is(err, problem.NotFound) {
				t.Errorf("%q: %v", name, err)
			}
			continue
		}
		if err != nil || !created || key.Value == "" {
			t.Errorf("%q: created %v, %v", name, created, err)
		}
	}
	var direct struct {
		Functions map[string]string `json:"functionKeys"`
	}
	if err := in.Client().Do(t.Context(), "POST", a.ID+"/host/default/listkeys", nil, &direct); err != nil {
		t.Fatal(err)
	}
	list, err := keys.List(t.Context(), keyring.HostKeys())
	if err != nil || len(list) != len(direct.Functions) || list[0].Name != "default" {
		t.Errorf("%d keys, want %d, default first; %v", len(list), len(direct.Functions), err)
	}
	for _, k := range list {
		if direct.Functions[k.Name] != k.Value {
			t.Errorf("key %q has another value", k.Name)
		}
	}
}
