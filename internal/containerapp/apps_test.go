package containerapp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const groupAt = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000/resourceGroups/rg"

type fixture struct {
	*testing.T
	*containerapp.Apps
	inv      *inventory.Inventory
	id, env  resource.ID
	onDelete func() error
}

func parse(t *testing.T, text string) resource.ID {
	t.Helper()
	id, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	c := clock.NewManual(time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	f := &fixture{T: t, id: parse(t, groupAt+"/providers/Microsoft.App/containerApps/orders"), env: parse(t, groupAt+"/providers/Microsoft.App/managedEnvironments/env"),
		onDelete: func() error { return nil }}
	inv := &inventory.Inventory{Store: store, Clock: c}
	_, _, err := inv.Write(t.Context(), parse(t, groupAt), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
	f.must(err)
	f.inv = inv
	f.Apps = containerapp.New(containerapp.Config{Inventory: inv, Clock: c,
		OnDelete: []func(context.Context, containerapp.App) error{func(context.Context, containerapp.App) error { return f.onDelete() }}})
	_, _, err = f.PutEnvironment(t.Context(), f.env, "me", containerapp.Spec{Location: "local"}, false)
	f.must(err)
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) spec(image, mode, more string) containerapp.Spec {
	return containerapp.Spec{Location: "local", Properties: json.RawMessage(fmt.Sprintf(
		`{"environmentId":%q,"configuration":{"activeRevisionsMode":%q%s},"template":{"revisionSuffix":%q,"containers":[{"name":"main","image":%q}]}}`,
		f.env, mode, more, "v"+image, image))}
}

func (f *fixture) put(image, mode string) containerapp.App {
	f.Helper()
	a, _, err := f.Put(f.Context(), f.id, "me", f.spec(image, mode, ""))
	f.must(err)
	return a
}

func (f *fixture) report(image string, p containerapp.Provisioning) containerapp.App {
	f.Helper()
	a, err := f.Report(f.Context(), f.id, "orders--v"+image, containerapp.Status{Provisioning: p, Running: containerapp.IsRunning})
	f.must(err)
	return a
}

// active gives the suffixes of the active revisions.
func (f *fixture) active() string {
	f.Helper()
	list, err := f.Revisions(f.Context(), f.id)
	f.must(err)
	var names []string
	for _, r := range list {
		if r.Active {
			names = append(names, strings.TrimPrefix(r.Name, "orders--v"))
		}
	}
	return strings.Join(names, " ")
}

func TestTheRevisionBeforeServesUntilTheNextIsReady(t *testing.T) {
	f := newFixture(t)
	expect := func(when, active, ready string) {
		t.Helper()
		a, err := f.Get(t.Context(), f.id)
		f.must(err)
		if got := f.active(); got != active || strings.TrimPrefix(a.LatestReady, "orders--v") != ready {
			t.Errorf("%s: active %q, ready %q; want %q, %q", when, got, a.LatestReady, active, ready)
		}
	}
	f.put("1", "Single")
	expect("created", "1", "")
	f.report("1", containerapp.Provisioned)
	expect("ready", "1", "1")
	f.put("2", "Single")
	expect("the second comes up", "1 2", "1")
	f.report("2", containerapp.Failed)
	expect("the second failed", "1 2", "1")
	f.put("3", "Single")
	expect("the third comes up", "1 3", "1")
	f.report("3", containerapp.Provisioned)
	expect("the third is ready", "3", "3")
	f.report("2", containerapp.Provisioned)
	expect("one that is over is told ready", "3", "3")
	f.report("3", containerapp.Failed)
	expect("the third fails later", "3", "3")
}

func TestSeveralRevisionsServeByWeight(t *testing.T) {
	f := newFixture(t)
	f.put("1", "Multiple")
	f.report("1", containerapp.Provisioned)
	f.put("2", "Multiple")
	f.report("2", containerapp.Provisioned)
	if got := f.active(); got != "1 2" {
		t.Fatalf("active: %s", got)
	}
	split := `,"ingress":{"traffic":[{"revisionName":"orders--v1","weight":80,"label":"blue"},{"latestRevision":true,"weight":20}]}`
	a, _, err := f.Put(t.Context(), f.id, "me", f.spec("2", "Multiple", split))
	f.must(err)
	if a.Latest != "orders--v2" || len(a.Properties.Configuration.Ingress.Traffic) != 2 {
		t.Errorf("split: %+v", a.Properties.Configuration.Ingress)
	}
	if _, err = f.Deactivate(t.Context(), f.id, "me", "orders--v1"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("one with traffic is deactivated: %v", err)
	}
	if _, err = f.Deactivate(t.Context(), f.id, "me", "orders--none"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("one that is not there: %v", err)
	}
	_, _, err = f.Put(t.Context(), f.id, "me", f.spec("2", "Multiple", `,"ingress":{"traffic":[{"revisionName":"ORDERS--V2","weight":100}]}`))
	f.must(err)
	_, err = f.Deactivate(t.Context(), f.id, "me", "orders--v1")
	f.must(err)
	if _, err = f.RestartRevision(t.Context(), f.id, "me", "orders--v1"); f.active() != "2" || problem.KindOf(err) != problem.Conflict {
		t.Errorf("active %s; an inactive one is restarted: %v", f.active(), err)
	}
	var wrong containerapp.Faults
	if _, _, err = f.Put(t.Context(), f.id, "me", f.spec("2", "Multiple", split)); !errors.As(err, &wrong) {
		t.Errorf("traffic to an inactive one: %v", err)
	}
	_, err = f.Activate(t.Context(), f.id, "me", "orders--v1")
	f.must(err)
	f.put("2", "Single")
	if got := f.active(); got != "2" {
		t.Errorf("in single mode: %s", got)
	}
}

func TestInactiveRevisionsAreKeptUpToTheirLimit(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		_, _, err := f.Put(t.Context(), f.id, "me", f.spec(fmt.Sprint(i), "Single", `,"maxInactiveRevisions":2`))
		f.must(err)
		f.report(fmt.Sprint(i), containerapp.Provisioned)
	}
	list, err := f.Revisions(t.Context(), f.id)
	f.must(err)
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "orders--v2 orders--v3 orders--v4" {
		t.Errorf("kept: %s", got)
	}
}

func TestChangesTellWhatRunsOnlyWhenTheyMustBeTakenUp(t *testing.T) {
	f := newFixture(t)
	one := f.put("1", "Single")
	same := f.put("1", "Single")
	if same.Generation != one.Generation || same.Resource.Revision != one.Resource.Revision {
		t.Error("the same body again was written")
	}
	a, err := f.Patch(t.Context(), f.id, "me", containerapp.Spec{Tags: map[string]string{"a": "b"}, Identity: json.RawMessage(`{"type":"SystemAssigned"}`)})
	f.must(err)
	if a.Generation != one.Generation || a.Latest != one.Latest {
		t.Error("tags and identity must be taken up by what runs")
	}
	b, err := f.SetStopped(t.Context(), f.id, "me", true)
	f.must(err)
	c, err := f.Touch(t.Context(), f.id)
	f.must(err)
	r, err := f.Revision(t.Context(), f.id, one.Latest)
	f.must(err)
	if b.Generation <= a.Generation || c.Generation <= b.Generation || !c.Stopped || r.Restarts != 1 {
		t.Errorf("generations %d, %d, %d; %d restarts", a.Generation, b.Generation, c.Generation, r.Restarts)
	}
}

func TestManyChangeAnAppAtOnce(t *testing.T) {
	f := newFixture(t)
	f.put("0", "Multiple")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 3 {
				image := fmt.Sprintf("%d-%d", i, n)
				_, _, err := f.Put(t.Context(), f.id, "me", f.spec(image, "Multiple", ""))
				if err != nil && problem.KindOf(err) != problem.Conflict {
					t.Error(err)
				}
				if err == nil {
					f.report(image, containerapp.Provisioned)
				}
			}
		})
	}
	wait.Wait()
	list, err := f.Revisions(t.Context(), f.id)
	f.must(err)
	numbers := map[int64]bool{}
	for _, r := range list {
		if numbers[r.Number] {
			t.Errorf("two revisions have number %d", r.Number)
		}
		numbers[r.Number] = true
	}
	a, err := f.Get(t.Context(), f.id)
	f.must(err)
	if last := list[len(list)-1]; last.Name != a.Latest || last.Template.Containers[0].Image != a.Properties.Template.Containers[0].Image {
		t.Errorf("the latest is %s of %s, the app says %s", last.Name, last.Template.Containers[0].Image, a.Latest)
	}
}

