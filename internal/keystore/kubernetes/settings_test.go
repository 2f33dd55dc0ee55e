package kubernetes_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
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

func TestSettings(t *testing.T) {
	pod := []string{"KUBERNETES_SERVICE_HOST", "10.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS", "443"}
	for value, want := range map[string]string{
		"keys":               "secrets/keys",
		"secrets/keys":       "secrets/keys",
		"Secrets/a.b-c":      "secrets/a.b-c",
		"configMaps/keys":    "configmaps/keys",
		"pods/keys":          "",
		"secrets/":           "",
		"/keys":              "",
		"secrets/keys/x":     "",
		"secrets/..":         "",
		"Keys":               "",
		"a b":                "",
		"-a":                 "",
		"secrets/%2e%2e":     "",
		"keys?watch=true":    "",
		"secrets/secrets/ab": "",
	} {
		cfg, err := kubernetes.Parse(settings(append(pod, kubernetes.NameSetting, value)...))
		if want == "" {
			if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), kubernetes.NameSetting) {
				t.Errorf("%q: %v", value, err)
			}
			continue
		}
		if err != nil || string(cfg.Kind)+"/"+cfg.Name != want || cfg.Mounted() {
			t.Errorf("%q: %s/%s, %v", value, cfg.Kind, cfg.Name, err)
		}
		if cfg.Access.Server != "https://10.0.0.1:443" || cfg.Access.TokenFile == "" || cfg.Access.CAFile == "" || cfg.Access.NamespaceFile == "" {
			t.Errorf("access %+v", cfg.Access)
		}
	}
	if _, err := kubernetes.Parse(settings(kubernetes.NameSetting, "keys")); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "KUBERNETES_SERVICE_HOST") {
		t.Errorf("outside a pod: %v", err)
	}
	if _, err := kubernetes.Parse(settings(kubernetes.DirSetting, "keys")); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), kubernetes.DirSetting) {
		t.Errorf("relative folder: %v", err)
	}
}

func TestMountedKeysAreReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	cfg, err := kubernetes.Parse(settings(kubernetes.DirSetting, dir))
	must(t, err)
	s := open(t, cfg)
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) || !s.Capabilities().ReadOnly {
		t.Errorf("load: %v", err)
	}
	must(t, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "functions.fn.default"), []byte("f\n"), 0o600))
	d, _, err := s.Load(t.Context(), "fn")
	if err != nil || len(d.Keys.Keys) != 1 || d.Keys.Keys[0].Value != "f" {
		t.Errorf("load: %v, %v", d.Keys.Keys, err)
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 1 || s.String() != "kubernetes "+dir {
		t.Errorf("%s has %v, %v", s, docs, err)
	}
	for what, err := range map[string]error{"update": try(t, s, "fn", keystore.Document{}), "delete": s.Delete(t.Context(), "fn")} {
		if !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(problem.NextOf(err), kubernetes.NameSetting) {
			t.Errorf("%s: %v", what, err)
		}
	}
	heard, _ := hears(t, s)
	must(t, os.Remove(filepath.Join(dir, "functions.fn.default")))
	await(t, heard, "")
	if d, rev, err := s.Load(t.Context(), "fn"); err != nil || len(d.Keys.Keys) != 0 || rev == "" {
		t.Errorf("taken away: %v, %v", d.Keys.Keys, err)
	}
}

// FuzzAnnotation: whatever somebody writes into the object, loads give keys that
// are there, or say that they are damaged.
func FuzzAnnotation(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[]", `{"fn":null}`, `{"fn":{"keys":[{"name":"b"},{"name":"A","extra":{"x":null}}]}}`,
		`{"host":{"master":{"x":1},"extra":{"y":[]}}}`, `{"../x":{}}`, `{"fn":{"keys":[{"name":"a"},{"name":"A"}]}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		object, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"name": "keys", "resourceVersion": "1", "annotations": map[string]string{kubernetes.Annotation: text}},
			"data":     map[string]string{"host.master": "m", "functions.fn.a": "1", "functions.fn.b": "2"},
		})
		must(t, err)
		w := &wire{hook: func(r *http.Request) (*http.Response, error) { return reply(r, 200, string(object)), nil }}
		s := open(t, kubernetes.Config{Kind: kubernetes.ConfigMap, Name: "keys", Access: kubernetes.Access{Server: "https://k.example", Namespace: "apps"}, Transport: w})
		for doc, want := range map[keystore.Doc]int{keystore.HostDoc: 0, "fn": 2} {
			d, rev, err := s.Load(t.Context(), doc)
			if err != nil && !errors.Is(err, keystore.ErrUndecryptable) {
				t.Errorf("load %s: %v", doc, err)
			}
			if err == nil && (len(d.Keys.Keys) != want || rev == "" || doc.IsHost() != (d.Keys.Master.Value == "m")) {
				t.Errorf("%s: %d keys, revision %q", doc, len(d.Keys.Keys), rev)
			}
		}
	})
}
