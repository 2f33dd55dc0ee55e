package kubernetes_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/memorycluster"
)

var update = flag.Bool("update", false, "write the golden manifests")

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`(?m)^( +(- )?)(uid|resourceVersion|creationTimestamp|lk-[^:]*|env\.[^:]*|init|main|\.dockerconfigjson): \S+$`)

func TestManifestsOfAFullSpec(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	e := open(t, s.Access(), config("golden", &enginetest.Provider{}))
	defer func() { _ = e.Close() }()
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	ready(t, e, spec.Ref)
	cpu := engine.AutoScaleRule{Name: "memory", Type: "memory", Metadata: map[string]string{"type": "Utilization", "value": "70"}}
	queue := engine.AutoScaleRule{Name: "queue", Type: "azure-queue", Metadata: map[string]string{"queueName": "orders"}, Auth: []engine.AutoScaleAuth{{Parameter: "connection", Value: "x"}}}
	if err := e.AutoScale(t.Context(), spec.Ref, &engine.AutoScale{Max: 3, Polling: 5 * time.Second, Rules: []engine.AutoScaleRule{cpu, queue}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a full pass", func() bool { return e.Applied(spec.Ref) })
	_ = n
	var out bytes.Buffer
	s.Mu.Lock()
	for _, path := range slices.Sorted(maps.Keys(s.Applied)) {
		text := must1(yaml.Marshal(s.Applied[path]))
		fmt.Fprintf(&out, "---\n%s", changing.ReplaceAll(text, []byte("${1}${3}: (changes)")))
	}
	s.Mu.Unlock()
	const golden = "testdata/full.yaml"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got)\n%s", diff)
	}
}

func TestWhatTheClusterCannotDoIsRefused(t *testing.T) {
	s := memorycluster.Start(t)
	e := open(t, s.Access(), config("refusals", nil))
	defer func() { _ = e.Close() }()
	for field, change := range map[string]func(*engine.Spec){
		"ports":            func(s *engine.Spec) { s.Ports[0].Host = 80 },
		"volumes[scratch]": func(s *engine.Spec) { s.Volumes[0].Kind, s.Volumes[0].Folder = engine.VolumeFolder, "/etc" },
		"volumes[keys]":    func(s *engine.Spec) { s.Volumes[1].Files[0].Path = "..x" },
		"latchkey-sidecar": func(s *engine.Spec) { s.Main[0].Name = "latchkey-sidecar" },
	} {
		spec := full()
		change(&spec)
		if err := e.Place(t.Context(), spec); err == nil || !strings.Contains(err.Error(), field) || problem.KindOf(err) == problem.Internal {
			t.Errorf("%s: %v", field, err)
		}
	}
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		rule engine.AutoScaleRule
		kind problem.Kind
	}{
		"requests":   {engine.AutoScaleRule{Name: "r", Type: "http"}, problem.Unsupported},
		"identities": {engine.AutoScaleRule{Name: "r", Type: "azure-queue", Identity: "system"}, problem.Unsupported},
		"nothing":    {engine.AutoScaleRule{Name: "r"}, problem.Invalid},
	} {
		if err := e.AutoScale(t.Context(), spec.Ref, &engine.AutoScale{Max: 1, Rules: []engine.AutoScaleRule{c.rule}}); problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), "rule r") {
			t.Errorf("%s: %v", what, err)
		}
	}
	spec = full() // what was placed is not ours to change
	spec.Main[0].Env = append(spec.Main[0].Env, engine.Env{Name: "BIG", Value: strings.Repeat("s3cret", 200000), Secret: true})
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	eventually(t, "secrets that are too large", func() bool {
		st, err := e.Observe(t.Context(), spec.Ref)
		return err == nil && strings.Contains(st.Message, "bytes") && !strings.Contains(st.Message, "s3cret")
	})
}

func TestAServerThatIsAwayComesBack(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	e := open(t, s.Access(), config("away", nil))
	defer func() { _ = e.Close() }()
	down := func(is bool) { s.Mu.Lock(); s.Down = is; s.Mu.Unlock(); s.CloseClientConnections() }
	down(true)
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reason", func() bool {
		st, err := e.Observe(t.Context(), spec.Ref)
		return err == nil && st.Reason == engine.ReasonEngine && !strings.Contains(st.Message, "s3cret")
	})
	if _, err := e.List(t.Context()); !errors.Is(err, problem.Unavailable) {
		t.Errorf("%v", err)
	}
	down(false)
	ready(t, e, spec.Ref)
	// What happened while nobody could be told is found out.
	name := text(n.list(apps + "deployments")[0], "metadata", "name")
	down(true)
	s.Mu.Lock()
	s.Remove(core+"services/"+name, s.Objects[core+"services/"+name], false)
	s.Mu.Unlock()
	down(false)
	eventually(t, "repair", func() bool {
		_, err := n.ask(http.MethodGet, core+"services/"+name, nil, nil)
		return err == nil
	})
}

func TestCommandsRead(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	s.Exec = n.exec
	e := open(t, s.Access(), config("exec", nil))
	defer func() { _ = e.Close() }()
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	ready(t, e, spec.Ref)
	input := strings.Repeat("0123456789", 10000)
	var out bytes.Buffer
	if code, err := e.Exec(t.Context(), engine.Target{Revision: spec.Ref}, engine.Exec{Command: []string{"cat"}, Stdin: strings.NewReader(input), Stdout: &out}); err != nil || code != 0 || out.String() != input {
		t.Errorf("%d %v, %d bytes", code, err, out.Len())
	}
}
