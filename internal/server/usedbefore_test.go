package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

// TestCommandsMakeNoKeysInPlaceOfThoseThatAreGone: a running app would take them
// for a change by others and drop the last good ones.
func TestCommandsMakeNoKeysInPlaceOfThoseThatAreGone(t *testing.T) {
	dir := keyed(t)
	list := func(sec keyring.Section) (string, error) {
		t.Helper()
		k, err := server.OpenKeys(t.Context(), server.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		keys, err := k.List(t.Context(), sec)
		if err != nil {
			return "", err
		}
		return keys[0].Value, nil
	}
	host, err := list(keyring.HostKeys()) // the first look makes them
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, false)
	secrets, away := filepath.Join(dir, ".latchkey", "secrets"), filepath.Join(t.TempDir(), "away")
	if err := os.Rename(secrets, away); err != nil {
		t.Fatal(err)
	}
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.FunctionKeys("hello")} {
		if _, err := list(sec); !errors.Is(err, problem.Unavailable) || problem.NextOf(err) == "" {
			t.Errorf("%v: %v", sec.Kind, err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(secrets, "*.json")); len(files) != 0 {
		t.Fatalf("made %v", files)
	}
	if c := keysCheck(t, dir); c.Status != server.CheckFailed || c.Next == "" {
		t.Errorf("doctor says %+v", c)
	}
	if err := errors.Join(os.RemoveAll(secrets), os.Rename(away, secrets)); err != nil {
		t.Fatal(err)
	}
	if again, err := list(keyring.HostKeys()); err != nil || again != host {
		t.Errorf("once they are back: %v", err)
	}
	if _, err := list(keyring.FunctionKeys("hello")); err != nil {
		t.Errorf("a function's first keys: %v", err)
	}
	if c := keysCheck(t, dir); c.Status != server.CheckOK {
		t.Errorf("doctor says %+v", c)
	}
}

// keysCheck gives the first thing that is said of an app's keys.
func keysCheck(t *testing.T, dir string) server.Check {
	t.Helper()
	for _, c := range server.ExamineKeys(t.Context(), server.Config{Dir: dir}) {
		if c.Name == "keys" {
			return c
		}
	}
	return server.Check{}
}

// keyed makes the folder of an app.
func keyed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"host.json":           `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"x"}}}`,
		"hello/function.json": `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req"}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run opens an app as a start does, and ends it.
func run(t *testing.T, dir string, newKeys bool) {
	t.Helper()
	node, err := server.Open(t.Context(), server.Config{Dir: dir, Environ: []string{}, NewKeys: newKeys})
	if err != nil {
		t.Fatal(err)
	}
	node.Close()
}

// hostDocument gives the text of the host's key document; "" without one.
func hostDocument(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, ".latchkey", "secrets", "host.json"))
	return string(text)
}

func TestAStartMakesNewKeysForAnAppThatRanOnlyOnDemand(t *testing.T) {
	dir := keyed(t)
	run(t, dir, false)
	first := hostDocument(dir)
	run(t, dir, true)
	if first == "" || hostDocument(dir) != first {
		t.Fatal("keys that are there were replaced")
	}
	if err := os.RemoveAll(filepath.Join(dir, ".latchkey", "secrets")); err != nil {
		t.Fatal(err)
	}
	if run(t, dir, false); hostDocument(dir) != "" {
		t.Error("others were made in place of those that are gone")
	}
	if run(t, dir, true); hostDocument(dir) == "" {
		t.Error("none were made when told to")
	}
	if err := os.RemoveAll(filepath.Join(dir, ".latchkey")); err != nil {
		t.Fatal(err)
	}
	if run(t, dir, false); hostDocument(dir) == "" {
		t.Error("an app without a data folder is not new")
	}
}

// TestAnAppThatNeverHadKeysIsNew: its first start found the store away.
func TestAnAppThatNeverHadKeysIsNew(t *testing.T) {
	dir := keyed(t)
	secrets := filepath.Join(dir, ".latchkey", "secrets")
	if err := errors.Join(os.MkdirAll(filepath.Dir(secrets), 0o700), os.WriteFile(secrets, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if run(t, dir, false); hostDocument(dir) != "" {
		t.Fatal("there are keys")
	}
	if err := os.Remove(secrets); err != nil {
		t.Fatal(err)
	}
	if run(t, dir, false); hostDocument(dir) == "" {
		t.Error("no keys were made")
	}
}
