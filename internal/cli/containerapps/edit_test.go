package containerapps

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

func newApp() *App {
	a := &App{Name: "shop"}
	a.Properties.Configuration = &containerapp.Configuration{Ingress: &containerapp.Ingress{}}
	a.Properties.Template = &containerapp.Template{}
	return a
}

func TestVariablesAreSetAndTakenAway(t *testing.T) {
	c := &containerapp.Container{Name: "c", Env: []containerapp.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}}
	if err := errors.Join(SetEnv(c, []string{"A=x=y", "S=secretref:db", "E="}), RemoveEnv(c, []string{"B"})); err != nil {
		t.Fatal(err)
	}
	want := []containerapp.EnvVar{{Name: "A", Value: "x=y"}, {Name: "S", SecretRef: "db"}, {Name: "E"}}
	if diff := cmp.Diff(want, c.Env); diff != "" {
		t.Error(diff)
	}
	if err := SetEnv(c, []string{"=1"}); !errors.Is(err, problem.Invalid) {
		t.Error(err)
	}
	if err := RemoveEnv(c, []string{"B"}); !errors.Is(err, problem.NotFound) {
		t.Error(err)
	}
}

func TestTrafficIsSharedAnewAndLabelsStay(t *testing.T) {
	a := newApp()
	g := a.Properties.Configuration.Ingress
	g.Traffic = []containerapp.Traffic{{LatestRevision: true, Weight: 100}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...containerapp.Traffic) {
		t.Helper()
		if diff := cmp.Diff(want, g.Traffic); diff != "" {
			t.Error(diff)
		}
	}
	must(a.AddLabel("blue", "shop--one"))
	check(containerapp.Traffic{LatestRevision: true, Weight: 100}, containerapp.Traffic{RevisionName: "shop--one", Label: "blue"})
	must(a.SetTraffic([]Share{{"latest", 20}}, []Share{{"blue", 80}}))
	check(containerapp.Traffic{LatestRevision: true, Weight: 20}, containerapp.Traffic{RevisionName: "shop--one", Label: "blue", Weight: 80})
	must(a.AddLabel("blue", "shop--two"))
	check(containerapp.Traffic{LatestRevision: true, Weight: 20}, containerapp.Traffic{RevisionName: "shop--one", Weight: 80}, containerapp.Traffic{RevisionName: "shop--two", Label: "blue"})
	must(a.SetTraffic([]Share{{"shop--two", 100}}, nil))
	check(containerapp.Traffic{RevisionName: "shop--two", Label: "blue", Weight: 100})
	must(a.RemoveLabel("BLUE"))
	check(containerapp.Traffic{RevisionName: "shop--two", Weight: 100})
	for _, err := range []error{a.RemoveLabel("blue"), a.SetTraffic(nil, []Share{{"green", 1}})} {
		if !errors.Is(err, problem.NotFound) {
			t.Error(err)
		}
	}
}

func TestIdentitiesComeAndGo(t *testing.T) {
	a := newApp()
	a.Assign(true, []string{"/one"})
	a.Assign(false, []string{"/ONE", "/two"})
	if a.Identity.Type != "SystemAssigned,UserAssigned" || len(a.Identity.Users) != 2 {
		t.Errorf("%+v", a.Identity)
	}
	if err := a.Unassign(true, []string{"/Two"}, false); err != nil || a.Identity.Type != "UserAssigned" || len(a.Identity.Users) != 1 {
		t.Errorf("%+v, %v", a.Identity, err)
	}
	if err := a.Unassign(false, nil, true); err != nil || a.Identity.Type != "None" {
		t.Errorf("%+v, %v", a.Identity, err)
	}
	if err := a.Unassign(true, nil, false); !errors.Is(err, problem.NotFound) {
		t.Error(err)
	}
}
