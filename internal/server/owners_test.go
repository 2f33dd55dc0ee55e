package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/scan"
	"github.com/latchkey/latchkey/internal/server"
)

// shop makes an app with one function, and gives its configuration.
func shop(t *testing.T) server.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for name, text := range map[string]string{
		"host.json":           `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "sh"}}}`,
		"Hello/function.json": `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return server.Config{Dir: dir, Environ: []string{"PATH=" + os.Getenv("PATH")}, Port: 0}
}

func TestOwnersKnowEveryKeyOfTheStore(t *testing.T) {
	cfg := shop(t)
	ring, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	values := map[scan.Owner]string{}
	for _, sec := range []keyring.Section{keyring.MasterKey(), keyring.HostKeys(), keyring.SystemKeys(), keyring.FunctionKeys("Hello"), keyring.FunctionKeys("gone")} {
		key, _, err := ring.Renew(t.Context(), sec, map[bool]string{true: accesskey.MasterName, false: "k"}[sec.Kind == accesskey.Master])
		if err != nil {
			t.Fatal(err)
		}
		values[scan.Owner{App: "shop", Function: sec.Function, Name: key.Name, Kind: sec.Kind}] = key.Value
	}
	owners, err := server.OpenOwners(t.Context(), cfg)
	if err != nil || len(owners.Unread) > 0 {
		t.Fatal(err, owners.Unread)
	}
	for want, value := range values {
		for _, form := range []string{value, strings.TrimRight(value, "=")} {
			if diff := cmp.Diff([]scan.Owner{want}, owners.Identify(form)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", want, diff)
			}
		}
	}
	for _, other := range []string{"", "=", "k", strings.Repeat("a", 56)} {
		if got := owners.Identify(other); len(got) > 0 {
			t.Errorf("%q is said to be %v", other, got)
		}
	}
}

func TestLookingMakesNothing(t *testing.T) {
	cfg := shop(t)
	if _, err := server.OpenOwners(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	for _, check := range server.Examine(t.Context(), cfg) {
		if check.Status == server.CheckFailed {
			t.Errorf("%+v", check)
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, server.DataDirName)); !os.IsNotExist(err) {
		t.Errorf("the data folder was made: %v", err)
	}
}

func TestOwnersKnowValuesOfWhichOnlyAHashIsKept(t *testing.T) {
	cfg := shop(t)
	cfg.Environ = append(cfg.Environ, "LATCHKEY_KEY_VALUES=hash-only")
	ring, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	values := map[scan.Owner]string{}
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.FunctionKeys("Hello")} {
		key, _, err := ring.Renew(t.Context(), sec, "k")
		if err != nil || !key.HashOnly {
			t.Fatal(key, err)
		}
		values[scan.Owner{App: "shop", Function: sec.Function, Name: "k", Kind: sec.Kind}] = key.Value
	}
	master, _, err := ring.Renew(t.Context(), keyring.MasterKey(), accesskey.MasterName)
	if err != nil {
		t.Fatal(err)
	}
	done, err := ring.Rotate(t.Context(), keyring.MasterKey(), accesskey.MasterName, 0)
	if err != nil {
		t.Fatal(err)
	}
	values[scan.Owner{App: "shop", Name: done.Retired, Kind: accesskey.Master}] = master.Value
	owners, err := server.OpenOwners(t.Context(), cfg)
	if err != nil || len(owners.Unread) > 0 {
		t.Fatal(err, owners.Unread)
	}
	for want, value := range values {
		for _, form := range []string{value, strings.TrimRight(value, "=")} {
			if diff := cmp.Diff([]scan.Owner{want}, owners.Identify(form)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", want, diff)
			}
		}
	}
	list, err := ring.Store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range list { // the text that is kept is no value
		d, _, err := ring.Store.Load(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range d.Keys.Keys {
			if got := owners.Identify(key.Value); len(got) > 0 {
				t.Errorf("the hash of %s is taken for its value: %v", key.Name, got)
			}
		}
	}
	for _, other := range []string{"", "=", strings.Repeat("a", 56)} {
		if got := owners.Identify(other); len(got) > 0 {
			t.Errorf("%q is said to be %v", other, got)
		}
	}
}

func TestHowValuesAreKeptIsNotGuessed(t *testing.T) {
	cfg := shop(t)
	cfg.Environ = append(cfg.Environ, "LATCHKEY_KEY_VALUES=hashonly")
	if ring, err := server.OpenKeys(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "LATCHKEY_KEY_VALUES") {
		t.Errorf("%v, %v", ring, err)
	}
}
