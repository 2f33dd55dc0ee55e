package nodeapp

import (
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

// TestTheEventGridExampleRuns makes the calls that its README shows.
func TestTheEventGridExampleRuns(t *testing.T) {
	files := filesOf(t, "../../examples/eventgrid-node")
	h := run(t, app{files: files})
	send := func(kind, body, key string) testkit.Answer {
		t.Helper()
		return h.Send(t, testkit.Request{
			Method: http.MethodPost, Path: "/runtime/webhooks/eventgrid?functionName=orderPlaced&code=" + key, Body: files[body],
			Header: map[string]string{"aeg-event-type": kind, "Content-Type": "application/x-www-form-urlencoded"}, // as curl -d says
		})
	}
	key := h.SystemKey(t, "eventgrid")
	wantBody(t, send("SubscriptionValidation", "validation.json", key).WantStatus(t, 200), `{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}`+"\n")
	send("Notification", "event.json", key).WantStatus(t, 202)
	wantLog(t, h, "order 17 of customers/ada, Shop.OrderPlaced")
	send("Notification", "event.json", "wrong").WantStatus(t, 401)
	send("Notification", "event.json", h.HostKey(t)).WantStatus(t, 403)
}
