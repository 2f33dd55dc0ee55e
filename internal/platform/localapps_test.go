package platform

import (
	"net/http/httptest"
	"testing"
)

func TestOnlyDurableCallsToAnAddressNameTheirApp(t *testing.T) {
	for target, want := range map[string]string{
		"http://127.0.0.1:7071/runtime/webhooks/durabletask/instances/1?app=a%2Bb&code=x": "a+b",
		"http://[::1]:7071/runtime/webhooks/durabletask/instances?app=a":                  "a",
		"http://127.0.0.1:7071/runtime/webhooks/durabletask/instances/1?code=x":           "",
		"http://127.0.0.1:7071/runtime/webhooks/durabletaskother?app=a":                   "",
		"http://127.0.0.1:7071/runtime/webhooks/eventgrid/?app=a":                         "",
		"http://127.0.0.1:7071/api/hello?app=a":                                           "",
		"http://127.0.0.1:7071/admin/host/status?app=a":                                   "",
		"http://other.localhost:7071/runtime/webhooks/durabletask/instances?app=a":        "",
	} {
		if got := localApp(httptest.NewRequest("GET", target, nil)); got != want {
			t.Errorf("%s is for %q, want %q", target, got, want)
		}
	}
	if got := localQuery("a+b"); got != "app=a%2Bb" {
		t.Error(got)
	}
}
