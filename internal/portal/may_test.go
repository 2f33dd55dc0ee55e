package portal

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/authz"
)

// permitted puts an answer to what somebody may do before an API: text is that
// answer, "" refuses to say.
func permitted(next http.Handler, asked *[]string, perms []authz.Permission) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/providers/Microsoft.Authorization/permissions") {
			next.ServeHTTP(w, r)
			return
		}
		*asked = append(*asked, r.URL.Path)
		if perms == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"value": perms})
	})
}

// TestPagesShowWhatRolesAllow asks once what is allowed, and shows everything where
// that cannot be known: the API decides in any case.
func TestPagesShowWhatRolesAllow(t *testing.T) {
	const stop, restart = `action="/portal/apps/rg/orders/stop"`, `action="/portal/apps/rg/orders/restart"`
	for name, tt := range map[string]struct {
		perms   []authz.Permission
		shown   []string
		missing []string
	}{
		"an owner":                {[]authz.Permission{{Actions: []string{"*"}}}, []string{stop, restart}, nil},
		"a reader":                {[]authz.Permission{{Actions: []string{"*/read"}}}, nil, []string{"Microsoft.Web/sites/restart/action", "Microsoft.Web/sites/stop/action"}},
		"nobody":                  {[]authz.Permission{}, nil, []string{"Microsoft.Web/sites/stop/action"}},
		"who restarts only":       {[]authz.Permission{{Actions: []string{"Microsoft.Web/*"}, NotActions: []string{"microsoft.web/SITES/stop/*"}}}, []string{restart}, []string{"Microsoft.Web/sites/stop/action"}},
		"another role gives more": {[]authz.Permission{{Actions: []string{"*"}, NotActions: []string{"*/stop/action"}}, {Actions: []string{"Microsoft.Web/sites/stop/action"}}}, []string{stop, restart}, nil},
		"it cannot be read":       {nil, []string{stop, restart}, nil},
	} {
		var asked []string
		f := newFixtureWith(t, func(cfg *Config) { cfg.API = permitted(running(cfg.API), &asked, tt.perms) })
		f.signIn()
		body := f.do("GET", "/portal/apps/rg/orders", nil).Body.String()
		for _, form := range []string{stop, restart} {
			if strings.Contains(body, form) != slices.Contains(tt.shown, form) {
				t.Errorf("%s: %s shown: %v", name, form, !slices.Contains(tt.shown, form))
			}
		}
		for _, action := range tt.missing {
			if !strings.Contains(body, "<code>"+action+"</code>") {
				t.Errorf("%s: the page does not say that %s is missing", name, action)
			}
		}
		if tt.missing == nil && strings.Contains(body, `class="quiet missing"`) {
			t.Errorf("%s: something is said to be missing", name)
		}
		if want := []string{
			"/providers/Microsoft.Authorization/permissions", // for the way to the audit record
			"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/orders/providers/Microsoft.Authorization/permissions",
		}; !slices.Equal(asked, want) {
			t.Errorf("%s: asked %q", name, asked)
		}
	}
}

// running answers that an app runs.
func running(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/sites/orders") && r.Method == http.MethodGet {
			_, _ = w.Write([]byte(`{"name":"orders","properties":{"state":"Running"}}`))
			return
		}
		next.ServeHTTP(w, r)
	})
}
