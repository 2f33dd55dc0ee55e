package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keyring"
)

// putFunction writes a function's folder, or removes it.
func putFunction(t *testing.T, n *Node, name string, there bool) {
	t.Helper()
	dir := filepath.Join(n.cfg.Dir, name)
	err := os.RemoveAll(dir)
	if err == nil && there {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil && there {
		err = os.WriteFile(filepath.Join(dir, "function.json"),
			[]byte(`{"bindings":[{"type":"httpTrigger","direction":"in","name":"req"},{"type":"http","direction":"out","name":"res"}]}`), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reload has the node read its folder, as it does when the app (re)starts.
func reload(t *testing.T, n *Node) {
	t.Helper()
	m, err := loadModel(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.modelLoaded(m)
	if err := n.keys.TendFunctions(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func functionKey(t *testing.T, n *Node, function string) string {
	t.Helper()
	key, err := n.keys.Get(t.Context(), keyring.FunctionKeys(function), "default")
	if err != nil {
		t.Fatal(err)
	}
	return key.Value
}

func opens(t *testing.T, n *Node, key, function string) bool {
	t.Helper()
	d := n.keys.Authorize(t.Context(), keyring.Request{Key: key, Function: n.keys.Function(function)})
	return d.Reason == keyring.Matched
}

// TestKeysOfADeletedFunction: gone with its folder, back with it for a while, and
// others after that. A folder that cannot be loaded as an app deletes nothing.
func TestKeysOfADeletedFunction(t *testing.T) {
	n, c, log := openTended(t)
	putFunction(t, n, "Hello", true)
	reload(t, n)
	key := functionKey(t, n, "Hello")

	host := filepath.Join(n.cfg.Dir, "host.json")
	putFunction(t, n, "Hello", false)
	if err := os.WriteFile(host, []byte(`{"version": `), 0o644); err != nil {
		t.Fatal(err)
	}
	reload(t, n)
	if !opens(t, n, key, "Hello") || strings.Contains(log.String(), "keysQuarantined") {
		t.Errorf("an app that could not be loaded deleted a function:\n%s", log)
	}
	if err := os.WriteFile(host, []byte(`{"version": "2.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	reload(t, n)
	if opens(t, n, key, "Hello") || !strings.Contains(log.String(), "keysQuarantined") {
		t.Errorf("the key of a function that is gone works, or nothing was said:\n%s", log)
	}
	c.Advance(29 * 24 * time.Hour)
	putFunction(t, n, "Hello", true)
	reload(t, n)
	if !opens(t, n, key, "Hello") || !strings.Contains(log.String(), "keysReturned") {
		t.Errorf("the key does not work again, or nothing was said:\n%s", log)
	}
	putFunction(t, n, "Hello", false)
	reload(t, n)
	c.Advance(30 * 24 * time.Hour)
	putFunction(t, n, "Hello", true)
	reload(t, n)
	if opens(t, n, key, "Hello") || functionKey(t, n, "Hello") == key || !strings.Contains(log.String(), "documentPruned") {
		t.Errorf("the old key is back, or nothing was said:\n%s", log)
	}
	if strings.Contains(log.String(), key) {
		t.Error("a key is in the log")
	}
}

// TestFunctionsThatTheWorkerIsYetToTellAreNotGone: every start of an app whose
// functions are in its code begins without any.
func TestFunctionsThatTheWorkerIsYetToTellAreNotGone(t *testing.T) {
	n, c, log := openTended(t)
	putFunction(t, n, "Hello", true)
	reload(t, n)
	key := functionKey(t, n, "Hello")
	putFunction(t, n, "Hello", false)
	m, err := loadModel(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Unindexed = true
	for range 2 {
		n.modelLoaded(m)
		if err := n.keys.TendFunctions(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Advance(40 * 24 * time.Hour)
	}
	if !opens(t, n, key, "Hello") || strings.Contains(log.String(), "keysQuarantined") {
		t.Errorf("the function counted as gone:\n%s", log)
	}
}

func TestHowLongKeysAreKeptIsASetting(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "host.json"), []byte(`{"version": "2.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: dir, Environ: []string{keyring.GoneKeptSetting + "=soon"}, Log: &lines{}})
	if err == nil || !strings.Contains(err.Error(), keyring.GoneKeptSetting) {
		t.Errorf("got %v", err)
	}
}
