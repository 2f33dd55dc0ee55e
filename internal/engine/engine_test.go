package engine_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

func valid() engine.Spec {
	c := func(name string) engine.Container {
		return engine.Container{Name: name, Image: "image", CPU: 0.5, Memory: 1 << 20}
	}
	return engine.Spec{Ref: engine.Ref{App: "/apps/A", Revision: "a--1"}, Replicas: 1, Init: []engine.Container{c("init")}, Main: []engine.Container{c("main")},
		Volumes: []engine.Volume{{Name: "keys", Kind: engine.VolumeSecret, Files: []engine.File{{Path: "a/b", Data: []byte("x")}}}}}
}

func TestWhatIsWrongWithASpecNamesTheField(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	mount := func(m engine.Mount) func(*engine.Spec) {
		return func(s *engine.Spec) { s.Main[0].Mounts = []engine.Mount{m} }
	}
	for field, change := range map[string]func(*engine.Spec){
		"'app'":                                   func(s *engine.Spec) { s.App = "" },
		"'revision'":                              func(s *engine.Spec) { s.Revision = "../x" },
		"'replicas'":                              func(s *engine.Spec) { s.Replicas = -1 },
		"'containers'":                            func(s *engine.Spec) { s.Main = nil },
		"'terminationGracePeriodSeconds'":         func(s *engine.Spec) { s.Grace = -time.Second },
		"'containers[main].resources.cpu'":        func(s *engine.Spec) { s.Main[0].CPU = 0 },
		"'containers[main].resources.cpu' must":   func(s *engine.Spec) { s.Main[0].CPU = math.NaN() },
		"'initContainers[init].resources.memory'": func(s *engine.Spec) { s.Init[0].Memory = 0 },
		"'initContainers[init].probes'":           func(s *engine.Spec) { s.Init[0].Probes = []engine.Probe{{Kind: engine.Liveness, Port: 1}} },
		"'containers[main].image'":                func(s *engine.Spec) { s.Main[0].Image = "" },
		"'containers[init]' has the name":         func(s *engine.Spec) { s.Main[0].Name = "init" },
		"'containers[Main]'":                      func(s *engine.Spec) { s.Main[0].Name = "Main" },
		"'containers[main].env'":                  func(s *engine.Spec) { s.Main[0].Env = []engine.Env{{Name: "A=B"}} },
		"'containers[main].probes.port'":          func(s *engine.Spec) { s.Main[0].Probes = []engine.Probe{{Kind: engine.Liveness}} },
		"'containers[main].probes' has two": func(s *engine.Spec) {
			s.Main[0].Probes = []engine.Probe{{Kind: engine.Liveness, Port: 1}, {Kind: engine.Liveness, Port: 1}}
		},
		"'containers[main].volumeMounts' names":         mount(engine.Mount{Volume: "none", Path: "/x"}),
		"'containers[main].volumeMounts' needs":         mount(engine.Mount{Volume: "keys", Path: "/x/.."}),
		"'containers[main].volumeMounts' has a subPath": mount(engine.Mount{Volume: "keys", Path: "/x", SubPath: "../../etc"}),
		"'volumes[keys]' has a file":                    func(s *engine.Spec) { s.Volumes[0].Files[0].Path = "../escape" },
		"'volumes[keys]' is of an unknown kind":         func(s *engine.Spec) { s.Volumes[0].Kind = "nfs" },
		"'ports' must be":                               func(s *engine.Spec) { s.Ports = []engine.Port{{Number: 70000}} },
		"'ports' has 80 twice":                          func(s *engine.Spec) { s.Ports = []engine.Port{{Number: 80}, {Number: 80}} },
	} {
		s := valid()
		change(&s)
		err := s.Validate()
		if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "field "+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestDigestTellsApartWhatMustBeReplaced(t *testing.T) {
	base := valid()
	base.Main[0].Env = []engine.Env{{Name: "PLAIN", Value: "1"}, {Name: "SECRET", Value: "1", Secret: true}}
	for name, one := range map[string]struct {
		change func(*engine.Spec)
		same   bool
	}{
		"replicas":         {func(s *engine.Spec) { s.Replicas = 9 }, true},
		"case of the app":  {func(s *engine.Spec) { s.App = strings.ToUpper(s.App) }, true},
		"a secret's value": {func(s *engine.Spec) { s.Main[0].Env[1].Value = "2" }, true},
		"a file's content": {func(s *engine.Spec) { s.Volumes[0].Files[0].Data = []byte("y") }, true},
		"generation":       {func(s *engine.Spec) { s.Generation = "2" }, false},
		"a plain value":    {func(s *engine.Spec) { s.Main[0].Env[0].Value = "2" }, false},
		"an image":         {func(s *engine.Spec) { s.Init[0].Image = "other" }, false},
	} {
		other := valid()
		other.Main[0].Env = []engine.Env{{Name: "PLAIN", Value: "1"}, {Name: "SECRET", Value: "1", Secret: true}}
		one.change(&other)
		if (other.Digest() == base.Digest()) != one.same {
			t.Errorf("%s: same is not %v", name, one.same)
		}
	}
	if base.Main[0].Env[1].Value != "1" || string(base.Volumes[0].Files[0].Data) != "x" {
		t.Error("the digest changed its spec")
	}
}