func TestADeletionThatWasInterruptedIsFinished(t *testing.T) {
	f := newFixture(t)
	uid := f.put("1", "Single").UID
	cut := errors.New("cut off")
	f.onDelete = func() error { return cut }
	if err := f.Delete(t.Context(), f.id, "me"); !errors.Is(err, cut) {
		t.Fatalf("deleted: %v", err)
	}
	if _, err := f.Get(t.Context(), f.id); problem.KindOf(err) != problem.NotFound {
		t.Errorf("it is seen: %v", err)
	}
	if list, _, err := f.List(t.Context(), resource.Root, "", 0); err != nil || len(list) != 0 {
		t.Errorf("it is listed: %v, %v", list, err)
	}
	if err := f.DeleteEnvironment(t.Context(), f.env); problem.KindOf(err) != problem.Conflict {
		t.Errorf("its environment is deleted: %v", err)
	}
	f.onDelete = func() error { return nil }
	f.must(f.FinishDeletes(t.Context()))
	list, err := f.Revisions(t.Context(), f.id)
	f.must(err)
	if len(list) != 0 {
		t.Errorf("left: %v", list)
	}
	again := f.put("1", "Single")
	if again.UID == uid || again.LatestReady != "" {
		t.Errorf("the next one of the name: %+v", again)
	}
	f.must(f.DeleteWithin(t.Context(), parse(t, groupAt), "me"))
	if _, err := f.Environment(t.Context(), f.env); problem.KindOf(err) != problem.NotFound {
		t.Errorf("the environment: %v", err)
	}
}

