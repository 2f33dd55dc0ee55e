package portal

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestWhatIsGivenIsWhatIsAsked has addresses that name something else than a vault and a
// secret of it, or say who gets access in words of their own.
func TestWhatIsGivenIsWhatIsAsked(t *testing.T) {
	const vault = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/lab"
	var puts []string
	allowed := `{"value":[{"actions":["*"]}]}`
	f := newFixtureWith(t, func(cfg *Config) {
		cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut:
				body, _ := io.ReadAll(r.Body)
				puts = append(puts, r.URL.Path+" "+string(body))
				_, _ = io.WriteString(w, `{}`)
			case r.URL.Path == vault:
				_, _ = io.WriteString(w, `{"name":"lab","properties":{"enableRbacAuthorization":true}}`)
			case strings.HasSuffix(r.URL.Path, "/roleDefinitions"):
				_, _ = io.WriteString(w, `{"value":[{"name":"user","properties":{"roleName":"Key Vault Secrets User","description":"Reads <values>."}},{"name":"owner","properties":{"roleName":"Owner"}}]}`)
			case strings.HasPrefix(r.URL.Path, "/providers/Latchkey.Directory/principals/"):
				_, _ = io.WriteString(w, `{"name":"The Real App"}`)
			case strings.HasSuffix(r.URL.Path, "/permissions"):
				_, _ = io.WriteString(w, allowed)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		})
	})
	f.signIn()
	q := url.Values{"vault": {vault}, "secret": {"db"}, "role": {"Key Vault Secrets User"}, "principal": {"p"}, "name": {"Harmless"}, "back": {"https://harmless.example/"}}
	at := func(name, value string) string {
		changed := url.Values{}
		for n, v := range q {
			changed[n] = v
		}
		changed.Set(name, value)
		return changed.Encode()
	}
	const path = "/portal/access/give?"
	body := f.wantPage(path+q.Encode(), http.StatusOK, "The Real App", `Object id: <code class="value">p</code>`, "Reads &lt;values&gt;.", "Only the secret", `name="scope" value="secret" checked`)
	if strings.Contains(body, "armless") {
		t.Errorf("it says what the address says: %s", body)
	}
	for name, values := range map[string][]string{
		"vault": {"", "/", vault + "/secrets/x", "/subscriptions/sub", "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/lab"},
		"role":  {"", "Owner", "user"}, "secret": {"a/b", "..", "a?b", strings.Repeat("a", 128), "db/providers/Microsoft.Web/sites/x"},
	} {
		for _, value := range values {
			f.wantPage(path+at(name, value), http.StatusBadRequest, "This cannot be done")
			form, _ := url.ParseQuery(at(name, value))
			form.Set("csrf", f.proof())
			form.Set("by", "roles")
			if w := f.do("POST", "/portal/access/give", form); w.Code != http.StatusBadRequest {
				t.Errorf("%s=%q: %d", name, value, w.Code)
			}
		}
	}
	if len(puts) != 0 {
		t.Errorf("%q was done", puts)
	}
	form, _ := url.ParseQuery(q.Encode())
	form.Set("csrf", f.proof())
	form.Set("by", "roles")
	form.Set("scope", "secret")
	w := f.do("POST", "/portal/access/give", form)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/portal/?done=identity-access" || len(puts) != 1 ||
		!strings.HasPrefix(puts[0], vault+"/secrets/db/providers/Microsoft.Authorization/roleAssignments/") || !strings.Contains(puts[0], `roleDefinitions/user"`) {
		t.Errorf("%d to %s, %q", w.Code, w.Header().Get("Location"), puts)
	}
	form.Set("by", "policies") // as the vault was when the form was made
	if w := f.do("POST", "/portal/access/give", form); w.Code != http.StatusConflict || len(puts) != 1 {
		t.Errorf("a form for policies: %d, %q", w.Code, puts)
	}
	allowed = `{"value":[]}`
	if body := f.wantPage(path+q.Encode(), http.StatusOK, "Your roles do not let you give this", "Microsoft.Authorization/roleAssignments/write"); strings.Contains(body, `action="/portal/access/give"`) {
		t.Errorf("there is a form: %s", body)
	}
}
