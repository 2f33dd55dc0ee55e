package hosttest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

// TestKeyNamesThatCannotBeAreRefusedWithTheRule at every scope, for values given and
// generated, and nothing is made.
func TestKeyNamesThatCannotBeAreRefusedWithTheRule(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	master := h.Master(t)
	long := strings.Repeat("n", 200)
	for _, scope := range scopes {
		before := h.Send(t, testkit.Request{Path: scope.path, Key: master}).WantStatus(t, http.StatusOK).Body
		for name, rule := range map[string]string{
			"%2E%2E": "key name is a path", "a%5Cb": "key name contains a slash or backslash", long: "key name is longer than 127 characters",
		} {
			for _, method := range []string{http.MethodPut, http.MethodPost} {
				a := h.Send(t, testkit.Request{Method: method, Path: scope.path + "/" + name, Key: master, Body: `{"value":"a-value-that-is-good"}`})
				a.WantStatus(t, http.StatusBadRequest)
				if !strings.Contains(a.Body, rule) || !strings.Contains(a.Body, "use 1 to 127 visible characters") || strings.Contains(a.Body, long) {
					t.Errorf("%s %s: %s", method, scope.path, a.Body)
				}
			}
		}
		if after := h.Send(t, testkit.Request{Path: scope.path, Key: master}).Body; after != before {
			t.Errorf("%s: %s became %s", scope.path, before, after)
		}
	}
	a := h.Send(t, testkit.Request{Method: http.MethodPut, Path: "/admin/functions/closed/keys/_Master", Key: master, Body: `{"value":"a-value-that-is-good"}`})
	if a.WantStatus(t, http.StatusBadRequest); !strings.Contains(a.Body, "reserved for the master key") {
		t.Errorf("got %s", a.Body)
	}
}
