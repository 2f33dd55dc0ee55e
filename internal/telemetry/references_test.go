package telemetry_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/telemetry"
)

func TestReferencesAreCounted(t *testing.T) {
	m := telemetry.NewMetrics("test")
	m.CountReferences(func() telemetry.ReferenceFigures {
		return telemetry.ReferenceFigures{InFlight: 3, Queued: 4, Restarts: 5, Apps: 6, Fetches: map[string]int64{"Resolved": 7}}
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		"latchkey_reference_fetches_in_flight 3", "latchkey_reference_fetches_queued 4", "latchkey_reference_restarts_total 5",
		"latchkey_reference_apps 6", `latchkey_reference_fetches_total{status="Resolved"} 7`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}
}
