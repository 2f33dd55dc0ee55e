package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/kubernetes"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/testkit/memorycluster"
	"github.com/latchkey/latchkey/internal/testkit/realcluster"
)

// crd is what of KEDA's definitions the engine's objects need.
func crd(kind, plural string) map[string]any {
	return map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + ".keda.sh"},
		"spec": map[string]any{"group": "keda.sh", "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural, "singular": kind2(kind)},
			"versions": []any{map[string]any{"name": "v1alpha1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "required": []any{"spec"}, "properties": map[string]any{"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}}
}

func kind2(kind string) string {
	return map[string]string{"ScaledObject": "scaledobject", "TriggerAuthentication": "triggerauthentication"}[kind]
}

// full is a spec with everything in it, and names of strangers.
func full() engine.Spec {
	probe := engine.Probe{Port: 8080, HTTP: &engine.HTTPProbe{Path: "/health", Headers: map[string]string{"X-One": "$(A)"}}, Period: 1500 * time.Millisecond}
	ready, live := probe, probe
	ready.Kind, live.Kind = engine.Readiness, engine.Liveness
	ready.SuccessThreshold, live.SuccessThreshold = 2, 3
	return engine.Spec{
		Ref:      engine.Ref{App: "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/\"x\"\n{$(B)}: ü", Revision: "a-very-long-name-of-a-revision-as-they-are--0000001"},
		Replicas: 1, Generation: "1", Grace: 2 * time.Second,
		Init: []engine.Container{{Name: "init", Image: testImage, Args: []string{"exit", "0"}, CPU: 0.25, Memory: 1 << 28, Mounts: []engine.Mount{{Volume: "scratch", Path: "/scratch"}}}},
		Main: []engine.Container{{Name: "main", Image: testImage, Args: []string{"serve"}, WorkingDir: "/", CPU: 1, Memory: 1 << 30, Probes: []engine.Probe{ready, live},
			Env:    []engine.Env{{Name: "PLAIN", Value: "$(IDENTITY_HEADER) $$ $"}, {Name: "TWICE", Value: "1"}, {Name: "SECRET", Value: "s3cret$(PLAIN)", Secret: true}, {Name: "TWICE", Value: "2"}, {Name: "IDENTITY_HEADER", Value: "forged"}},
			Mounts: []engine.Mount{{Volume: "scratch", Path: "/scratch", SubPath: "below"}, {Volume: "keys", Path: "/keys", ReadOnly: true}}}},
		Volumes: []engine.Volume{{Name: "scratch", Kind: engine.VolumeEmpty}, {Name: "keys", Kind: engine.VolumeSecret, Files: []engine.File{{Path: "a/b c", Data: []byte{0, 1}}, {Path: ".c", Data: []byte("x")}}}},
		Ports:   []engine.Port{{Number: 8080}},
	}
}

func config(name string, p engine.Identity) engine.Config {
	return engine.Config{Installation: name, Identity: p, Clock: clock.Real{}, Registry: registry{}, Log: slog.Default()}
}

type registry struct{}

func (registry) Credential(_ context.Context, _ engine.Ref, image string) (engine.Credential, error) {
	return engine.Credential{Username: "u", Password: "p4ss"}, nil
}

const patience = 60 * time.Second

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

func ready(t *testing.T, e engine.Engine, ref engine.Ref) engine.Status {
	t.Helper()
	var s engine.Status
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last seen: %+v", s)
		}
	})
	eventually(t, "a ready replica", func() bool { s, _ = e.Observe(t.Context(), ref); return s.Ready == 1 && len(s.Replicas) == 1 })
	return s
}

// versions gives the version of each object of an installation.
func versions(n *nodes, installation string) map[string]string {
	out := map[string]string{}
	for _, path := range []string{core + "configmaps", core + "secrets", core + "services", core + "serviceaccounts", apps + "deployments",
		"/apis/networking.k8s.io/v1/namespaces/apps/networkpolicies", "/apis/policy/v1/namespaces/apps/poddisruptionbudgets",
		"/apis/autoscaling/v2/namespaces/apps/horizontalpodautoscalers", "/apis/keda.sh/v1alpha1/namespaces/apps/scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/apps/triggerauthentications"} {
		for _, o := range n.list(path) {
			if text(o, "metadata", "labels", "latchkey/installation") == installation {
				out[path[len("/ap"):]+"/"+text(o, "metadata", "name")] = text(o, "metadata", "resourceVersion")
			}
		}
	}
	return out
}

