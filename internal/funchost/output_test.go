package funchost

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// box is a sink that keeps what it is sent, or fails.
type box struct {
	got []string
	err error
}

func (*box) Type() string                                    { return "queue" }
func (*box) Check(*trigger.Setup) []funcapp.Fault            { return nil }
func (b *box) Output(*trigger.Setup) (trigger.Output, error) { return b, nil }

func (b *box) Send(_ context.Context, inv *worker.Invocation, value json.RawMessage, _ []byte) error {
	if b.err == nil {
		b.got = append(b.got, inv.Function.Name+" "+string(value))
	}
	return b.err
}

func TestOutputsOfHTTPFunctionsAreSentBeforeTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		outputs map[string]json.RawMessage
		status  int
		sent    int
	}{
		"sent":           {outputs: map[string]json.RawMessage{"out": json.RawMessage(`"a"`)}, status: 202, sent: 1},
		"none":           {status: 202},
		"null is none":   {outputs: map[string]json.RawMessage{"out": json.RawMessage("null")}, status: 202},
		"a failed one":   {outputs: map[string]json.RawMessage{"out": json.RawMessage(`"a"`)}, err: problem.New(problem.Internal, "no"), status: 500},
		"an unreachable": {outputs: map[string]json.RawMessage{"out": json.RawMessage(`"a"`)}, err: problem.New(problem.Unavailable, "away"), status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			b := &box{err: tt.err}
			m := newModel(funcapp.HostConfig{}, nil)
			m.Functions[0].Bindings = append(m.Functions[0].Bindings, funcapp.Binding{Name: "out", Type: "queue", Direction: funcapp.Out})
			w := &fakeWorker{invoke: func(context.Context, *worker.Invocation) (*worker.Result, error) {
				return &worker.Result{Outputs: tt.outputs, HTTP: &worker.HTTPResult{Status: 202, Body: []byte("secret")}}, nil
			}}
			r := newRigOf(t, w, m, instance.Triggers{Kinds: trigger.Kinds{Sinks: []trigger.Sink{b}}})
			req := httptest.NewRequest("POST", "/api/f", nil)
			req.Header.Set("X-Functions-Key", r.key(t))
			answer := httptest.NewRecorder()
			r.front.ServeHTTP(answer, req)
			if answer.Code != tt.status || len(b.got) != tt.sent || (answer.Body.Len() > 0) != (tt.status == 202) {
				t.Errorf("%d %q, sent %q", answer.Code, answer.Body, b.got)
			}
		})
	}
}

// TestOutputsOfForwardedRequestsAreSentAfterTheAnswer: the worker answers by itself
// and the function ends later, when nobody can be told of a failure any more.
func TestOutputsOfForwardedRequestsAreSentAfterTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		outputs map[string]json.RawMessage
		none    bool // the function has no outputs
		sent    string
		logged  string
	}{
		"sent":       {outputs: map[string]json.RawMessage{"out": json.RawMessage(`"a"`)}, sent: `f "a"`},
		"nothing":    {outputs: map[string]json.RawMessage{}},
		"a failure":  {outputs: map[string]json.RawMessage{"out": json.RawMessage(`"a"`)}, err: problem.New(problem.Internal, "the queue is full"), logged: "the queue is full"},
		"no outputs": {none: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &box{err: tt.err}
			m := newModel(funcapp.HostConfig{}, nil)
			if !tt.none {
				m.Functions[0].Bindings = append(m.Functions[0].Bindings, funcapp.Binding{Name: "out", Type: "queue", Direction: funcapp.Out})
			}
			var finish func()
			w := &fakeWorker{forwards: true, serve: func(rw http.ResponseWriter, _ *http.Request, inv *worker.Invocation) error {
				rw.WriteHeader(http.StatusAccepted)
				if (inv.Finished == nil) != tt.none {
					t.Errorf("the worker is asked for outputs: %v", inv.Finished != nil)
				}
				if inv.Finished != nil {
					finish = func() { inv.Finished(context.Background(), &worker.Result{Outputs: tt.outputs}) }
				}
				return nil
			}}
			r := newRigOf(t, w, m, instance.Triggers{Kinds: trigger.Kinds{Sinks: []trigger.Sink{b}}})
			req := httptest.NewRequest("POST", "/api/f", nil)
			req.Header.Set("X-Functions-Key", r.key(t))
			answer := httptest.NewRecorder()
			r.front.ServeHTTP(answer, req)
			if answer.Code != http.StatusAccepted || len(b.got) != 0 {
				t.Errorf("%d, sent %q before the function ended", answer.Code, b.got)
			}
			// Another request gets what the first one's exchange was, before that ends.
			r.front.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/other", nil))
			if finish != nil {
				finish()
			}
			if got := strings.Join(b.got, ","); got != tt.sent {
				t.Errorf("sent %q, want %q", got, tt.sent)
			}
			if log := r.log.String(); (tt.logged != "") != strings.Contains(log, "an output was not delivered") || !strings.Contains(log, tt.logged) {
				t.Errorf("the log says %q", log)
			}
		})
	}
}
