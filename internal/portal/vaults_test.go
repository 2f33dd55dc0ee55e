package portal

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/portal/session"
)

// vaulted is a portal with a vault "lab" that an app refers to, whose data plane is the
// test's.
func vaulted(t *testing.T, patience time.Duration, data http.HandlerFunc) *fixture {
	t.Helper()
	f := newFixtureWith(t, func(cfg *Config) {
		cfg.Vaults, cfg.VaultPatience = data, patience
		cfg.VaultToken = func(context.Context, session.Principal) (string, error) { return "DATA", nil }
		cfg.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			path := strings.ToLower(r.URL.Path)
			switch {
			case strings.HasSuffix(path, "/vaults/lab"):
				_, _ = io.WriteString(w, `{"name":"lab","properties":{"vaultUri":"https://lab.vault.localhost/","enableRbacAuthorization":true,"softDeleteRetentionInDays":7}}`)
			case strings.HasSuffix(path, "/vaults/gone"):
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"no <i>such</i> vault"}}`)
			case strings.HasSuffix(path, "/resources") && strings.Contains(string(body), "sites"):
				_, _ = io.WriteString(w, `{"data":[{"id":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Web/sites/orders","name":"orders","resourceGroup":"rg"}]}`)
			case strings.HasSuffix(path, "/resources") && strings.Contains(string(body), "containerapps"):
				_, _ = io.WriteString(w, `{"data":[{"id":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.App/containerApps/shop","name":"shop","resourceGroup":"rg"}]}`)
			case strings.HasSuffix(path, "/containerapps/shop"):
				_, _ = io.WriteString(w, `{"properties":{"configuration":{"secrets":[{"name":"inbox","keyVaultUrl":"https://LAB.vault.azure.net/secrets/DB/v"},{"name":"other","keyVaultUrl":"https://lab2.vault.azure.net/secrets/db"},{"name":"plain"}]}}}`)
			case strings.HasSuffix(path, "/configreferences/appsettings"):
				_, _ = io.WriteString(w, `{"value":[{"name":"DB_PASSWORD","properties":{"vaultName":"Lab","secretName":"Db"}},{"name":"ELSEWHERE","properties":{"vaultName":"lab","secretName":"else"}}]}`)
			case strings.HasSuffix(path, "/permissions"):
				_, _ = io.WriteString(w, `{"value":[{"actions":["*"]}]}`)
			case strings.HasSuffix(path, "/deletedvaults"):
				_, _ = io.WriteString(w, `{"value":[{"name":"gone","properties":{"vaultId":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/gone","location":"local","deletionDate":"2026-11-01T00:00:00Z","scheduledPurgeDate":"2026-12-01T00:00:00Z"}}]}`)
			default:
				_, _ = io.WriteString(w, `{}`)
			}
		})
	})
	f.signIn()
	return f
}

func (f *fixture) wantPage(path string, status int, says ...string) string {
	f.Helper()
	w := f.do("GET", path, nil)
	if w.Code != status {
		f.Errorf("%s: %d, want %d: %s", path, w.Code, status, w.Body)
	}
	for _, text := range says {
		if !strings.Contains(w.Body.String(), text) {
			f.Errorf("%s does not say %q: %s", path, text, w.Body)
		}
	}
	return w.Body.String()
}

// TestASilentVaultDoesNotKeepThePage has a vault that answers never, one that breaks
// down, and one that answers once its time is over: what is known without it is shown,
// with what became of the data and what to do.
func TestASilentVaultDoesNotKeepThePage(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for name, data := range map[string]http.HandlerFunc{
		"hangs": func(http.ResponseWriter, *http.Request) { <-end },
		"late": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusInternalServerError)
		},
		"unavailable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			f := vaulted(t, 20*time.Millisecond, data)
			f.wantPage("/portal/vaults/rg/lab", http.StatusOK, "https://lab.vault.localhost/", "The vault does not answer", "stored and safe", "Try again", "what was deleted is not known")
			f.wantPage("/portal/vaults/rg/lab/secrets/db", http.StatusOK, "The vault does not answer", "DB_PASSWORD", "inbox")
			if body := f.wantPage("/portal/vaults/rg/lab/secrets/db", http.StatusOK); strings.Contains(body, "ELSEWHERE") || strings.Contains(body, "other") {
				t.Errorf("others refer to it too: %s", body)
			}
			f.wantPage("/portal/vaults/rg/lab/delete", http.StatusOK, "DB_PASSWORD", "ELSEWHERE", "inbox")
			f.wantPage("/portal/vaults/rg/lab/secrets/db/delete", http.StatusOK, "DB_PASSWORD", "inbox")
			w := f.do("POST", "/portal/vaults/rg/lab/secrets/db/new", map[string][]string{"csrf": {f.proof()}, "value": {"v"}})
			if w.Code < 500 || !strings.Contains(w.Body.String(), "whether your last change was made") || strings.Contains(w.Body.String(), "goroutine") {
				t.Errorf("a change: %d %s", w.Code, w.Body)
			}
		})
	}
}

// TestWhatIsNotThereOrNotForTheViewerIsSaid has vaults and secrets go away under whoever
// looks at them.
func TestWhatIsNotThereOrNotForTheViewerIsSaid(t *testing.T) {
	status := http.StatusForbidden
	f := vaulted(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/deletedsecrets/db" && status == http.StatusNotFound {
			_, _ = io.WriteString(w, `{"id":"https://lab/secrets/db","deletedDate":1790000000,"scheduledPurgeDate":1791000000,"attributes":{}}`)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"code":"X","message":"no <i>way</i>"}}`)
	})
	f.wantPage("/portal/vaults/rg/lab", http.StatusOK, "does not let you list its secrets", "apps that may read them still can", "does not let you list what was deleted")
	f.wantPage("/portal/vaults/rg/lab/secrets/db", http.StatusOK, "does not let you see this secret", "DB_PASSWORD")
	status = http.StatusNotFound
	f.wantPage("/portal/vaults/rg/lab/secrets/db", http.StatusNotFound, "The secret was deleted", "kept until then", "Recover", "DB_PASSWORD")
	f.wantPage("/portal/vaults/rg/lab/secrets/none", http.StatusNotFound, "There is nothing at this address")
	f.wantPage("/portal/vaults/rg/gone", http.StatusNotFound, "was deleted", "2026-12-01", "Recover the vault")
	f.wantPage("/portal/vaults/rg/gone/secrets/db", http.StatusNotFound, "was deleted", "Recover the vault")
	f.wantPage("/portal/vaults/other/gone", http.StatusNotFound, "There is nothing at this address")
}
