package audit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestARefusalIsFoundByItsID finds each of many that are alike, of which the record
// has the first and the last, and after a restart what the record has.
func TestARefusalIsFoundByItsID(t *testing.T) {
	e := newEnv(t)
	for i := range 5 {
		e.clock.Advance(time.Second)
		e.Record(audit.Event{Category: audit.Denied, Action: "invoke", Scope: "/app", Source: "192.0.2.1:99", Reason: "key: unknown", CorrelationID: fmt.Sprintf("Id-%d", i), Details: map[string]string{"path": fmt.Sprint("/", i)}})
	}
	for i := range 5 {
		got, err := e.Find(e.ctx, fmt.Sprintf("id-%d", i))
		if err != nil || got.Details["path"] != fmt.Sprint("/", i) || got.Time != start.Add(time.Duration(i+1)*time.Second) {
			t.Errorf("id-%d: %+v, %v", i, got, err)
		}
	}
	if _, err := e.Find(e.ctx, "id-9"); !errors.Is(err, problem.NotFound) {
		t.Errorf("an id that was never given: %v", err)
	}
	if err := e.Append(e.ctx, audit.Event{Category: audit.Write, Action: "a/write", CorrelationID: "change"}); err != nil {
		t.Fatal(err)
	}
	e.Keep(audit.Event{Action: "invoke", Outcome: "Admitted", CorrelationID: "own"})
	other := e.open(e.store, "node-2")
	if got, err := other.Find(e.ctx, "CHANGE"); err != nil || got.Action != "a/write" || got.Sequence == 0 {
		t.Errorf("another node finds %+v, %v", got, err)
	}
	if got, err := e.Find(e.ctx, "own"); err != nil || got.Outcome != "Admitted" || got.Sequence != 0 {
		t.Errorf("what is only kept: %+v, %v", got, err)
	}
	if _, err := other.Find(e.ctx, "own"); !errors.Is(err, problem.NotFound) {
		t.Errorf("what is only kept was recorded: %v", err)
	}
}

// TestMemoryOfRefusalsIsBounded keeps more than there is room for: the oldest make
// way.
func TestMemoryOfRefusalsIsBounded(t *testing.T) {
	e := newEnv(t)
	for i := range 5000 {
		e.Keep(audit.Event{Action: "invoke", CorrelationID: fmt.Sprint("id", i)})
	}
	if _, err := e.Find(e.ctx, "id0"); !errors.Is(err, problem.NotFound) {
		t.Errorf("the oldest is still there: %v", err)
	}
	if _, err := e.Find(e.ctx, "id4999"); err != nil {
		t.Error(err)
	}
}

func TestEventsAreListedByOutcomeAndID(t *testing.T) {
	e := newEnv(t)
	for _, outcome := range []string{"", "Succeeded", "Failed", "Denied"} {
		if err := e.Append(e.ctx, audit.Event{Category: audit.Write, Action: "a", Outcome: outcome, CorrelationID: "id-" + outcome}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		filter audit.Filter
		want   int
	}{{audit.Filter{Outcome: "succeeded"}, 2}, {audit.Filter{Outcome: "Failed"}, 1}, {audit.Filter{Correlation: "ID-failed"}, 1}, {audit.Filter{Correlation: "id"}, 0}} {
		if list, _, err := e.List(e.ctx, tt.filter); err != nil || len(list) != tt.want {
			t.Errorf("%+v gives %d events, %v", tt.filter, len(list), err)
		}
	}
}

// TestKeysThatCallersPutIntoPathsAndNamesAreHidden, in the record and in what is kept
// beside it.
func TestKeysThatCallersPutIntoPathsAndNamesAreHidden(t *testing.T) {
	e := newEnv(t)
	key, err := azfkey.Generate(azfkey.Function)
	if err != nil {
		t.Fatal(err)
	}
	for id, text := range map[string]string{"path": "/api/" + key, "code": "/api/f?code=short", "cut": strings.Repeat("x", 480) + key} {
		event := audit.Event{Category: audit.Denied, Action: "invoke", CorrelationID: id, Reason: text, Details: map[string]string{"path": text}}
		e.Record(event)
		event.CorrelationID += "-kept"
		e.Keep(event)
		for _, id := range []string{id, id + "-kept"} {
			got, err := e.Find(e.ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, said := range []string{got.Reason, got.Details["path"]} {
				if said == "" || strings.Contains(said, key[:12]) || strings.Contains(said, "short") {
					t.Errorf("%s: %q", id, said)
				}
			}
		}
	}
}
