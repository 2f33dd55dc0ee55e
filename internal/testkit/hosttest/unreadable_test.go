package hosttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

func TestUnreadableKeysAnswer500AndAreLeftAlone(t *testing.T) {
	const undecryptable = `{"masterKey":{"name":"master","value":"CfDJ8AAAAAAAAAAAAAAAAAAAAAAAAAAA","encrypted":true},"functionKeys":[],"systemKeys":[]}`
	shared := t.TempDir()
	path := filepath.Join(shared, "host.json")
	if err := os.WriteFile(path, []byte(undecryptable), 0o600); err != nil {
		t.Fatal(err)
	}
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Settings: map[string]string{"FUNCTIONS_SECRETS_PATH": shared}})
	some := strings.Repeat("x", 56)
	for _, tt := range []struct {
		path, key string
		status    int
	}{
		{"/api/closed", some, 500}, {"/api/closed", "", 401}, {"/api/open", some, 200}, {"/api/open", "", 200},
		{"/admin/host/status", some, 500}, {"/admin/host/status", "", 401}, {"/runtime/webhooks/x", some, 500}, {"/admin/host/ping", "", 200},
	} {
		if a := h.Get(t, tt.path, tt.key); a.Status != tt.status || (tt.status >= 400 && a.Body != "") {
			t.Errorf("%s with key %.3q: %d %q, want %d", tt.path, tt.key, a.Status, a.Body, tt.status)
		}
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != undecryptable {
		t.Errorf("the stored keys were changed: %s %v", now, err)
	}
}
