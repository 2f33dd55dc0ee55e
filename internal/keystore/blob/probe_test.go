package blob_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/test/azurite"
)

// TestAProbeLeavesNoTrace: what may be done is told, also where nothing is yet, and
// nothing is there afterwards.
func TestAProbeLeavesNoTrace(t *testing.T) {
	storage := azurite.Start(t, azurite.Options{})
	open := func() *blob.Store {
		s, err := blob.Open(t.Context(), blob.Config{ConnectionString: storage.ConnectionString(), App: "orders", ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 2 { // the second with what the first might have left
		for _, p := range open().Probe(t.Context()) {
			if p.Err != nil {
				t.Errorf("%s: %v", p.What, p.Err)
			}
		}
		if docs, err := open().List(t.Context()); err != nil || len(docs) != 0 {
			t.Errorf("%v %v", docs, err)
		}
	}
	storage.Kill()
	for _, p := range open().Probe(t.Context()) {
		if p.Err == nil {
			t.Errorf("%s is permitted by nobody", p.What)
		}
	}
}

type answering func(*http.Request) *http.Response

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// TestAProbeTellsEachPermission: a reader may do neither.
func TestAProbeTellsEachPermission(t *testing.T) {
	reader := answering(func(r *http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody, Request: r, Header: http.Header{
			"X-Ms-Error-Code": {"AuthorizationPermissionMismatch"}, "X-Ms-Request-Id": {"1"}, "X-Ms-Version": {"2024-01-01"},
		}}
	})
	s, err := blob.Open(t.Context(), blob.Config{
		ConnectionString: "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0", App: "orders", Transport: reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Probe(t.Context()) {
		if !errors.Is(p.Err, problem.Denied) && !errors.Is(p.Err, problem.ReadOnly) {
			t.Errorf("%s: %v", p.What, p.Err)
		}
	}
}
