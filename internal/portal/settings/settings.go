// Package settings owns the page about an app's configuration: its references to
// secrets of vaults, and how resolving each went, and its settings, whose values are
// shown only when somebody asks for them. It does not know vaults.
package settings

import (
	"embed"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

//go:embed templates
var templates embed.FS

type pages struct{ one *page.Template }

// Mount adds the page to a mux.
func Mount(m *page.Mux) error {
	one, err := page.Parse(templates, "templates/configuration.html")
	p := &pages{one}
	m.Page(place.Pattern+"/configuration", func(v *page.Visit) error { return p.show(v, nil) })
	m.Action(place.Pattern+"/configuration/show", p.reveal)
	m.Action(place.Pattern+"/configuration/refresh", p.refresh)
	return err
}

// sections are the parts of the configuration that have references.
var sections = []string{"appsettings", "connectionstrings"}

// reference is a reference as the management API shows it.
type reference struct {
	Name       string
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
		}
		LastGood    string `json:"lastGoodVersion"`
		Stale       bool
		Since       time.Time
		LastAttempt time.Time
		NextRefresh time.Time
	}
}

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
func (r reference) Shown() state {
	s, is := known[strings.ToLower(r.Properties.Status)]
	if !is {
		s = state{"ref.other", "bad", "ref.other.next"}
	}
	return s
}

// Own reports whether it is read with the app's own identity.
func (r reference) Own() bool { return strings.EqualFold(r.Properties.Identity.Type, "SystemAssigned") }

// Identity names the identity it is read with.
func (r reference) Identity() string {
	id := r.Properties.Identity.ResourceID
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		return id[i+1:]
	}
	return r.Properties.Identity.Type
}

type setting struct{ Name, Value string }

type configuration struct {
	App        place.App
	References []reference
	Settings   []setting
	Shown      bool // settings were asked for
}

func (p *pages) show(v *page.Visit, settings []setting) error {
	a := place.Of(v)
	c := configuration{App: a, Settings: settings, Shown: settings != nil}
	for _, s := range sections {
		list, _, err := client.List[reference](v.Context(), v.API(), a.Path("config", "configreferences", s), 1000)
		if err != nil {
			return err
		}
		c.References = append(c.References, list...)
	}
	content := page.Content{
		Scope: a.Path(),
		Title: v.Text.Plain("config.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.configuration"),
		Notice: place.Notice(v, a.Name), Data: c, Live: true,
	}
	if v.Partial() {
		return v.ShowPart(p.one, "references", content, nil)
	}
	return v.Show(p.one, content)
}

// reveal shows the page with the values of settings. Reading them is recorded.
func (p *pages) reveal(v *page.Visit) error {
	var answer struct{ Properties map[string]string }
	if err := v.API().Do(v.Context(), http.MethodPost, place.Of(v).Path("config", "appsettings", "list"), nil, &answer); err != nil {
		return err
	}
	list := []setting{}
	for _, name := range slices.Sorted(maps.Keys(answer.Properties)) {
		list = append(list, setting{name, answer.Properties[name]})
	}
	return p.show(v, list)
}

func (p *pages) refresh(v *page.Visit) error {
	a := place.Of(v)
	for _, s := range sections[:1] { // resolves those of all sections
		if err := v.API().Do(v.Context(), http.MethodPost, a.Path("config", "configreferences", s, "refresh"), nil, nil); err != nil {
			return err
		}
	}
	return v.Redirect(a.URL("configuration") + "?done=refresh")
}
