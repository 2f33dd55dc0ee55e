package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "latchkey.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileAndEnvironment(t *testing.T) {
	path := write(t, `
dataDir: /var/lib/latchkey
functions: {address: "0.0.0.0:80"}
state:
  kind: etcd
  etcd:
    endpoints: ["http://a:2379"]
packages:
  maxBytes: 1000
workers: {isolation: required}
containers: {engine: docker}
identity:
  tokenLifetime: 1h
  upstream: [{identity: orders, mode: secret, tenantId: t, clientId: c, secretFile: /s, resources: ["https://storage.azure.com"]}]
quirks: {stoppedSiteTokenExpiry: true}
`)
	got, err := settings.Load(path, []string{"LATCHKEY_STATE_ETCD_ENDPOINTS=http://b:2379,http://c:2379", "LATCHKEY_NODE=n1", "LATCHKEY_REFERENCES_INTERVAL=90s", "LATCHKEY_QUIRKS_STOPPED_SITE_TOKEN_EXPIRY=false", "LATCHKEY_WORKERS_FIRST_ID=3000000000", "LATCHKEY_CONTAINERS_ENGINE=process", "LATCHKEY_CONTAINERS_HOST=unix:///x.sock", "LATCHKEY_KEK=x", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	want := settings.File{
		DataDir: "/var/lib/latchkey", Node: "n1", Functions: settings.Listen{Address: "0.0.0.0:80"},
		State:    settings.State{Kind: "etcd", Etcd: settings.Etcd{Endpoints: []string{"http://b:2379", "http://c:2379"}}},
		Packages: settings.Limits{MaxBytes: 1000},
		Workers:  settings.Workers{Isolation: "required", FirstID: 3_000_000_000}, Containers: settings.Containers{Engine: "process", Host: "unix:///x.sock"},
		Identity: settings.Identity{TokenLifetime: "1h", Upstream: []settings.Upstream{{
			Identity: "orders", Mode: "secret", TenantID: "t", ClientID: "c", SecretFile: "/s", Resources: []string{"https://storage.azure.com"},
		}}},
		References: settings.References{Interval: "90s"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	path := write(t, `
datadir: /x
functions: 7071
state: {kind: sqlite, etcd: {endpoints: "http://a:2379"}}
packages: {maxBytes: many}
workers: {isolation: "on", firstId: 4294967290}
containers: {engine: rkt}
tokens: {algorithm: none}
identity: {tokenLifetime: 25h, upstream: [{mode: secret}, {identity: a, mode: x, extra: 1}]}
references: {interval: soon, onFailure: ignore, webhook: "ftp://x", realVaults: yes}
quirks: {stoppedSiteTokenExpiry: 1}
`)
	_, err := settings.Load(path, []string{"LATCHKEY_DATADIR=/y", "LATCHKEY_PACKAGES_MAX_BYTES=1k"})
	if problem.KindOf(err) != problem.Invalid || problem.NextOf(err) == "" {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{
		"datadir: unknown setting; known are dataDir", "functions: must be a map", `state.kind: "sqlite"`,
		"state.etcd.endpoints: must be a list", "packages.maxBytes: must be a whole number, not text",
		`workers.isolation: "on" is none of auto, off, required`, "workers.firstId: 4294967290 is not between",
		`containers.engine: "rkt" is none of auto, docker, kubernetes, process, none`, `tokens.algorithm: "none"`, `identity.tokenLifetime: "25h"`, "identity.upstream[0].identity: must name", "identity.upstream[0]: mode secret needs",
		`identity.upstream[1].mode: "x"`, "identity.upstream[1].extra: unknown setting", `references.interval: "soon"`, `references.onFailure: "ignore"`,
		"references.webhook: is no", "references.realVaults: must be a list", "quirks.stoppedSiteTokenExpiry: must be true or false, not a number",
		"LATCHKEY_DATADIR: unknown setting", "LATCHKEY_PACKAGES_MAX_BYTES: must be a whole number",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in:\n%v", part, err)
		}
	}
}

func TestMissingFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := settings.Load("", nil); err != nil {
		t.Errorf("the default file may be missing: %v", err)
	}
	if _, err := settings.Load("other.yaml", nil); problem.KindOf(err) != problem.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestFilesThatAreNotYAML(t *testing.T) {
	for _, text := range []string{"a: [", "- list", "just text", "a: b: c"} {
		if _, err := settings.Load(write(t, text), nil); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("dataDir: x\nstate: {kind: bolt}")
	f.Add("keys: [{app: a, name: b, value: c, cidrs: [10.0.0.0/8], rate: 1/1s, quota: 1/day, expires: 2030-01-01}]")
	f.Add(`{"masterKey":{"value":"m"},"functionKeys":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "latchkey.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = settings.Load(path, nil) // must not panic
		_, _ = settings.LoadKeysFile(path, false)
	})
}
