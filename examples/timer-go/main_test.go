package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTicksAreCounted(t *testing.T) {
	h := routes()
	for _, call := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/ticks", `{}`, 200, `"count":0`},
		{"/tick", `{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":true}}}`, 200, `"tick"`},
		{"/tick", `no JSON`, 400, ""},
		{"/ticks", `{}`, 200, `"count":1`},
		{"/ticks", `{}`, 200, `"pastDue":true`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", call.path, strings.NewReader(call.body)))
		if w.Code != call.status || !strings.Contains(w.Body.String(), call.want) {
			t.Errorf("%s: %d %s, want %d with %s", call.path, w.Code, w.Body, call.status, call.want)
		}
	}
}
