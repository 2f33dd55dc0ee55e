package arm

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestInnerCallsAreAuthorisedAndRecorded(t *testing.T) {
	f := newFixture(t, append(operations(), Operation{Method: "POST", Pattern: "/open/stream", Action: Open, Handler: func(*Call) (Reply, error) {
		return Reply{Stream: func(io.Writer) error { return io.ErrUnexpectedEOF }}, nil
	}})...)
	const site = "/subscriptions/" + testSub + "/resourceGroups/rg/providers/Microsoft.Web/sites/a b"
	in := Inner{Caller: Caller{ObjectID: "owner"}, Method: http.MethodPut, ID: site, Version: "2024-03-01", Body: []byte(`{}`),
		BaseURL: "https://localhost:7443", Remote: "10.0.0.1:1", CorrelationID: "corr"}
	status, body, err := f.api.Invoke(t.Context(), in)
	if err != nil || status != http.StatusOK || !strings.Contains(string(body), `/sites/a b"`) {
		t.Errorf("%d %s %v", status, body, err)
	}
	if e := f.seen[len(f.seen)-1]; e.Caller.ObjectID != "owner" || !e.Changed || e.CorrelationID != "corr" || e.Remote != "10.0.0.1:1" {
		t.Errorf("recorded: %+v", e)
	}
	in.Caller.ObjectID = "stranger"
	status, body, err = f.api.Invoke(t.Context(), in)
	if err != nil || status != http.StatusForbidden || !strings.Contains(string(body), "AuthorizationFailed") || f.seen[len(f.seen)-1].Denied == "" {
		t.Errorf("a stranger: %d %s %v", status, body, err)
	}
	in.Method, in.ID = http.MethodPost, "/open/stream"
	if _, _, err := f.api.Invoke(t.Context(), in); err == nil {
		t.Error("a part of an answer is taken for the whole")
	}
}
