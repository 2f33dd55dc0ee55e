package settings_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestClustersAreReadFromFileAndEnvironment(t *testing.T) {
	path := write(t, `
containers:
  engine: kubernetes
  kubernetes:
    namespace: apps
    sidecarImage: registry.example/latchkey:1
    url: https://latchkey.latchkey.svc:7444
    podLabels: [app=latchkey]
`)
	got, err := settings.Load(path, []string{"LATCHKEY_CONTAINERS_KUBERNETES_LISTEN=:9000", "LATCHKEY_CONTAINERS_KUBERNETES_POD_LABELS=a=b,c=d",
		"LATCHKEY_CONTAINERS_KUBERNETES_CAPABILITIES=CHOWN,NET_RAW", "LATCHKEY_CONTAINERS_KUBERNETES_TO=10.0.0.0/8"})
	want := settings.Kubernetes{Namespace: "apps", SidecarImage: "registry.example/latchkey:1", URL: "https://latchkey.latchkey.svc:7444", Listen: ":9000",
		PodLabels: []string{"a=b", "c=d"}, Capabilities: []string{"CHOWN", "NET_RAW"}, To: []string{"10.0.0.0/8"}}
	if diff := cmp.Diff(want, got.Containers.Kubernetes); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if err := got.Containers.Kubernetes.Check(); err != nil {
		t.Error(err)
	}
}

func TestWhatClustersNeedIsToldAtOnce(t *testing.T) {
	_, err := settings.Load(write(t, "containers: {engine: kubernetes}"), nil)
	check := settings.Kubernetes{}.Check()
	for _, part := range []string{"kubernetes.sidecarImage: must name", "kubernetes.url: must say", "kubernetes.podLabels: nobody could connect"} {
		for _, err := range []error{err, check} {
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), part) || problem.NextOf(err) == "" {
				t.Errorf("%q is missing in:\n%v", part, err)
			}
		}
	}
	for text, part := range map[string]string{
		"url: http://latchkey": "is not such as https://", "url: 'https://10.0.0.1:7444'": "give a host name", "url: 'https://latchkey/x'": "is not such as",
		"listen: '7444'": `listen: "7444" is not host:port`, "podLabels: [app]": `podLabels[0]: "app"`, "from: [10.0.0.1]": "from[0]", "to: [all]": "to[0]",
		"capabilities: [CAP_CHOWN]": "capabilities[0]", "capabilities: [ALL]": "capabilities[0]", "{openNetwork: true, from: [10.0.0.0/8]}": "openNetwork: is true, and",
	} {
		if _, err := settings.Load(write(t, "containers:\n  kubernetes:\n    "+text), nil); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"url: 'https://127.0.0.1:7444'", "listen: '[::1]:7444'"} {
		if _, err := settings.Load(write(t, "containers:\n  kubernetes:\n    "+text), nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
