package hosttest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/testkit"
)

func echoHook() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write([]byte(r.Method + " " + r.URL.Path + " " + string(body)))
	})
}

func TestWebhookAnswersToItsKey(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	path, own, err := h.Node.Webhooks.Register(t.Context(), "Test", echoHook())
	if err != nil {
		t.Fatal(err)
	}
	if path != "/runtime/webhooks/test" || !azfkey.Check(own, azfkey.System) {
		t.Errorf("path %q", path)
	}
	tests := []struct {
		name, path, key string
		status          int
	}{
		{"own key", path, own, 200},
		{"own key, another spelling", "/Runtime/WebHooks/TEST", own, 200},
		{"own key below", path + "/a/b", own, 200},
		{"master", path, h.Master(t), 200},
		{"none", path, "", 401},
		{"unknown", path, strings.Repeat("x", 56), 401},
		{"other system key", path, h.SystemKey(t, "other"), 403},
		{"host key", path, h.HostKey(t), 403},
		{"function key", path, h.FunctionKey(t, "closed"), 401},
		{"unregistered, no key", "/runtime/webhooks/nosuch", "", 401},
		{"unregistered, other system key", "/runtime/webhooks/nosuch", own, 403},
		{"unregistered, right key", "/runtime/webhooks/other", h.SystemKey(t, "other"), 404},
		{"unregistered, master", "/runtime/webhooks/nosuch", h.Master(t), 404},
		{"no extension", "/runtime/webhooks/", h.Master(t), 404},
		{"something else", "/runtime/other", h.Master(t), 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
				for way, r := range map[string]testkit.Request{
					"header": {Method: method, Path: tt.path, Key: tt.key},
					"query":  {Method: method, Path: tt.path + "?code=" + tt.key},
				} {
					a := h.Send(t, r).WantStatus(t, tt.status)
					if tt.status == 200 && !strings.HasPrefix(a.Body, method+" ") {
						t.Errorf("%s by %s: %q", method, way, a.Body)
					}
					if tt.status == 401 || tt.status == 403 {
						a.WantEmpty(t)
					}
				}
			}
		})
	}
	h.Send(t, testkit.Request{Method: "PATCH", Path: path, Key: own}).WantStatus(t, 404)
	if _, _, err := h.Node.Webhooks.Register(t.Context(), "TEST", nil); err != nil {
		t.Fatal(err)
	}
	h.Get(t, path, own).WantStatus(t, 404)
}

func TestWebhookKeyIsMadeOnceAndReused(t *testing.T) {
	h := testkit.Start(t, testkit.App{})
	var values []string
	for _, name := range []string{"EventGrid", "eventgrid", "EVENTGRID"} {
		path, key, err := h.Node.Webhooks.Register(t.Context(), name, echoHook())
		if err != nil || path != "/runtime/webhooks/eventgrid" {
			t.Errorf("%q %v", path, err)
		}
		values = append(values, key)
	}
	var list keysBody
	h.Get(t, "/admin/host/systemkeys", h.Master(t)).JSON(t, &list)
	if got := list.values(); len(got) != 1 || got["eventgrid_extension"] != values[0] || values[0] != values[1] || values[1] != values[2] {
		t.Errorf("keys %v, values %q", got, values)
	}
}

func TestWebhookOfAStoppedAppIsUnavailable(t *testing.T) {
	h := testkit.Start(t, testkit.App{MayFail: true, Files: map[string]string{"host.json": `{}`}})
	path, key, err := h.Node.Webhooks.Register(t.Context(), "x", echoHook())
	if err != nil {
		t.Fatal(err)
	}
	h.Get(t, path, "").WantStatus(t, 401)
	if a := h.Get(t, path, key).WantStatus(t, 503); a.Body != "Function host is not running." {
		t.Errorf("body %q", a.Body)
	}
}
