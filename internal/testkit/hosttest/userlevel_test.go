package hosttest_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

// TestLevelUserIsForTheMasterKeyOnly: no key has that level, so only what opens
// everything opens such a function. A signed-in user does not.
func TestLevelUserIsForTheMasterKeyOnly(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Settings: map[string]string{"WEBSITE_AUTH_ENABLED": "true"},
		Files: map[string]string{"mine/function.json": testkit.HTTPFunction("user", "")}})
	for key, status := range map[string]int{
		"": 401, h.HostKey(t): 401, h.FunctionKey(t, "mine"): 401, h.SystemKey(t, "x"): 401, h.Master(t): 200,
	} {
		h.Get(t, "/api/mine", key).WantStatus(t, status)
	}
	user := map[string]string{"x-ms-client-principal": principalHeader(t)}
	h.Send(t, testkit.Request{Path: "/api/mine", Header: user}).WantStatus(t, 401)
	h.Send(t, testkit.Request{Path: "/api/mine", Header: user, Key: h.HostKey(t)}).WantStatus(t, 401)
}
