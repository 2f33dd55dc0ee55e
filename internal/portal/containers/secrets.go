package containers

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
)

// secret is a secret of a vault as the management API shows it.
type secret struct {
	Name       string
	Properties struct {
		URL         string `json:"keyVaultUrl"`
		Identity    string
		Status      string
		Why         string
		Version     string `json:"activeVersion"`
		Stale       bool
		LastAttempt time.Time
	}
	Mend string `json:"-"`
}

// standing is how a secret is shown, with what to do about it.
type standing struct{ Text, Kind, Next string }

var standings = map[string]standing{
	"resolved":               {"ref.resolved", "good", ""},
	"initialized":            {"ref.initialized", "", "ref.initialized.next"},
	"invalidsyntax":          {"ref.syntax", "bad", "containers.secret.syntax"},
	"msinotenabled":          {"ref.identity", "bad", "containers.secret.identity"},
	"vaultnotfound":          {"ref.vault", "bad", "ref.vault.next"},
	"secretnotfound":         {"ref.secret", "bad", "ref.secret.next"},
	"secretversionnotfound":  {"ref.version", "bad", "ref.version.next"},
	"accesstokeyvaultdenied": {"ref.denied", "bad", "ref.denied.next"},
	"fetchtimedout":          {"ref.timeout", "bad", "ref.timeout.next"},
}

// Shown gives how it stands, for people.
func (s secret) Shown() standing {
	if known, is := standings[strings.ToLower(s.Properties.Status)]; is {
		return known
	}
	return standing{"ref.other", "bad", "ref.other.next"}
}

// Own reports whether the app's own identity reads it.
func (s secret) Own() bool { return strings.EqualFold(s.Properties.Identity, own) }

// Reader names the identity that reads it.
func (s secret) Reader() string { return lastOf(s.Properties.Identity) }

// mend gives the address of the page that says why an identity may not read the
// secret, and gives it what is missing; "" for other faults.
func (s secret) mend(a at, x app) string {
	if status := strings.ToLower(s.Properties.Status); status != "accesstokeyvaultdenied" && status != "msinotenabled" {
		return ""
	}
	vault, name := access.Referred(s.Properties.URL)
	q := url.Values{"vault": {vault}, "secret": {name}}
	for _, i := range x.identities() {
		if strings.EqualFold(i.ID, s.Properties.Identity) && i.Principal != "" {
			q.Set("principal", i.Principal)
		}
	}
	return a.URL("identity") + "?" + q.Encode() + "#check"
}

// kept is what the page about secrets shows.
type kept struct {
	At     at
	Vaults []secret
	Plain  []string // names of those whose value the app has itself
	Away   bool     // nobody reads vaults here
}

func (a at) secrets(v *page.Visit) ([]secret, error) {
	list, _, err := client.List[secret](v.Context(), v.API(), a.path("secretReferences"), most)
	return list, err
}

func (p *pages) showSecrets(v *page.Visit) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	data := kept{At: a}
	for _, s := range x.Properties.Configuration.Secrets {
		if s.KeyVaultURL == "" {
			data.Plain = append(data.Plain, s.Name)
		}
	}
	if data.Vaults, err = a.secrets(v); unseen(err) {
		data.Away, err = true, nil
	}
	if err != nil {
		return err
	}
	for n := range data.Vaults {
		data.Vaults[n].Mend = data.Vaults[n].mend(a, x)
	}
	return v.Show(p.secrets, a.content(v, "tab.secrets", v.Text.Plain("containers.secrets.title", "app", x.Name), data))
}

// refresh reads all secrets of vaults anew.
func refresh(v *page.Visit) error {
	a := of(v)
	if err := v.API().Do(v.Context(), http.MethodPost, a.path("secretReferences", "refresh"), nil, nil); err != nil {
		return err
	}
	return v.Redirect(a.URL("secrets") + "?done=container-refresh")
}
