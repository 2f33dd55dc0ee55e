package hosttest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/test/azurite"
)

// TestMessagesPassThroughAnApp: from an HTTP function's output over a queue trigger
// to an output whose name the message gives, and what fails into the poison queue.
func TestMessagesPassThroughAnApp(t *testing.T) {
	service := azurite.Start(t, azurite.Options{Queues: true})
	ran := make(chan string, 16)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct{ Data map[string]json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&call)
		w.Header().Set("Content-Type", "application/json")
		in := string(call.Data["in"])
		switch r.URL.Path {
		case "/submit":
			_, _ = io.WriteString(w, `{"Outputs":{"res":{"statusCode":202},"out":[{"n":1,"to":"eu"},{"n":2,"to":"poison"}]}}`)
			return
		case "/work":
			if strings.Contains(in, "poison") {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, `{"Outputs":{"out":"done"}}`)
			return
		case "/":
			return
		}
		ran <- strings.TrimPrefix(r.URL.Path, "/") + " " + in
		_, _ = io.WriteString(w, "{}")
	})
	queue := func(name, more string) string {
		return `{"bindings":[{"type":"queueTrigger","name":"in","queueName":"` + name + `","connection":"Store"}` + more + `]}`
	}
	out := func(name string) string {
		return `,{"type":"queue","name":"out","direction":"out","queueName":"` + name + `","connection":"Store"}`
	}
	h := testkit.Start(t, testkit.App{
		Handler: handler, Host: `"extensions":{"queues":{"maxPollingInterval":"00:00:00.2","maxDequeueCount":2}}`,
		Settings: map[string]string{"Store": service.ConnectionString(), "QUEUE": "orders"},
		Files: map[string]string{
			"submit/function.json": `{"bindings":[{"type":"httpTrigger","name":"req","authLevel":"anonymous"},{"type":"http","name":"res","direction":"out"}` + out("%QUEUE%") + `]}`,
			"nosuch/function.json": `{"bindings":[{"type":"httpTrigger","name":"req","authLevel":"anonymous"},{"type":"http","name":"res","direction":"out"}` + out("No_Good") + `]}`,
			"work/function.json":   queue("%QUEUE%", out("{to}-done")),
			"after/function.json":  queue("eu-done", ""),
			"poison/function.json": queue("orders-poison", ""),
		},
	})
	if a := h.Send(t, testkit.Request{Method: "POST", Path: "/api/submit"}); a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	var got []string
	for range 2 {
		select {
		case s := <-ran:
			got = append(got, s)
		case <-time.After(time.Minute):
			t.Fatalf("only %q ran", got)
		}
	}
	slices.Sort(got)
	if got[0] != `after "\"done\""` || !strings.HasPrefix(got[1], "poison ") {
		t.Errorf("%q", got)
	}
	if !strings.Contains(h.Log.String(), "moved to the poison queue") || !strings.Contains(h.Log.String(), "no_good") {
		t.Error("the log does not tell of the poison message or of the bad name")
	}
}
