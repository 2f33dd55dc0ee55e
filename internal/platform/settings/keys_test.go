package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestDeclaredKeys(t *testing.T) {
	path := write(t, `
keysFile: more.yaml
keys:
  - {app: shop, name: partner, valueFile: partner.txt, cidrs: [10.0.0.0/8], expires: 2030-01-31T00:00:00Z}
  - {app: shop, kind: master, valueEnv: MASTER}
  - {app: blog, function: hello, name: default, generate: true}
`)
	f, err := settings.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(path)
	if len(f.Keys) != 3 || f.Keys[0].ValueFile != filepath.Join(folder, "partner.txt") || f.KeysFile != filepath.Join(folder, "more.yaml") {
		t.Errorf("%+v %s", f.Keys, f.KeysFile)
	}
	f, err = settings.Load(path, []string{"LATCHKEY_KEYS_FILE=/run/secrets/keys.json"})
	if err != nil || f.KeysFile != "/run/secrets/keys.json" {
		t.Error(f.KeysFile, err)
	}
	k, err := settings.LoadKeys(path, "SHOP")
	if err != nil || len(k.Entries) != 2 || k.KeysFile != filepath.Join(folder, "more.yaml") {
		t.Errorf("%+v %v", k, err)
	}
	if k, err := settings.LoadKeys(filepath.Join(folder, "none.yaml"), "shop"); err != nil || len(k.Entries) != 0 {
		t.Errorf("%+v %v", k, err)
	}
}

func TestAllFaultsOfDeclaredKeysAreToldAtOnce(t *testing.T) {
	path := write(t, `
dataDirectory: /x
keys:
  - {name: a, generate: true, colour: red}
  - {app: shop, name: b, generate: yes, valueEnv: 7}
  - {app: shop, name: c, value: [1]}
  - {app: shop, name: d, generate: true, cidrs: 10.0.0.0/8, expires: never}
  - nothing
`)
	_, err := settings.Load(path, nil)
	if problem.KindOf(err) != problem.Invalid {
		t.Fatal(err)
	}
	for _, part := range []string{
		"dataDirectory: unknown setting", "keys[0].app: must name", "keys[0].colour: unknown setting; known are app, kind", "keys[1].valueEnv: must be text, not a number",
		"keys[2].value: must be text, not a list", "keys[3].cidrs: must be a list", `keys[3].expires: "never"`, "keys[4]: must be a map",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in:\n%v", part, err)
		}
	}
	_, err = settings.LoadKeys(path, "shop")
	if err == nil || strings.Contains(err.Error(), "keys[0].app") || !strings.Contains(err.Error(), "keys[0].colour") {
		t.Error(err)
	}
}

func TestValueInConfigurationThatAllMayReadIsRefused(t *testing.T) {
	path := write(t, "keys: [{app: shop, name: a, value: top-secret}]\n")
	if _, err := settings.Load(path, nil); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, load := range []func() error{
		func() error { _, err := settings.Load(path, nil); return err },
		func() error { _, err := settings.LoadKeys(path, "shop"); return err },
	} {
		if err := load(); err == nil || !strings.Contains(err.Error(), "chmod o-r") || strings.Contains(err.Error(), "top-secret") {
			t.Error(err)
		}
	}
	k, err := settings.LoadKeysFile(path, true)
	if err != nil || len(k.Warnings) != 1 || len(k.Entries) != 1 {
		t.Errorf("a file that is for values: %+v %v", k, err)
	}
}

func TestFilesOfKeys(t *testing.T) {
	stock := write(t, `{"masterKey":{"name":"master","value":"m"},"functionKeys":[{"name":"default","value":"d"}],"systemKeys":[]}`)
	if k, err := settings.LoadKeysFile(stock, false); err != nil || len(k.Entries) != 2 {
		t.Errorf("%+v %v", k, err)
	}
	for name, c := range map[string]struct {
		text string
		apps bool
		part string
	}{
		"the host's file names no app": {`{"masterKey":"m","functionKey":"d"}`, true, "keys[0].app: must name"},
		"other settings":               {"keys: []\nnode: n1\n", false, "node: unknown setting"},
		"a document of a function":     {`{"keys":[{"name":"default","value":"d","encrypted":false}]}`, false, "keys[0].encrypted: unknown setting"},
		"no YAML":                      {"keys: [", false, "yaml"},
		"sealed values":                {`{"masterKey":{"name":"master","value":"CfDJ8","encrypted":true},"functionKeys":[]}`, false, "sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := settings.LoadKeysFile(write(t, c.text), c.apps); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.part) {
				t.Error(err)
			}
		})
	}
	if _, err := settings.LoadKeysFile(filepath.Join(t.TempDir(), "none"), false); problem.KindOf(err) != problem.NotFound {
		t.Error(err)
	}
}

// TestFaultsOfFormTellNoValues: whatever makes YAML of a value that is not in quotes.
func TestFaultsOfFormTellNoValues(t *testing.T) {
	for _, value := range []string{
		"*s3cretvalue", "*s3cret!value", "&s3cretvalue", "!s3cretvalue x", "!!int s3cretvalue", "!!float s3`cretvalue`", "!!timestamp s3cretvalue",
		`"s3cretvalue`, `"\qs3cretvalue"`, "s3cretvalue: b: c", "{s3cretvalue", "[s3cretvalue]", "%s3cretvalue", "@s3cretvalue", "`s3cretvalue", "|s3cretvalue",
	} {
		for _, text := range []string{"keys:\n- name: a\n  value: " + value + "\n", "keys: [{name: a, value: " + value + "}]\n"} {
			path := filepath.Join(t.TempDir(), "keys.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := settings.LoadKeysFile(path, false)
			if err == nil {
				continue
			}
			// The folder's name has digits of chance in it.
			if said := strings.ReplaceAll(err.Error(), path, ""); strings.Contains(said, "s3") || strings.Contains(said, "cret") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}
