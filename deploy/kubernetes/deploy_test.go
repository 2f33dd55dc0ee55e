// Package kubernetes_test holds the manifests of Latchkey on a cluster to what Latchkey
// reads and to what an API server takes.
package kubernetes_test

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/testkit/realcluster"
)

type object = map[string]any

// files are in the order in which they are applied.
var files = []string{"namespaces.yaml", "permissions.yaml", "latchkey.yaml"}

func read(t *testing.T) (all []object) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range bytes.Split(text, []byte("\n---\n")) {
			var o object
			if err := yaml.UnmarshalStrict(part, &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, o)
		}
	}
	return all
}

func at(o any, path ...string) any {
	for _, name := range path {
		m, _ := o.(object)
		o = m[name]
	}
	return o
}

func find(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	for _, o := range all {
		if o["kind"] == kind && at(o, "metadata", "name") == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

func TestTheManifestsFitEachOther(t *testing.T) {
	all := read(t)
	path := filepath.Join(t.TempDir(), "latchkey.yaml")
	if err := os.WriteFile(path, []byte(at(find(t, all, "ConfigMap", "latchkey"), "data", "latchkey.yaml").(string)), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := settings.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := file.Containers.Kubernetes
	if err := k.Check(); err != nil || file.Containers.Engine != settings.EngineKubernetes {
		t.Errorf("%q %v", file.Containers.Engine, err)
	}
	set, service := find(t, all, "StatefulSet", "latchkey"), find(t, all, "Service", "latchkey")
	main := at(set, "spec", "template", "spec", "containers").([]any)[0].(object)
	if main["image"] != k.SidecarImage {
		t.Errorf("the image is %v, and the sidecar's %s", main["image"], k.SidecarImage)
	}
	for _, pair := range k.PodLabels {
		name, value, _ := strings.Cut(pair, "=")
		for what, labels := range map[string]any{"pods": at(set, "spec", "template", "metadata", "labels"), "selector": at(service, "spec", "selector")} {
			if at(labels, name) != value {
				t.Errorf("the %s do not have %s: %v", what, pair, labels)
			}
		}
	}
	u, _ := url.Parse(k.URL)
	if u.Hostname() != "latchkey."+at(service, "metadata", "namespace").(string)+".svc" {
		t.Errorf("sidecars ask %s", u)
	}
	if at(find(t, all, "Role", "latchkey-engine"), "metadata", "namespace") != k.Namespace {
		t.Errorf("replicas are in %s", k.Namespace)
	}
	ports := map[any]any{}
	for _, p := range main["ports"].([]any) {
		ports[at(p, "name")] = at(p, "containerPort")
	}
	if at(service, "spec", "ports").([]any)[1].(object)["targetPort"] != "sidecars" || ports["sidecars"] != 7444.0 || u.Port() != "7444" || k.Listen != "" {
		t.Errorf("sidecars: %v %s %s", ports, u, k.Listen)
	}
}

var plurals = map[string]string{
	"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/NS/serviceaccounts", "ConfigMap": "/api/v1/namespaces/NS/configmaps",
	"Service": "/api/v1/namespaces/NS/services", "StatefulSet": "/apis/apps/v1/namespaces/NS/statefulsets",
	"NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies", "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles",
	"RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings", "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}

// A real server refuses fields that it does not know, and wrong values. It has the level
// of pod security in its admission.
func TestTheManifestsOnARealAPIServer(t *testing.T) {
	s := realcluster.Start(t)
	for _, o := range read(t) {
		kind, name := o["kind"].(string), at(o, "metadata", "name").(string)
		namespace, _ := at(o, "metadata", "namespace").(string)
		path := strings.ReplaceAll(plurals[kind], "NS", namespace) + "/" + name + "?fieldManager=test&fieldValidation=Strict"
		code, got := s.Call(t, "PATCH", path, "application/apply-patch+yaml", o)
		if code != 200 && code != 201 {
			t.Fatalf("%s %s: %d %v", kind, name, code, got["message"])
		}
	}
	set := find(t, read(t), "StatefulSet", "latchkey")
	pod := object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "latchkey-0", "labels": at(set, "spec", "template", "metadata", "labels")}, "spec": at(set, "spec", "template", "spec")}
	spec := pod["spec"].(object)
	spec["volumes"] = append(spec["volumes"].([]any), object{"name": "data", "emptyDir": object{}})
	s.Make(t, "/api/v1/namespaces/latchkey/pods?fieldValidation=Strict", pod)
}
