package funcapp

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFunctionsThatWereFoundAreRecalled(t *testing.T) {
	root := t.TempDir()
	a := &App{Root: root}
	before := a.Describe(nil, []Description{
		{Name: "hello", Directory: root, ScriptFile: filepath.Join(root, "src", "a.js"), EntryPoint: "go",
			Bindings: []string{`{"type":"httpTrigger","name":"req","direction":"in","authLevel":"function","route":"hi/{name}","methods":["get"]}`, `{"type":"http","name":"$return","direction":"out"}`}},
		{Name: "tick", Bindings: []string{`{"type":"timerTrigger","name":"t","direction":"in","schedule":"0 * * * * *"}`}},
		{Name: "broken", Bindings: []string{`nonsense`}},
		{Name: "refused", Fault: "the worker cannot use it", Bindings: []string{`{"type":"timerTrigger","name":"t","direction":"in","schedule":"0 * * * * *"}`}},
	})
	text, err := json.Marshal(FoundNow(before, time.Unix(1, 0)))
	if err != nil {
		t.Fatal(err)
	}
	var found Found
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	if !found.Equal(FoundNow(before, time.Unix(2, 0))) || found.Equal(FoundNow(before[1:], time.Unix(1, 0))) {
		t.Error("what is kept is not compared by what it says of functions")
	}
	off := Env{"AzureWebJobs.tick.Disabled": "1"}
	after := a.Recall(off, found)
	for i := range before {
		before[i].Directory = "" // of no use without the worker
		if before[i].Name == "tick" {
			before[i].Disabled = true
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

func TestNonsenseThatIsKeptIsNoFunction(t *testing.T) {
	list := (&App{Root: t.TempDir()}).Recall(nil, Found{Functions: []FoundFunction{{Name: "a", Config: json.RawMessage(`[]`)}, {Name: "../b"}}})
	if len(list) != 2 || list[0].Trigger() != nil || list[1].Trigger() != nil {
		t.Errorf("%+v", list)
	}
}
