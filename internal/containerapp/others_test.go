package containerapp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// meanwhile lets others act just before the next write.
type meanwhile struct {
	state.Store
	act func()
}

func (m *meanwhile) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if act := m.act; act != nil {
		m.act = nil
		act()
	}
	return m.Store.Write(ctx, ops...)
}

func TestAReportKeepsWhoChangedTheAppMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.put("1", "Single")
	f.inv.Store = &meanwhile{f.inv.Store, func() {
		_, err := f.SetStopped(t.Context(), f.id, "another", true)
		f.must(err)
	}}
	a := f.report("1", containerapp.Provisioned)
	if a.Resource.ChangedBy != "another" || !a.Stopped || a.LatestReady != "orders--v1" {
		t.Errorf("changed by %q, stopped %t, ready %q", a.Resource.ChangedBy, a.Stopped, a.LatestReady)
	}
}

func TestTheRevisionThatServesUntilTheLatestIsReadyIsNotDeactivated(t *testing.T) {
	f := newFixture(t)
	more := `,"ingress":{"targetPort":80,"traffic":[{"latestRevision":true,"weight":100}]}`
	for _, image := range []string{"1", "2"} {
		_, _, err := f.Put(t.Context(), f.id, "me", f.spec(image, "Multiple", more))
		f.must(err)
		f.report(image, map[string]containerapp.Provisioning{"1": containerapp.Provisioned, "2": containerapp.Failed}[image])
	}
	if _, err := f.Deactivate(t.Context(), f.id, "me", "orders--v1"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("the one that serves: %v", err)
	}
	f.report("2", containerapp.Provisioned)
	_, err := f.Deactivate(t.Context(), f.id, "me", "orders--v1")
	f.must(err)
}

func TestAsManyRevisionsAsCanBeActiveAreChangedTogether(t *testing.T) {
	f := newFixture(t)
	for i := range containerapp.MaxActive {
		f.put(fmt.Sprint(i), "Multiple")
	}
	_, _, err := f.Put(t.Context(), f.id, "me", f.spec("more", "Multiple", ""))
	if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), fmt.Sprint(containerapp.MaxActive)) || problem.NextOf(err) == "" {
		t.Errorf("one more: %v", err)
	}
	_, err = f.Touch(t.Context(), f.id)
	f.must(err)
	_, err = f.Deactivate(t.Context(), f.id, "me", "orders--v0")
	f.must(err)
	f.put("more", "Multiple")
	if _, err = f.Activate(t.Context(), f.id, "me", "orders--v0"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("one more is activated: %v", err)
	}
	f.report("more", containerapp.Provisioned)
	f.put("last", "Single")
	if got := f.active(); got != "more last" {
		t.Errorf("in single mode: %s", got)
	}
}
