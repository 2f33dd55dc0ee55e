package functions_test

import (
	"strings"
	"testing"
)

// TestKeyNamesThatCannotBeAreRefusedWithTheRule: in the words of the other ways to
// make a key, and nothing is made.
func TestKeyNamesThatCannotBeAreRefusedWithTheRule(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	long := strings.Repeat("n", 200)
	for _, list := range []string{"/host/default/functionKeys/", "/host/default/systemKeys/", "/functions/hello/keys/"} {
		body := w.want(t, "PUT", site+list+long, `{"properties":{"value":"a-value-that-is-good"}}`, 400, "*").Body.String()
		if !strings.Contains(body, "Key name is longer than 127 characters. Use 1 to 127 visible characters") || strings.Contains(body, long) {
			t.Errorf("%s: %s", list, body)
		}
		for _, name := range []string{"%2E%2E", "a%5Cb", "a%2Fb"} { // not even a path of the API
			w.want(t, "PUT", site+list+name, `{"properties":{"value":"a-value-that-is-good"}}`, 400, "*")
		}
	}
	if body := w.want(t, "PUT", site+"/functions/hello/keys/_master", `{"properties":{"value":"m"}}`, 400, "*").Body.String(); !strings.Contains(body, "reserved for the master key") {
		t.Errorf("got %s", body)
	}
}
