package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func corsAnswer(t *testing.T, origins []string, credentials bool, r *http.Request) (http.Header, bool) {
	t.Helper()
	called := false
	h, err := CORS(origins, credentials, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Header(), called
}

func TestPagesOfNamedOriginsMayReadAnswers(t *testing.T) {
	for origin, want := range map[string]string{"http://localhost:3000": "http://localhost:3000", "http://evil.example": ""} {
		r := httptest.NewRequest("GET", "/api/hello", nil)
		r.Header.Set("Origin", origin)
		h, called := corsAnswer(t, []string{"http://localhost:3000"}, true, r)
		if got := h.Get("Access-Control-Allow-Origin"); got != want || !called {
			t.Errorf("%s: allowed %q, served %v", origin, got, called)
		}
	}
}

func TestPreflightIsAnsweredWithoutTheFunction(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "/api/hello", nil)
	r.Header.Set("Origin", "http://localhost:3000")
	r.Header.Set("Access-Control-Request-Method", "PUT")
	r.Header.Set("Access-Control-Request-Headers", "x-functions-key")
	h, called := corsAnswer(t, []string{"*"}, false, r)
	if called || h.Get("Access-Control-Allow-Methods") != "PUT" || h.Get("Access-Control-Allow-Headers") != "x-functions-key" {
		t.Errorf("served %v, %v", called, h)
	}
}

func TestWithoutOriginsNothingIsAdded(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Origin", "http://localhost:3000")
	if h, called := corsAnswer(t, nil, false, r); len(h) > 0 || !called {
		t.Errorf("served %v, %v", called, h)
	}
}

func TestCredentialsForEveryoneAreRefused(t *testing.T) {
	if _, err := CORS([]string{"*"}, true, http.NotFoundHandler()); !errors.Is(err, problem.Invalid) {
		t.Errorf("got %v", err)
	}
}
