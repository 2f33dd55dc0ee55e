package platform_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

type hostKeys struct {
	MasterKey                string
	FunctionKeys, SystemKeys map[string]string
}

func listHost(t *testing.T, p *platformtest.Platform, app string) (k hostKeys) {
	t.Helper()
	p.Do(t, http.MethodPost, p.Site(app)+"/host/default/listkeys", nil, &k)
	return k
}

// declaredEvents gives how many keys the record says that the configuration changed.
func declaredEvents(t *testing.T, p *platformtest.Platform) int {
	t.Helper()
	var list struct{ Value []struct{ Action string } }
	p.Do(t, http.MethodGet, "/providers/Latchkey.Audit/events", nil, &list)
	n := 0
	for _, e := range list.Value {
		if e.Action == "keys/declared" {
			n++
		}
	}
	return n
}

func restarted(t *testing.T, p *platformtest.Platform) {
	t.Helper()
	p.Stop(t)
	p.Restart(t)
}

// TestDeclaredKeysOfAnApp: those of the configuration and of a file, one from a
// vault; after a restart nothing is written again.
func TestDeclaredKeysOfAnApp(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keys: [{app: Orders, name: from-file, value: value-of-the-file, cidrs: [10.0.0.0/8]}]")
	p := platformtest.Start(t, platform.Config{
		Environ: append(os.Environ(), "DECLARED_MASTER=value-of-the-environment"), KeysFile: file,
		Keys: []keyseed.Entry{
			{App: "orders", Kind: "master", ValueEnv: "DECLARED_MASTER"}, {App: "orders", Name: "made", Generate: true, Note: "of the portal"},
			{App: "orders", Function: "hello", Name: "default", Generate: true},
			{App: "orders", Name: "vaulted", Value: "@Microsoft.KeyVault(VaultName=shop;SecretName=partner)"},
			{App: "nobody", Name: "default", Generate: true},
		},
	})
	makeVault(t, p, "shop", "partner", "value-of-the-vault")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	letUse(t, p, "orders", "shop", secretsUserRole)
	restarted(t, p)
	var first hostKeys
	platformtest.Until(t, "all declared keys are there", func() bool {
		first = listHost(t, p, "orders")
		return len(first.FunctionKeys) == 4 && declaredEvents(t, p) == 4
	})
	if first.MasterKey != "value-of-the-environment" || first.FunctionKeys["from-file"] != "value-of-the-file" ||
		first.FunctionKeys["vaulted"] != "value-of-the-vault" || len(first.FunctionKeys["made"]) != 56 {
		t.Errorf("%+v", first)
	}
	write("keys: [{app: orders, name: from-file, value: another-value, cidrs: [10.0.0.0/8]}]")
	restarted(t, p)
	platformtest.Until(t, "a changed value is there", func() bool { return declaredEvents(t, p) == 5 })
	first.FunctionKeys["from-file"] = "another-value"
	if diff := cmp.Diff(first, listHost(t, p, "orders")); diff != "" {
		t.Error(diff)
	}
	for _, secret := range []string{"value-of-the-environment", "value-of-the-file", "value-of-the-vault", "another-value"} {
		if strings.Contains(p.Log.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// TestKeysAreSetBeforeAnAppEverRan: nothing was deployed, and what was set is in
// force when it is.
func TestKeysAreSetBeforeAnAppEverRan(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	value := func(v string) map[string]any { return map[string]any{"properties": map[string]string{"value": v}} }
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionkeys/partner", value("host-value"), nil)
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/systemkeys/x_extension", value("system-value"), nil)
	p.Do(t, http.MethodPut, p.Site("orders")+"/functions/Hello/keys/partner", map[string]any{"name": "partner", "value": "function-value"}, nil)
	before := listHost(t, p, "orders")
	if before.MasterKey == "" || before.FunctionKeys["default"] == "" || before.FunctionKeys["partner"] != "host-value" || before.SystemKeys["x_extension"] != "system-value" {
		t.Fatalf("%+v", before)
	}
	var own map[string]string
	p.Do(t, http.MethodPost, p.Site("orders")+"/functions/hello/listkeys", nil, &own)
	if own["partner"] != "function-value" || own["default"] == "" {
		t.Fatal("keys of the function", own)
	}
	// Asking makes no keys, and a name that no function can have has none.
	for path, kind := range map[string]error{
		http.MethodPost + " /functions/other/listkeys":       problem.NotFound,
		http.MethodDelete + " /functions/other/keys/default": problem.NotFound,
		http.MethodPut + " /functions/host/keys/default":     problem.Invalid,
		http.MethodPut + " /functions/a%20b/keys/default":    problem.Invalid,
	} {
		method, at, _ := strings.Cut(path, " ")
		if err := p.Client.Do(t.Context(), method, p.Site("orders")+at, nil, nil); !errors.Is(err, kind) {
			t.Errorf("%s: %v", path, err)
		}
	}
	p.Deploy(t, "orders", platformtest.Package(t, []string{"Hello"}, nil))
	p.Do(t, http.MethodPost, p.Site("orders")+"/start", nil, nil)
	platformtest.Until(t, "the app serves with the keys of before", func() bool {
		for _, key := range []string{"host-value", "function-value", own["default"], before.FunctionKeys["default"], before.MasterKey} {
			if status, _ := p.Call(t, "orders", "/api/Hello", key); status != http.StatusOK {
				return false
			}
		}
		return true
	})
	if diff := cmp.Diff(before, listHost(t, p, "orders")); diff != "" {
		t.Error(diff)
	}
	if err := p.Client.Do(t.Context(), http.MethodPut, p.Site("orders")+"/functions/other/keys/k", value("v"), nil); !errors.Is(err, problem.NotFound) {
		t.Errorf("a function that was not deployed: %v", err)
	}
}
