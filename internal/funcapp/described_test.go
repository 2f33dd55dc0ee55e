package funcapp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribedFunctionsAreCheckedLikeFiles(t *testing.T) {
	app := &App{Root: t.TempDir(), Host: HostConfig{Functions: []string{"b", "a", "bad"}, Retry: &Retry{Strategy: "fixedDelay", MaxRetryCount: 3}}}
	env := Env{"FUNCTIONS_WORKER_RUNTIME": "node", "QUEUE": "orders", "AzureWebJobs.a.Disabled": "true"}
	const http = `{"type":"httpTrigger","direction":"IN","authLevel":"ANONYMOUS","name":"req","methods":["get"]}`
	got := app.Describe(env, []Description{
		{Name: "other", Bindings: []string{http}},
		{Name: "b", Bindings: []string{`{"type":"queueTrigger","name":"m","queueName":"%QUEUE%"}`, `{"type":"queue","direction":"out","name":"$return"}`}},
		{Name: "a", Bindings: []string{http, `{"type":"http","direction":"out","name":"$return"}`}, ScriptFile: app.Root + "/src/a.js"},
		{Name: "bad", Bindings: []string{`{`, `{"type":"queueTrigger","name":"m","queueName":"%NONE%"}`}, Fault: "it threw"},
		{Name: "host", Bindings: []string{http}},
	})
	var names []string
	for _, f := range got {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "bad", "host", "other"}, names); diff != "" {
		t.Fatal(diff)
	}
	a, b := got[0], got[1]
	if !a.Disabled || a.HTTP() == nil || a.HTTP().AuthLevel != LevelAnonymous || a.Language != "node" || len(a.Faults) > 0 {
		t.Errorf("a: %+v", a)
	}
	if !strings.Contains(string(a.Config), `"scriptFile":"src/a.js"`) {
		t.Errorf("its text: %s", a.Config)
	}
	if b.Trigger().Properties["queuename"] != "orders" || b.Retry == nil || b.Retry.MaxRetryCount != 3 || !b.Runnable() {
		t.Errorf("b: %+v", b)
	}
	var faults []string
	for _, f := range got[2].Faults {
		faults = append(faults, f.Message)
	}
	all := strings.Join(faults, "\n")
	for _, want := range []string{"it threw", "must be an object", "%NONE% does not resolve"} {
		if !strings.Contains(all, want) {
			t.Errorf("faults %q lack %q", all, want)
		}
	}
	if len(got[3].Faults) == 0 || !got[4].Excluded {
		t.Errorf("host: %+v, other: %+v", got[3], got[4])
	}
}