// objects are the tests that a cluster in memory and a real one both pass.
func objects(t *testing.T, n *nodes, access kubeapi.Access) {
	spec := full()
	p := &enginetest.Provider{}
	e := open(t, access, config("objects", p))
	defer func() { _ = e.Close() }()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	st := ready(t, e, spec.Ref)
	d := n.list(apps + "deployments")
	if len(d) != 1 {
		t.Fatalf("%d deployments", len(d))
	}
	name := text(d[0], "metadata", "name")

	t.Run("texts of strangers arrive as they are", func(t *testing.T) {
		r := n.find(st.Replicas[0].Name)
		r.mu.Lock()
		defer r.mu.Unlock()
		env := r.env["main"]
		if env["PLAIN"] != "$(IDENTITY_HEADER) $$ $" || env["SECRET"] != "s3cret$(PLAIN)" || env["TWICE"] != "2" || env["IDENTITY_HEADER"] == "forged" || env["IDENTITY_HEADER"] == r.env["init"]["IDENTITY_HEADER"] {
			t.Errorf("%q", env)
		}
		if diff := cmp.Diff(map[string]string{"/keys/a/b c": "\x00\x01", "/keys/.c": "x"}, r.files["main"]); diff != "" {
			t.Error(diff)
		}
		if all, err := e.List(t.Context()); err != nil || len(all) == 0 || all[0].Revision != spec.Key() {
			t.Errorf("%v %v", all, err)
		}
	})
	t.Run("secrets are in Secrets only", func(t *testing.T) {
		for _, o := range append(d, n.list(core+"pods")...) {
			body := string(must1(json.Marshal(o)))
			for _, hidden := range []string{"s3cret", "p4ss", n.find(st.Replicas[0].Name).env["main"]["IDENTITY_HEADER"]} {
				if strings.Contains(body, hidden) {
					t.Errorf("%s has a secret", text(o, "metadata", "name"))
				}
			}
		}
	})
	t.Run("everything belongs to one owner", func(t *testing.T) {
		for _, path := range []string{core + "secrets", core + "services", core + "serviceaccounts", apps + "deployments"} {
			for _, o := range n.list(path) {
				owners, _ := at(o, "metadata", "ownerReferences").([]any)
				if text(o, "metadata", "labels", "latchkey/installation") == "objects" && (len(owners) != 1 || text(owners[0], "name") != name) {
					t.Errorf("%s: %v", text(o, "metadata", "name"), owners)
				}
			}
		}
	})
	t.Run("the same again changes nothing", func(t *testing.T) {
		before := versions(n, "objects")
		again := open(t, access, config("objects", p))
		defer func() { _ = again.Close() }()
		if err := again.Place(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		// The last object that is applied tells that all were.
		eventually(t, "a full pass", func() bool { return passes(again, spec.Ref) })
		if diff := cmp.Diff(before, versions(n, "objects")); diff != "" || len(before) < 8 {
			t.Errorf("%v\n%s", before, diff)
		}
	})
	t.Run("what others set stays, what they take is put back", func(t *testing.T) {
		other := map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "shop"}}, "spec": map[string]any{"minReadySeconds": 1, "progressDeadlineSeconds": 77, "revisionHistoryLimit": 9}}
		if _, err := n.ask(http.MethodPatch, apps+"deployments/"+name, nil, other); err != nil {
			t.Fatal(err)
		}
		if _, err := n.ask(http.MethodDelete, core+"services/"+name, nil, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "repair", func() bool {
			now, err := n.ask(http.MethodGet, apps+"deployments/"+name, nil, nil)
			_, there := n.ask(http.MethodGet, core+"services/"+name, nil, nil)
			return err == nil && there == nil && number(now, "spec", "revisionHistoryLimit") == 0 && number(now, "spec", "progressDeadlineSeconds") == 77 && text(now, "metadata", "labels", "team") == "shop"
		})
	})
	t.Run("objects of others with our labels are left alone", func(t *testing.T) {
		theirs := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "theirs", "labels": map[string]any{"latchkey/installation": "objects", "latchkey/revision": name}}}
		if _, err := n.ask(http.MethodPost, core+"configmaps", nil, theirs); err != nil {
			t.Fatal(err)
		}
		if err := e.Remove(t.Context(), spec.Ref); err != nil {
			t.Fatal(err)
		}
		left := versions(n, "objects")
		if len(left) != 1 || left["i/v1/namespaces/apps/configmaps/theirs"] == "" {
			t.Errorf("left: %v", left)
		}
	})
}

// passes reports whether a revision was applied as a whole: there is a reason else.
func passes(e *kubernetes.Engine, ref engine.Ref) bool { return e.Applied(ref) }

func TestObjects(t *testing.T) {
	s := memorycluster.Start(t)
	objects(t, startNodes(t, s.Access()), s.Access())
}

