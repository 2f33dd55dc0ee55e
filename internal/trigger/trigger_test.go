package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
)

func TestALeaseHasOneHolder(t *testing.T) {
	var leases trigger.LocalLeases
	first, err := leases.Acquire(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Acquire(t.Context(), "b"); err != nil {
		t.Errorf("another name: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := leases.Acquire(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a second holder: %v", err)
	}
	next := make(chan error, 1)
	go func() { _, err := leases.Acquire(t.Context(), "a"); next <- err }()
	for range 2 { // the second time does nothing
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-next:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the lease is not passed on")
	}
	select {
	case <-first.Lost():
	default:
		t.Error("a released lease is not lost")
	}
}

func TestAFolderKeepsDocuments(t *testing.T) {
	dir := t.TempDir()
	f := trigger.Folder(dir + "/triggers")
	if doc, err := f.Get(t.Context(), "a"); doc != nil || err != nil {
		t.Errorf("before the first: %s, %v", doc, err)
	}
	for _, name := range []string{"a", "A.b", "../out", "x/y"} {
		if err := f.Put(t.Context(), name, json.RawMessage(`{"n":1}`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if doc, err := f.Get(t.Context(), name); string(doc) != `{"n":1}` || err != nil {
			t.Errorf("%s: %s, %v", name, doc, err)
		}
	}
	if err := f.Put(t.Context(), "big", make(json.RawMessage, trigger.MaxDocument+1)); !errors.Is(err, problem.TooLarge) {
		t.Errorf("too large: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("written outside of the folder: %v, %v", entries, err)
	}
}

func TestBindingsThisHostDoesNotHaveAreNamed(t *testing.T) {
	k := trigger.Kinds{Sources: []trigger.Source{trigger.Passive("warmupTrigger")}, Inputs: []string{"durableClient"}}
	check := func(b ...funcapp.Binding) string {
		var texts []string
		for _, f := range k.Check(trigger.Setup{Function: &funcapp.Function{Name: "f", Bindings: b}}) {
			texts = append(texts, f.Function+": "+f.Message+"; "+f.Next)
		}
		return strings.Join(texts, "\n")
	}
	if got := check(funcapp.Binding{Type: "HTTPTrigger"}, funcapp.Binding{Type: "HTTP", Direction: funcapp.Out}, funcapp.Binding{Type: "durableclient"}); got != "" {
		t.Error(got)
	}
	if got := check(funcapp.Binding{Type: "WarmupTrigger"}); got != "" {
		t.Error(got)
	}
	for _, tt := range []struct {
		b    funcapp.Binding
		want string
	}{
		{funcapp.Binding{Name: "x", Type: "kafkaTrigger"}, `f: binding "x" has type "kafkaTrigger", which this host does not have; use one of these triggers: httpTrigger, warmupTrigger`},
		{funcapp.Binding{Name: "x", Type: "sendGrid", Direction: funcapp.Out}, "use one of these outputs: http"},
		{funcapp.Binding{Name: "x", Type: "blob"}, "use one of these inputs: durableClient"},
	} {
		if got := check(tt.b); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", tt.b.Type, got)
		}
	}
}
