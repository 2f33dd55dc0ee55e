package docker_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/problem"
)

const testImage = "latchkey-test-program:1"

// program builds the suite's program, statically.
func program(t *testing.T) string {
	t.Helper()
	return localengine.Build(t, "github.com/latchkey/latchkey/internal/engine/enginetest/program")
}

func backend(t *testing.T, d *localengine.Daemon) enginetest.Backend {
	t.Helper()
	binary := program(t)
	cl := d.Load(t, binary, testImage)
	return enginetest.Backend{
		Open: func(t *testing.T, cfg engine.Config) engine.Engine {
			e, err := docker.Open(context.WithoutCancel(t.Context()), docker.Config{Config: cfg, Host: d.Host, Sidecar: docker.Sidecar{Binary: binary, Args: []string{"wait"}}})
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		Image: testImage, Missing: "localhost:1/none:1", Survives: true, Program: []string{"/program"},
		Kill: func(t *testing.T, o engine.Object) { localengine.Kill(t, cl, o.ID) },
	}
}

func TestConformanceOfDocker(t *testing.T) {
	enginetest.Run(t, backend(t, localengine.Docker(t)))
}

func TestConformanceOfPodman(t *testing.T) {
	enginetest.Run(t, backend(t, localengine.Podman(t)))
}

func TestNobodyAnswersNamesTheSocketsTried(t *testing.T) {
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	_, err := docker.Open(t.Context(), docker.Config{Host: host, Sidecar: docker.Sidecar{Binary: "/bin/true"}})
	if engine.ReasonOf(err) != engine.ReasonEngine || problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), host) || !strings.Contains(problem.NextOf(err), `"process"`) {
		t.Errorf("%v\n%s", err, problem.NextOf(err))
	}
}
