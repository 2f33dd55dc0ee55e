package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

// ok runs a command that must succeed and gives what it printed.
func (o *operator) ok(t *testing.T, typed string, args ...string) string {
	t.Helper()
	if code := o.run(t, typed, args...); code != exitOK {
		t.Fatalf("%v: exit code %d, %q %q", args, code, o.stdout.String(), o.stderr.String())
	}
	return o.stdout.String()
}

// fails runs a command that must end with an exit code and gives what it said.
func (o *operator) fails(t *testing.T, want int, typed string, args ...string) string {
	t.Helper()
	if code := o.run(t, typed, args...); code != want {
		t.Fatalf("%v: exit code %d, not %d: %q %q", args, code, want, o.stdout.String(), o.stderr.String())
	}
	return o.stderr.String()
}

// decoded reads a command's JSON.
func decoded[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

func TestSecretsOfAVaultAreSetReadAndRecovered(t *testing.T) {
	o, _ := newOperator(t)
	if text := o.ok(t, "", "vault", "create", "shop"); !strings.Contains(text, "https://shop.vault.localhost:") || !strings.Contains(o.stderr.String(), "Key Vault Secrets Officer") {
		t.Errorf("%q %q", text, o.stderr.String())
	}
	o.fails(t, exitFailed, "", "vault", "create", "shop")
	o.ok(t, "first-value\n", "vault", "secret", "set", "shop", "token", "--content-type", "text/plain", "--expires", "2033-05-18T03:33:20Z", "--tag", "team=shop")
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("second\nvalue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.ok(t, "", "vault", "secret", "set", "shop", "token", "--file", file)

	for _, args := range [][]string{{"get", "shop", "token"}, {"show", "shop", "token"}, {"list", "shop"}, {"versions", "shop", "token"}} {
		for _, form := range []string{formTable, formJSON} {
			if text := o.ok(t, "", slices.Concat([]string{"vault", "secret"}, args, []string{"--output", form})...); strings.Contains(text, "value\"") || strings.Contains(text, "second") || strings.Contains(text, "first") {
				t.Errorf("%v shows a value: %s", args, text)
			}
		}
	}
	if text := o.ok(t, "", "vault", "secret", "get", "shop", "token", "--show"); text != "second\nvalue\n\n" {
		t.Errorf("the value: %q", text)
	}
	versions := decoded[[]struct{ Version, ContentType string }](t, o.ok(t, "", "vault", "secret", "versions", "shop", "token", "--output", "json"))
	if len(versions) != 2 {
		t.Fatalf("versions: %+v", versions)
	}
	first := versions[slices.IndexFunc(versions, func(v struct{ Version, ContentType string }) bool { return v.ContentType != "" })].Version
	old := decoded[struct {
		Value   string
		Tags    map[string]string
		Expires string
	}](t, o.ok(t, "", "vault", "secret", "get", "shop", "token", "--version", first, "--show", "--output", "json"))
	if old.Value != "first-value" || old.Tags["team"] != "shop" || old.Expires != "2033-05-18T03:33:20Z" {
		t.Errorf("the first version: %+v", old)
	}

	o.fails(t, exitFailed, "no\n", "vault", "secret", "delete", "shop", "token")
	o.ok(t, "y\n", "vault", "secret", "delete", "shop", "token")
	o.fails(t, exitNotFound, "", "vault", "secret", "get", "shop", "token")
	if text := o.ok(t, "", "vault", "secret", "list", "shop", "--deleted"); !strings.Contains(text, "token") {
		t.Errorf("deleted: %s", text)
	}
	o.ok(t, "", "vault", "secret", "recover", "shop", "token")
	o.ok(t, "", "vault", "secret", "get", "shop", "token")
	o.ok(t, "", "vault", "secret", "delete", "shop", "token", "--yes")
	o.ok(t, "", "vault", "secret", "purge", "shop", "token", "--yes")
	o.fails(t, exitNotFound, "", "vault", "secret", "recover", "shop", "token")
}

func TestVaultsAreDeletedRecoveredAndPurged(t *testing.T) {
	o, _ := newOperator(t)
	o.ok(t, "", "vault", "create", "shop", "--access", "policies", "--retention-days", "7")
	o.ok(t, "kept", "vault", "secret", "set", "shop", "token")
	o.fails(t, exitFailed, "no\n", "vault", "delete", "shop")
	if text := o.ok(t, "y\n", "vault", "delete", "shop"); !strings.Contains(text, "recoverable until") {
		t.Error(text)
	}
	o.fails(t, exitNotFound, "", "vault", "show", "shop")
	o.fails(t, exitFailed, "", "vault", "create", "shop")
	if list := decoded[[]struct{ Name string }](t, o.ok(t, "", "vault", "list", "--deleted", "--output", "json")); len(list) != 1 || list[0].Name != "shop" {
		t.Errorf("deleted: %+v", list)
	}
	o.ok(t, "", "vault", "recover", "shop")
	if text := o.ok(t, "", "vault", "secret", "get", "shop", "token", "--show"); text != "kept\n" {
		t.Errorf("after the recovery: %q", text)
	}
	o.ok(t, "", "vault", "delete", "shop", "--yes")
	o.ok(t, "", "vault", "purge", "shop", "--yes")
	o.fails(t, exitNotFound, "", "vault", "recover", "shop")
	o.ok(t, "", "vault", "create", "shop")
	if list := decoded[[]struct{ Name string }](t, o.ok(t, "", "vault", "secret", "list", "shop", "--output", "json")); len(list) != 0 {
		t.Errorf("a new vault has %+v", list)
	}
}

func TestPoliciesSayWhoMayUseSecrets(t *testing.T) {
	o, _ := newOperator(t)
	o.ok(t, "", "vault", "create", "shop", "--access", "policies", "--no-grant")
	if text := o.fails(t, exitDenied, "x", "vault", "secret", "set", "shop", "token"); !strings.Contains(text, "latchkey vault policy set shop") {
		t.Error(text)
	}
	me := decoded[struct{ ObjectID string }](t, o.ok(t, "", "whoami", "--output", "json")).ObjectID
	o.ok(t, "", "vault", "policy", "set", "shop", "--principal", me, "--secrets", "set,list")
	o.ok(t, "x", "vault", "secret", "set", "shop", "token")
	o.ok(t, "", "vault", "secret", "show", "shop", "token")
	o.fails(t, exitDenied, "", "vault", "secret", "get", "shop", "token")
	if text := o.ok(t, "", "vault", "policy", "list", "shop"); !strings.Contains(text, me) || !strings.Contains(text, "set,list") {
		t.Error(text)
	}
	o.ok(t, "", "vault", "policy", "remove", "shop", "--principal", me, "--yes")
	o.fails(t, exitDenied, "", "vault", "secret", "list", "shop")
	o.fails(t, exitUsage, "", "vault", "policy", "set", "shop", "--principal", me)

	o.ok(t, "", "vault", "create", "other", "--no-grant")
	if text := o.fails(t, exitDenied, "", "vault", "secret", "list", "other"); !strings.Contains(text, "latchkey role assign") {
		t.Error(text)
	}
	o.fails(t, exitFailed, "", "vault", "policy", "set", "other", "--principal", me, "--secrets", "get")
	o.ok(t, "", "role", "assign", secretsOfficer, "--principal", me, "--scope", "vault/other")
	o.ok(t, "", "vault", "secret", "list", "other")
}

func TestValuesAreNoArguments(t *testing.T) {
	o, _ := newOperator(t)
	o.fails(t, exitUsage, "", "vault", "secret", "set", "shop", "token", "value")
	o.ok(t, "", "vault", "create", "shop")
	o.fails(t, exitUsage, "", "vault", "secret", "set", "shop", "token")
	o.fails(t, exitUsage, "x", "vault", "secret", "set", "shop", "token", "--expires", "tomorrow")
	o.fails(t, exitFailed, "x", "vault", "secret", "set", "shop", "not_a_name")
	o.fails(t, exitFailed, "", "vault", "secret", "set", "shop", "token", "--file", filepath.Join(t.TempDir(), "none"))
	if _, err := (secretSetFlags{file: "none"}).value(t.Context(), &Env{}, "x"); !errors.Is(err, problem.Invalid) {
		t.Error(err)
	}
}