func TestAgainstARealAPIServer(t *testing.T) {
	s := realcluster.Start(t)
	for kind, plural := range map[string]string{"ScaledObject": "scaledobjects", "TriggerAuthentication": "triggerauthentications"} {
		s.Make(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(kind, plural))
	}
	access := kubeapi.Access{Server: s.URL, Namespace: realcluster.Namespace, Token: realcluster.AdminToken, CA: s.CA}
	n := startNodes(t, access)
	eventually(t, "KEDA's kinds", func() bool {
		_, err := n.ask(http.MethodGet, "/apis/keda.sh/v1alpha1/namespaces/apps/scaledobjects", nil, nil)
		_, err2 := n.ask(http.MethodGet, "/apis/keda.sh/v1alpha1/namespaces/apps/triggerauthentications", nil, nil)
		return err == nil && err2 == nil
	})
	t.Run("objects", func(t *testing.T) { objects(t, n, access) })
	t.Run("the documented role is enough", func(t *testing.T) {
		grant(t, s)
		limited := access
		limited.Token = realcluster.AppToken
		eventually(t, "the role in force", func() bool {
			e, err := kubernetes.Open(t.Context(), kubernetes.Config{Config: config("limited", nil), Access: limited})
			if err == nil {
				_ = e.Close()
			}
			return err == nil
		})
		scales(t, n, limited)
	})
	t.Run("scaling", func(t *testing.T) { scales(t, n, access) })
	t.Run("identity", func(t *testing.T) {
		identities(t, n, access, func(pod, uid, account string) string {
			got, err := n.ask(http.MethodPost, core+"serviceaccounts/"+account+"/token", nil, map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
				"spec": map[string]any{"audiences": []any{"latchkey"}, "boundObjectRef": map[string]any{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}})
			if err != nil {
				t.Fatal(err)
			}
			return text(got, "status", "token")
		})
	})
	t.Run("the suite", func(t *testing.T) {
		b := backend(n, access)
		b.Except["output can be read and commands run"] = "the API server asks kubelets on machines for that"
		enginetest.Run(t, b)
	})
}

// scales hands the number of replicas over, and takes it back.
func scales(t *testing.T, n *nodes, access kubeapi.Access) {
	e := open(t, access, config("scaling", &enginetest.Provider{}))
	defer func() { _ = e.Close() }()
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	ready(t, e, spec.Ref)
	defer func() {
		if err := e.Remove(t.Context(), spec.Ref); err != nil {
			t.Error(err)
		}
	}()
	const scaledObjects = "/apis/keda.sh/v1alpha1/namespaces/apps/scaledobjects"
	const scalers = "/apis/autoscaling/v2/namespaces/apps/horizontalpodautoscalers"
	cpu := engine.AutoScaleRule{Name: "cpu", Type: "cpu", Metadata: map[string]string{"type": "Utilization", "value": "70"}}
	queue := engine.AutoScaleRule{Name: "queue", Type: "azure-queue", Metadata: map[string]string{"queueName": "orders", "queueLength": "5"}, Auth: []engine.AutoScaleAuth{{Parameter: "connection", Value: "s3cret"}}}
	for _, c := range []struct {
		by           *engine.AutoScale
		hpas, scaled int
	}{{&engine.AutoScale{Min: 1, Max: 5, Rules: []engine.AutoScaleRule{cpu}}, 1, 0}, {&engine.AutoScale{Min: 0, Max: 5, Rules: []engine.AutoScaleRule{cpu, queue}}, 0, 1}, {nil, 0, 0}} {
		if err := e.AutoScale(t.Context(), spec.Ref, c.by); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("%d and %d", c.hpas, c.scaled), func() bool { return len(n.list(scalers)) == c.hpas && len(n.list(scaledObjects)) == c.scaled })
		name := text(n.list(apps + "deployments")[0], "metadata", "name")
		if c.scaled == 1 {
			eventually(t, "a full pass", func() bool { return e.Applied(spec.Ref) })
			if got := n.list(scaledObjects)[0]; number(got, "spec", "maxReplicaCount") != 5 || strings.Contains(string(must1(json.Marshal(got))), "s3cret") {
				t.Errorf("%v", got)
			}
		}
		if c.by == nil {
			eventually(t, "our number", func() bool { return number(n.list(apps + "deployments")[0], "spec", "replicas") == 1 })
			continue
		}
		// Somebody else scales: it stays.
		if _, err := n.ask(http.MethodPatch, apps+"deployments/"+name, nil, map[string]any{"spec": map[string]any{"replicas": 3, "revisionHistoryLimit": 4}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "repair of the rest", func() bool { return number(n.list(apps + "deployments")[0], "spec", "revisionHistoryLimit") == 0 })
		if got := number(n.list(apps + "deployments")[0], "spec", "replicas"); got != 3 {
			t.Errorf("%d replicas", got)
		}
	}
}

