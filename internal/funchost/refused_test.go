package funchost

import (
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
)

// TestARefusedCallerGetsAnIDToAskWith sends a request without a key: the answer has
// an id, and whoever is told of refusals gets the same one.
func TestARefusedCallerGetsAnIDToAskWith(t *testing.T) {
	r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
	var told []Denial
	r.front.cfg.Denied = func(d Denial) { told = append(told, d) }
	answer := r.serve(t, func(q *http.Request) { q.Header.Del("X-Functions-Key") })
	id := answer.Header().Get("X-Ms-Request-Id")
	if answer.Code != http.StatusUnauthorized || len(id) != 36 {
		t.Fatalf("%d with id %q", answer.Code, id)
	}
	if len(told) != 1 || told[0].ID != id || told[0].Invocation || told[0].Reason != "key: noKey" || told[0].Method != "GET" || told[0].Path != "/api/f" {
		t.Errorf("told of %+v", told)
	}
	if again := r.serve(t, func(q *http.Request) { q.Header.Del("X-Functions-Key") }).Header().Get("X-Ms-Request-Id"); again == id {
		t.Error("two refusals have one id")
	}
	if answer := r.serve(t, nil); answer.Code != http.StatusOK || answer.Header().Get("X-Ms-Request-Id") != "" || len(told) != 2 {
		t.Errorf("a caller that was let in: %d, %v", answer.Code, answer.Header())
	}
}

// TestAnAnswerOfTheFunctionIsToldApart has the function itself say 401: its answer
// stays as it is, and the invocation is what to ask with.
func TestAnAnswerOfTheFunctionIsToldApart(t *testing.T) {
	own := &fakeWorker{forwards: true, serve: func(w http.ResponseWriter, _ *http.Request, _ *worker.Invocation) error {
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}}
	r := newRig(t, own, funcapp.HostConfig{}, nil)
	var told []Denial
	r.front.cfg.Denied = func(d Denial) { told = append(told, d) }
	answer := r.serve(t, nil)
	if answer.Code != http.StatusUnauthorized || answer.Header().Get("X-Ms-Request-Id") != "" {
		t.Errorf("%d, %v", answer.Code, answer.Header())
	}
	if len(told) != 1 || !told[0].Invocation || len(told[0].ID) != 36 || told[0].Key != "function/default" && told[0].Key != "host/default" {
		t.Errorf("told of %+v", told)
	}
}
