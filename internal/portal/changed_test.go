package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestWhoWasFasterIsNotMadeUp: where the audit record cannot be read it is not said that
// roles hide it, nor that it has nothing.
func TestWhoWasFasterIsNotMadeUp(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		want   string
	}{
		"not for the viewer": {http.StatusForbidden, "Your roles do not show you the audit record"},
		"out of reach":       {http.StatusServiceUnavailable, "cannot be read now"},
	} {
		f := newFixtureWith(t, func(cfg *Config) {
			next := running(cfg.API)
			cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/events"):
					w.WriteHeader(tt.status)
				case strings.HasSuffix(r.URL.Path, "/config/appsettings/names"):
					_, _ = w.Write([]byte(`{"value": [], "etag": "2"}`))
				case strings.HasSuffix(r.URL.Path, "/config/appsettings/list"):
					_, _ = w.Write([]byte(`{"properties": {}}`))
				case strings.HasSuffix(r.URL.Path, "/config/appsettings"):
					w.WriteHeader(http.StatusPreconditionFailed)
				default:
					next.ServeHTTP(w, r)
				}
			})
		})
		f.signIn()
		answer := f.do("POST", "/portal/apps/rg/orders/configuration/add", url.Values{"csrf": {f.proof()}, "name": {"A"}, "value": {"1"}, "mark": {"1"}, "since": {"1"}})
		if body := answer.Body.String(); answer.Code != http.StatusConflict || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", name, answer.Code, body)
		}
	}
}
