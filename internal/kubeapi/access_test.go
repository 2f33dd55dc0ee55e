package kubeapi_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

func settings(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

const config = `
apiVersion: v1
kind: Config
current-context: b
clusters:
- name: other
  cluster: {server: "https://other.example:6443"}
- name: c
  cluster: {server: "https://k.example:6443", certificate-authority: ca.crt, tls-server-name: kube}
contexts:
- name: a
  context: {cluster: other, user: u}
- name: b
  context: {cluster: c, user: u, namespace: apps}
users:
- name: u
  user: {token: s3cret}
`

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	parse := func(text string) (kubeapi.Access, error) {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		return kubeapi.Find(settings("KUBECONFIG", file, "KUBERNETES_SERVICE_HOST", "10.0.0.1"))
	}
	a, err := parse(config)
	if err != nil || a.Server != "https://k.example:6443" || a.Namespace != "apps" || a.Token != "s3cret" || a.CAFile != filepath.Join(dir, "ca.crt") || a.ServerName != "kube" {
		t.Errorf("%+v, %v", a, err)
	}
	for what, c := range map[string]struct {
		old, new string
		kind     problem.Kind
	}{
		"no yaml":       {"apiVersion: v1", "s3cret: [", problem.Invalid},
		"context":       {"current-context: b", "current-context: x", problem.Invalid},
		"cluster":       {"name: c\n", "name: x\n", problem.Invalid},
		"user":          {"name: u\n", "name: x\n", problem.Invalid},
		"in clear":      {"https://k", "http://k", problem.Invalid},
		"no address":    {"https://k.example:6443", "", problem.Invalid},
		"namespace":     {"namespace: apps", "namespace: ../x", problem.Invalid},
		"insecure":      {"tls-server-name: kube", "insecure-skip-tls-verify: true", problem.Unsupported},
		"exec":          {"{token: s3cret}", "{exec: {command: x}}", problem.Unsupported},
		"password":      {"{token: s3cret}", "{username: x, password: s3cret}", problem.Unsupported},
		"base64":        {"certificate-authority: ca.crt", "certificate-authority-data: '-'", problem.Invalid},
		"wrong type":    {"token: s3cret", "token: [s3cret]", problem.Invalid},
		"other context": {"current-context: b", "current-context: ''", problem.Invalid},
	} {
		if _, err := parse(strings.Replace(config, c.old, c.new, 1)); problem.KindOf(err) != c.kind || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), file + string(filepath.ListSeparator) + file} {
		if _, err := kubeapi.Find(settings("KUBECONFIG", path)); err == nil || !strings.Contains(err.Error(), "KUBECONFIG") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzKubeconfig: files of strangers neither crash it nor come out in its errors.
func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte("clusters: [null]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "config")
		must(t, os.WriteFile(file, data, 0o600))
		cfg, err := kubeapi.Find(settings("KUBECONFIG", file))
		if err == nil && !strings.HasPrefix(cfg.Server, "http") {
			t.Errorf("server %q", cfg.Server)
		}
	})
}