// identities asks as sidecars do.
func identities(t *testing.T, n *nodes, access kubeapi.Access, tokenOf func(pod, uid, account string) string) {
	p := &enginetest.Provider{}
	e := open(t, access, config("identity", p))
	defer func() { _ = e.Close() }()
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	st := ready(t, e, spec.Ref)
	defer func() { _ = e.Remove(t.Context(), spec.Ref) }()
	pod, err := n.ask(http.MethodGet, core+"pods/"+st.Replicas[0].Name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := st.Replicas[0].Name
	token := tokenOf(name, text(pod, "metadata", "uid"), text(pod, "spec", "serviceAccountName"))
	r := n.find(name)
	h := e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Header.Get("X-Identity-Header") + r.Header.Get("Secret") + r.Header.Get("Authorization")))
	}))
	ask := func(token, name, header string) string {
		req := httptest.NewRequest(http.MethodGet, "/msi/token", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set(name, header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Body.String()
	}
	mine, init, given := r.env["main"]["IDENTITY_HEADER"], r.env["init"]["IDENTITY_HEADER"], p.Header(name, "main")
	for what, c := range map[string]struct{ token, name, header, want string }{
		"its own":                          {token, "X-Identity-Header", mine, given},
		"the older name":                   {token, "Secret", mine, given},
		"an init container's, which ended": {token, "X-Identity-Header", init, ""},
		"what Identity gave":               {token, "X-Identity-Header", given, ""},
		"nothing":                          {token, "X-Identity-Header", "", ""},
		"no token":                         {"", "X-Identity-Header", mine, ""},
		"a stranger's token":               {"x.y.z", "X-Identity-Header", mine, ""},
		"a token for others":               {access.Token, "X-Identity-Header", mine, ""},
	} {
		if got := ask(c.token, c.name, c.header); got != c.want || given == "" || mine == "" || init == "" {
			t.Errorf("%s: %q, not %q", what, got, c.want)
		}
	}
	if again := func() *kubernetes.Engine { _ = e.Close(); return open(t, access, config("identity", p)) }(); true {
		e = again
		if err := e.Place(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		ready(t, e, spec.Ref)
		h = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.Header.Get("X-Identity-Header")))
		}))
		if got := ask(token, "X-Identity-Header", mine); got == "" || got != p.Header(name, "main") {
			t.Errorf("after a restart of Latchkey: %q", got)
		}
	}
}

func TestIdentity(t *testing.T) {
	s := memorycluster.Start(t)
	identities(t, startNodes(t, s.Access()), s.Access(), func(pod, _, _ string) string { return "pod:" + pod })
}

// A machine that comes up again runs the init containers of its pods again.
func TestAPodThatBeginsAnewGetsNewSecrets(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	p := &enginetest.Provider{}
	e := open(t, s.Access(), config("anew", p))
	defer func() { _ = e.Close() }()
	spec := full()
	if err := e.Place(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	name := ready(t, e, spec.Ref).Replicas[0].Name
	before := strings.Join(p.Calls(), ", ")
	status := func(field string, state map[string]any) []any {
		return []any{map[string]any{"name": field, "restartCount": 1, "state": state}}
	}
	waiting := map[string]any{"waiting": map[string]any{"reason": "PodInitializing"}}
	if _, err := n.ask(http.MethodPatch, core+"pods/"+name+"/status", nil, map[string]any{"status": map[string]any{
		"initContainerStatuses": status("init", running()), "containerStatuses": status("main", waiting)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new life", func() bool {
		return strings.Join(p.Calls(), ", ") == before+", gone, environment init 1"
	})
}

func TestScaling(t *testing.T) {
	s := memorycluster.Start(t)
	scales(t, startNodes(t, s.Access()), s.Access())
}

// grant lets user "app" do what the manifests let Latchkey do.
func grant(t *testing.T, s *realcluster.Server) {
	t.Helper()
	manifests, err := os.ReadFile("../../../deploy/kubernetes/permissions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, part := range strings.Split(string(manifests), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(part), &object); err != nil {
			t.Fatal(err)
		}
		at := "/apis/rbac.authorization.k8s.io/v1/"
		kind := object["kind"].(string)
		if kind == "Role" || kind == "RoleBinding" {
			at += "namespaces/apps/"
		}
		if object["subjects"] != nil {
			object["subjects"] = []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "app"}}
		}
		s.Make(t, at+strings.ToLower(kind)+"s", object)
		made++
	}
	if made != 3 {
		t.Fatalf("%d objects in the manifests", made)
	}
}
