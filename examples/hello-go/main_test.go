package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRoutes(t *testing.T) {
	t.Setenv("GREETING", "Moin")
	h := routes(time.Now())
	for _, tc := range []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{"GET", "/api/hello/Ada", "", 200, "Moin, Ada!"},
		{"GET", "/api/hello?name=Bob", "", 200, "Moin, Bob!"},
		{"POST", "/api/hello", "Eve\n", 200, "Moin, Eve!"},
		{"GET", "/api/hello", "", 200, "Moin, world!"},
		{"POST", "/api/hello", strings.Repeat("x", 2<<10), 413, "too long"},
		{"GET", "/api/health", "", 200, `"ok"`},
		{"GET", "/api/admin-report", "", 200, `"key":"_master"`},
		{"GET", "/", "", 404, ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
		r.Header = http.Header{"X-Latchkey-Key-Name": {"_master"}}
		h.ServeHTTP(w, r)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s %s: %d %q, want %d with %q", tc.method, tc.target, w.Code, w.Body, tc.status, tc.want)
		}
	}
}