// Whoever comes first, no app is left without its environment.
func TestNoAppComesIntoAnEnvironmentThatIsDeleted(t *testing.T) {
	for range 20 {
		f := newFixture(t)
		var wait sync.WaitGroup
		var created, deleted error
		wait.Go(func() { _, _, created = f.Put(t.Context(), f.id, "me", f.spec("1", "Single", "")) })
		wait.Go(func() { deleted = f.DeleteEnvironment(t.Context(), f.env) })
		wait.Wait()
		if created == nil && deleted == nil {
			t.Fatal("the app is there and its environment is not")
		}
		if _, err := f.Environment(t.Context(), f.env); (err == nil) == (deleted == nil) {
			t.Errorf("deletion: %v, then: %v", deleted, err)
		}
	}
}

func TestKindsOfEnvironmentsThatGiveInitContainersIdentities(t *testing.T) {
	name := func(s string) *string { return &s }
	kinds := containerapp.Environment{Profiles: map[string]string{"Consumption": "Consumption", "big": "D4"}}
	for _, tt := range []struct {
		env     containerapp.Environment
		profile *string
		want    bool
	}{
		{containerapp.Environment{}, nil, false},
		{containerapp.Environment{}, name("Consumption"), false},
		{kinds, nil, true},
		{kinds, name("consumption"), true},
		{kinds, name("BIG"), false},
		{kinds, name("other"), false},
	} {
		if got := tt.env.InitIdentities(tt.profile); got != tt.want {
			t.Errorf("%v, %v: %v", tt.env.Profiles, tt.profile, got)
		}
	}
}

func FuzzPutAndPatch(f *testing.F) {
	f.Add(`{"configuration":{"ingress":{"traffic":[{"weight":1}]}},"template":{"containers":[{"name":"a","image":"b","env":[{"name":"x"}]}],"scale":null}}`)
	f.Add(`{"template":{"containers":[{"resources":{"cpu":1e400}}],"volumes":[{"secrets":[{}]}]}}`)
	f.Add(`[1]`)
	f.Fuzz(func(t *testing.T, text string) {
		x := newFixture(t)
		x.put("1", "Single")
		_, err := x.Patch(t.Context(), x.id, "me", containerapp.Spec{Properties: json.RawMessage(text)})
		if kind := problem.KindOf(err); err != nil && kind != problem.Invalid && kind != problem.TooLarge {
			t.Errorf("%q: %v", text, err)
		}
		a, err := x.Get(t.Context(), x.id)
		x.must(err)
		again, err := x.Patch(t.Context(), x.id, "me", containerapp.Spec{Properties: a.Resource.Properties})
		if err != nil || again.Latest != a.Latest || again.Generation != a.Generation {
			t.Errorf("%q: what is stored, sent again, changes something: %v, %+v, was %+v", text, err, again, a)
		}
	})
}
