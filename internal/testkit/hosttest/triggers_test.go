package hosttest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testkit"
)

// recorder is a handler that tells which functions it ran, with what.
func recorder(ran chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			var call struct{ Data map[string]json.RawMessage }
			_ = json.NewDecoder(r.Body).Decode(&call)
			ran <- strings.TrimPrefix(r.URL.Path, "/") + " " + string(call.Data["in"])
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})
}

func await(t *testing.T, ran <-chan string, want string) {
	t.Helper()
	select {
	case got := <-ran:
		if !strings.HasPrefix(got, want) {
			t.Errorf("ran %q, want %q", got, want)
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("%s does not run", want)
	}
}

func TestFunctionsOfOtherTriggersRunWhenAsked(t *testing.T) {
	ran := make(chan string, 10)
	trigger := func(kind, more string) string {
		return `{"bindings":[{"type":"` + kind + `","name":"in"` + more + `}]}`
	}
	h := testkit.Start(t, testkit.App{Handler: recorder(ran), Files: map[string]string{
		"yearly/function.json": trigger("timerTrigger", `,"schedule":"0 0 0 1 1 *"`),
		"warm/function.json":   trigger("warmupTrigger", ""),
		"byhand/function.json": trigger("manualTrigger", ""),
		"fish/function.json":   trigger("fishTrigger", ""),
		"badly/function.json":  trigger("timerTrigger", `,"schedule":"0 0 25 * * *"`),
	}})
	ask := func(function, body string) testkit.Answer {
		return h.Send(t, testkit.Request{Method: "POST", Path: "/admin/functions/" + function, Key: h.Master(t), Body: body,
			Header: map[string]string{"Content-Type": "application/json"}})
	}
	if a := ask("yearly", `{"input":""}`); a.Status != 202 {
		t.Errorf("asked: %d", a.Status)
	}
	await(t, ran, `yearly {"Schedule":{"AdjustForDST":true},`)
	if a := ask("byhand", `{"input":"some text"}`); a.Status != 202 {
		t.Errorf("asked: %d", a.Status)
	}
	await(t, ran, `byhand "\"some text\""`)
	for range 2 { // once per process
		h.Get(t, "/admin/warmup", "").WantStatus(t, 200)
	}
	await(t, ran, "warm")
	for function, want := range map[string]string{"fish": "fishTrigger", "badly": "field hour"} {
		if a := ask(function, `{"input":""}`); a.Status != 404 {
			t.Errorf("%s: %d", function, a.Status)
		}
		a := h.Get(t, "/admin/functions/"+function+"/status", h.Master(t)).WantStatus(t, 200)
		if !strings.Contains(a.Body, want) {
			t.Errorf("%s: %s, want %s", function, a.Body, want)
		}
	}
	if len(ran) != 0 {
		t.Errorf("also ran %q", <-ran)
	}
}

// TestAFunctionWithAFaultyBindingIsNotServed: what a request would set going would
// lack what the binding stands for.
func TestAFunctionWithAFaultyBindingIsNotServed(t *testing.T) {
	with := func(binding string) string {
		return `{"bindings":[{"type":"httpTrigger","name":"req","authLevel":"anonymous","direction":"in"},` + binding + `,{"type":"http","name":"$return","direction":"out"}]}`
	}
	h := testkit.Start(t, testkit.App{Files: map[string]string{
		"input/function.json":  with(`{"type":"table","name":"rows","direction":"in"}`),
		"output/function.json": with(`{"type":"kafka","name":"out","direction":"out"}`),
		"fine/function.json":   testkit.HTTPFunction("anonymous", ""),
	}})
	h.Get(t, "/api/fine", "").WantStatus(t, 204)
	for _, name := range []string{"input", "output"} {
		h.Get(t, "/api/"+name, "").WantStatus(t, 404)
	}
}
