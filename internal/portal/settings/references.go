package settings

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// sections are the parts of the configuration that have references.
var sections = []string{"appsettings", "connectionstrings"}

// reference is a reference as the management API shows it.
type reference struct {
	Name       string
	Section    string `json:"-"`
	Properties struct {
		Reference string
		Status    string
		Vault     string `json:"vaultName"`
		Secret    string `json:"secretName"`
		Version   string `json:"secretVersion"`
		Details   string
		Why       string
		Identity  struct {
			Type       string
			ResourceID string
			Principal  string `json:"principalId"`
		}
		LastGood    string `json:"lastGoodVersion"`
		Stale       bool
		Since       time.Time
		LastAttempt time.Time
		NextRefresh time.Time
		GoodSince   time.Time `json:"lastGoodSince"`
		Expires     time.Time
		History     []change
	}
}

// change is a change of how a reference stood.
type change struct {
	Time    time.Time
	Status  string
	Version string
	Why     string
}

// Shown gives the state for people.
func (c change) Shown() state { return stateOf(c.Status) }

// state is how a reference is shown.
type state struct{ Text, Kind, Next string }

// known are the statuses by name, with what to do about them.
var known = map[string]state{
	"resolved":               {"ref.resolved", "good", ""},
	"initialized":            {"ref.initialized", "", "ref.initialized.next"},
	"invalidsyntax":          {"ref.syntax", "bad", "ref.syntax.next"},
	"msinotenabled":          {"ref.identity", "bad", "ref.identity.next"},
	"vaultnotfound":          {"ref.vault", "bad", "ref.vault.next"},
	"secretnotfound":         {"ref.secret", "bad", "ref.secret.next"},
	"secretversionnotfound":  {"ref.version", "bad", "ref.version.next"},
	"accesstokeyvaultdenied": {"ref.denied", "bad", "ref.denied.next"},
	"fetchtimedout":          {"ref.timeout", "bad", "ref.timeout.next"},
}

// Shown gives the state for people.
func (r reference) Shown() state { return stateOf(r.Properties.Status) }

func stateOf(status string) state {
	if s, is := known[strings.ToLower(status)]; is {
		return s
	}
	return state{"ref.other", "bad", "ref.other.next"}
}

// Own reports whether it is read with the app's own identity.
func (r reference) Own() bool { return strings.EqualFold(r.Properties.Identity.Type, "SystemAssigned") }

// Mend gives the address of the page where what is wrong can be mended, where that is
// the identity it is read with or what that may read; "" for other faults.
func (r reference) Mend(a place.App) string {
	switch strings.ToLower(r.Properties.Status) {
	case "msinotenabled", "accesstokeyvaultdenied":
		q := url.Values{"vault": {r.Properties.Vault}, "secret": {r.Properties.Secret}}
		return a.URL("identity") + "?" + q.Encode() + "#check"
	}
	return ""
}

// Identity names the identity it is read with.
func (r reference) Identity() string {
	id := r.Properties.Identity.ResourceID
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		return id[i+1:]
	}
	return r.Properties.Identity.Type
}

// way is a way to mend a reference.
type way struct {
	Text string // key of a text
	URL  string
}

// detail is what the page about one reference shows.
type detail struct {
	App   place.App
	It    reference
	Vault string // address of the vault's page; "" if it is not one of the installation's that the viewer may see
	Ways  []way
}

const vaultType = "Microsoft.KeyVault/vaults"

// vaultURL gives the address of a vault's page.
func vaultURL(r access.Resource) string {
	return strings.TrimSuffix(page.Base, "/") + client.Path("vaults", r.ResourceGroup, r.Name)
}

// findVault finds a vault by its name among those that the viewer may see.
func findVault(v *page.Visit, name string) (access.Resource, bool) {
	all, err := access.Search(v, vaultType)
	at := slices.IndexFunc(all, func(r access.Resource) bool { return name != "" && strings.EqualFold(r.Name, name) })
	if err != nil || at < 0 {
		return access.Resource{}, false
	}
	return all[at], true
}

func (p *pages) showReference(v *page.Visit) error {
	a, section := place.Of(v), v.R.PathValue("section")
	if !slices.Contains(sections, section) {
		return problem.New(problem.NotFound, "there are no such references")
	}
	d := detail{App: a}
	if err := v.API().Get(v.Context(), a.Path("config", "configreferences", section, v.R.PathValue("setting")), &d.It); err != nil {
		return err
	}
	d.It.Section = section
	vault, found := findVault(v, d.It.Properties.Vault)
	if found {
		d.Vault = vaultURL(vault)
	}
	d.Ways = d.ways(vault)
	content := page.Content{
		Scope: a.Path(), Title: v.Text.Plain("ref.title", "name", d.It.Name), Data: d, Live: true, Notice: place.Notice(v, noticed(v, a)), Tabs: a.Tabs("tab.configuration"),
		Crumbs: a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.configuration"), URL: a.URL("configuration")}, page.Crumb{Name: d.It.Name}),
	}
	if v.Partial() {
		return v.ShowPart(p.reference, "reference", content, nil)
	}
	return v.Show(p.reference, content)
}

// ways are what can be done about a reference that is not resolved, by what is wrong
// with it.
func (d detail) ways(vault access.Resource) (list []way) {
	status, it := strings.ToLower(d.It.Properties.Status), d.It.Properties
	identity := way{"ref.way.identity", d.App.URL("identity")}
	edit := way{"ref.way.edit", ""}
	if d.It.Section == sections[0] {
		edit.URL = d.App.URL("configuration", "settings", d.It.Name, "edit")
	}
	back := d.App.URL("configuration", "references", d.It.Section, d.It.Name)
	switch status {
	case "secretnotfound":
		list = append(list, way{"ref.way.secret", d.Vault}, edit)
	case "accesstokeyvaultdenied":
		give := way{Text: "ref.way.give"}
		if d.Vault != "" && it.Identity.Principal != "" {
			give.URL = access.GiveURL(vault.ID, it.Secret, it.Identity.Principal, access.Reads, back)
		}
		list = append(list, give, way{"ref.way.check", d.It.Mend(d.App)})
	case "msinotenabled", "unauthorizedclient":
		list = append(list, identity)
	case "vaultnotfound":
		list = append(list, way{"ref.way.vaults", page.Base + "vaults"}, edit)
	case "invalidsyntax", "secretversionnotfound":
		list = append(list, edit)
	}
	return slices.DeleteFunc(list, func(w way) bool { return w.URL == "" })
}

// readAnew has the references of an app read, as far as that can be: the page that is
// shown next tells how it went.
func readAnew(v *page.Visit, a place.App) {
	_ = v.API().Do(v.Context(), http.MethodPost, a.Path("config", "configreferences", sections[0], "refresh"), nil, nil)
}
