package release_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
)

func newDeployer(t *testing.T, f *fixture, activate func(ctx context.Context, app, id, by string) error) *release.Deployer {
	d := release.NewDeployer(release.DeployerConfig{Releases: f.releases, Activate: activate, Keep: 2, AtOnce: 1})
	t.Cleanup(d.Close)
	return d
}

func TestDeployAnswersWhenTheAppWasTold(t *testing.T) {
	f := newFixture(t)
	var told []string
	d := newDeployer(t, f, func(_ context.Context, app, id, by string) error {
		told = append(told, app+" "+id+" "+by)
		return nil
	})
	var last release.Release
	for _, salt := range []string{"1", "2", "3", "4"} {
		rel, err := d.Deploy(t.Context(), "app", bytes.NewReader(appZip(t, salt)), release.Meta{By: "me"})
		if err != nil {
			t.Fatal(err)
		}
		if want := "app " + rel.ID + " me"; told[len(told)-1] != want {
			t.Errorf("told %q, want %q", told, want)
		}
		last = rel
	}
	list, err := f.releases.List(t.Context(), "app")
	if err != nil || len(list) != 2 || list[0].ID != last.ID {
		t.Errorf("kept: %d, %v", len(list), err)
	}
	if phase, _ := list[0].Phase(""); phase != release.Succeeded {
		t.Errorf("phase %d", phase)
	}
	if back, err := d.Activate(t.Context(), "app", list[1].ID, "me"); err != nil || back.ID != list[1].ID || len(told) != 5 {
		t.Errorf("going back: %v, %v", told, err)
	}
	if _, err := d.Activate(t.Context(), "app", "20200101-000000.000-00000000", "me"); !errors.Is(err, problem.NotFound) {
		t.Errorf("going to what is not there: %v", err)
	}
}

func TestADeploymentInTheBackgroundShowsItsPhases(t *testing.T) {
	f := newFixture(t)
	at, on := make(chan struct{}), make(chan struct{})
	d := newDeployer(t, f, func(context.Context, string, string, string) error {
		close(at)
		<-on
		return problem.New(problem.Unavailable, "the state cannot be reached")
	})
	rel, err := d.DeployLater(t.Context(), "app", bytes.NewReader(appZip(t, "x")), release.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	<-at
	if phase := f.phase(t, rel.ID); phase != release.Activating {
		t.Errorf("while the app is told: phase %d", phase)
	}
	if _, err := d.DeployLater(t.Context(), "other", strings.NewReader("x"), release.Meta{}); !errors.Is(err, problem.Throttled) {
		t.Errorf("more than may go on at once: %v", err)
	}
	close(on)
	d.Close()
	if phase := f.phase(t, rel.ID); phase != release.Unfit {
		t.Errorf("after the app could not be told: phase %d", phase)
	}
	if _, err := f.releases.Folder(t.Context(), "app", rel.ID); err != nil {
		t.Errorf("the package is whole nonetheless: %v", err)
	}
	if _, err := d.Deploy(t.Context(), "app", strings.NewReader("x"), release.Meta{}); !errors.Is(err, problem.Unavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func (f *fixture) phase(t *testing.T, id string) release.Phase {
	t.Helper()
	busy, err := f.releases.Deploying(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := f.releases.Get(t.Context(), "app", id)
	if err != nil {
		t.Fatal(err)
	}
	phase, _ := rel.Phase(busy)
	return phase
}

func TestAnUploadThatBreaksOffFails(t *testing.T) {
	f := newFixture(t)
	d := newDeployer(t, f, func(context.Context, string, string, string) error { return nil })
	broken := io.MultiReader(bytes.NewReader(appZip(t, "x")[:50]), errReader{})
	if _, err := d.Deploy(t.Context(), "app", broken, release.Meta{}); err == nil {
		t.Error("it succeeded")
	}
	f.clean(t)
	list, err := f.releases.List(t.Context(), "app")
	if err != nil || len(list) != 1 || list[0].Status != release.Failed {
		t.Errorf("releases: %+v, %v", list, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestAPanicFailsOneDeployment: what a stranger's package brings about must not end
// the node, and lets the app be deployed again.
func TestAPanicFailsOneDeployment(t *testing.T) {
	panics := true
	f := newFixture(t, func(c *release.Config) {
		c.Inspect = func(context.Context, string) ([]release.Function, []string, error) {
			if panics {
				panic("for the test")
			}
			return nil, nil, nil
		}
	})
	d := newDeployer(t, f, func(context.Context, string, string, string) error { return nil })
	if _, err := d.Deploy(t.Context(), "app", bytes.NewReader(appZip(t, "1")), release.Meta{}); !errors.Is(err, problem.Internal) {
		t.Errorf("a panic gives %v", err)
	}
	list, err := f.releases.List(t.Context(), "app")
	if err != nil || len(list) != 1 || list[0].Status != release.Failed {
		t.Errorf("the release is %+v, %v", list, err)
	}
	panics = false
	if _, err := d.Deploy(t.Context(), "app", bytes.NewReader(appZip(t, "2")), release.Meta{}); err != nil {
		t.Errorf("the next deployment: %v", err)
	}
}
