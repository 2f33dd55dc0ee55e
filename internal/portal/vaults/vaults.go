// Package vaults owns the pages about vaults: which there are, making and deleting
// them, their secrets with versions, and what was deleted and can be recovered. Values are hidden until
// somebody asks for one, which the vault records. Secrets are reached as whoever is
// signed in, so that the vault decides. It does not know how secrets are kept.
package vaults

import (
	"embed"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/groups"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

const (
	path       = page.Base + "vaults"
	pattern    = path + "/{group}/{vault}"
	secretPath = pattern + "/secrets/{secret}"
)

type pages struct {
	list, one, secret, make, gone *page.Template
	ask                           *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"list": &p.list, "vault": &p.one, "secret": &p.secret, "new": &p.make, "gone": &p.gone} {
		t, err := page.Parse(templates, "templates/"+name+".html")
		if err == nil {
			err = groups.Parts(t)
		}
		*to = t
		errs = append(errs, err)
	}
	ask, err := confirm.New()
	p.ask = ask
	m.Page(path, p.showList)
	m.Page(path+"/new", p.showNew)
	m.Action(path+"/new", p.create)
	m.Page(pattern+"/delete", p.askDeleteVault)
	m.Action(pattern+"/delete", deleteVault)
	m.Action(deletedPattern+"/recover", recoverVault)
	m.Page(deletedPattern+"/purge", p.askPurgeVault)
	m.Action(deletedPattern+"/purge", purgeVault)
	m.Page(pattern, func(v *page.Visit) error { return p.showVault(v, form{}) })
	m.Action(pattern+"/add", p.add)
	m.Page(secretPath, func(v *page.Visit) error { return p.showSecret(v, nil) })
	m.Action(secretPath+"/show", p.reveal)
	m.Action(secretPath+"/new", newVersion)
	m.Action(secretPath+"/set", setEnabled)
	m.Page(secretPath+"/delete", p.askDelete)
	m.Action(secretPath+"/delete", remove)
	m.Action(pattern+"/deleted/{secret}/recover", recoverSecret)
	m.Page(pattern+"/deleted/{secret}/purge", p.askPurge)
	m.Action(pattern+"/deleted/{secret}/purge", purge)
	return errors.Join(append(errs, err)...)
}

// where is a vault by its names.
type where struct{ Subscription, Group, Name string }

func whereOf(v *page.Visit) where {
	return where{v.Site().SubscriptionID, v.R.PathValue("group"), v.R.PathValue("vault")}
}

// URL gives the address of the vault's page, or of one below it.
func (w where) URL(segments ...string) string {
	return strings.TrimSuffix(page.Base, "/") + client.Path(append([]string{"vaults", w.Group, w.Name}, segments...)...)
}

// Path gives its path in the management API.
func (w where) Path() string {
	return client.Path("subscriptions", w.Subscription, "resourceGroups", w.Group, "providers", "Microsoft.KeyVault", "vaults", w.Name)
}

func (w where) crumbs(v *page.Visit, more ...page.Crumb) []page.Crumb {
	return append([]page.Crumb{{Name: v.Text.Plain("vault.list"), URL: path}, {Name: w.Name, URL: w.URL()}}, more...)
}

// version is sent to vaults.
const version = "?api-version=7.4"

// open finds the data plane of the vault.
func (w where) open(v *page.Visit) (*client.Client, vault, error) {
	var found vault
	if err := v.API().Get(v.Context(), w.Path(), &found); err != nil {
		return nil, found, err
	}
	return v.Vault(found.Properties.URI), found, nil
}

// vault is a vault as the management API shows it.
//
// Where policies decide, what roles say of secrets says nothing.
type vault struct {
	Name       string
	Location   string
	Properties struct {
		URI       string `json:"vaultUri"`
		RBAC      bool   `json:"enableRbacAuthorization"`
		Retention int    `json:"softDeleteRetentionInDays"`
		Protected bool   `json:"enablePurgeProtection"`
	}
}

// use gives the address of the page that lets the viewer use secrets of the vault.
func (w where) use(v *page.Visit) string {
	return access.GiveURL(w.Path(), "", v.Session.ObjectID, access.Manages, w.URL())
}

// makes is the action of making a vault.
const makes = "Microsoft.KeyVault/vaults/write"

type row struct{ Name, Group, URL string }

// listed is what the list shows.
type listed struct {
	Rows    []row
	Deleted []deleted
	Hidden  bool // what was deleted is not for this viewer
	Lacks   string
}

func (p *pages) showList(v *page.Visit) error {
	found, err := access.Search(v, "microsoft.keyvault/vaults")
	if err != nil {
		return err
	}
	l := listed{Lacks: groups.Lacking(v, makes)}
	for _, d := range found {
		l.Rows = append(l.Rows, row{d.Name, d.ResourceGroup, where{Group: d.ResourceGroup, Name: d.Name}.URL()})
	}
	slices.SortFunc(l.Rows, func(a, b row) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	if l.Deleted, err = deletedVaults(v); access.Unseen(err) {
		l.Hidden, err = true, nil
	}
	if err != nil {
		return err
	}
	return v.Show(p.list, page.Content{
		Scope: client.Path("subscriptions", v.Site().SubscriptionID), Title: v.Text.Plain("vault.list"), Notice: place.Notice(v, v.R.URL.Query().Get("name")), Data: l,
	})
}

// secret is a secret, or a version of one, as vaults show it.
type secret struct {
	ID          string
	Value       *string
	ContentType string
	Attributes  struct {
		Enabled          bool
		NotBefore        int64 `json:"nbf"`
		Expires          int64 `json:"exp"`
		Created, Updated int64
	}
	Deleted int64 `json:"deletedDate"`
	Purge   int64 `json:"scheduledPurgeDate"`
}

// parts of an id: "https://vault/secrets/name/version".
func (s secret) parts() []string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(s.ID, "https://"), "/")
	return strings.Split(rest+"//", "/")
}

// Name gives the name of the secret.
func (s secret) Name() string { return s.parts()[1] }

// Version gives the version's id.
func (s secret) Version() string { return s.parts()[2] }

// Updated tells when it was changed last.
func (s secret) Updated() time.Time { return moment(s.Attributes.Updated) }

// Created tells when it was made.
func (s secret) Created() time.Time { return moment(s.Attributes.Created) }

// Expires tells until when it is meant to be used.
func (s secret) Expires() time.Time { return moment(s.Attributes.Expires) }

// Gone tells when it was deleted.
func (s secret) Gone() time.Time { return moment(s.Deleted) }

// Purged tells when it is gone for good.
func (s secret) Purged() time.Time { return moment(s.Purge) }

func moment(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// form is what was filled in for a new secret, but its value.
type form struct{ Name, Failed string }

type vaultPage struct {
	At      where
	Vault   vault
	Secrets listing
	Deleted listing
	Use     string // address of the page that lets the viewer use secrets
	Form    form
}

// most is how many secrets are listed.
const most = 1000

func (p *pages) showVault(v *page.Visit, f form) error {
	w := whereOf(v)
	data, found, err := w.open(v)
	if missing(err) {
		return p.showGone(v, w, err)
	}
	if err != nil {
		return err
	}
	shown := vaultPage{At: w, Vault: found, Form: f, Use: w.use(v)}
	if shown.Secrets, shown.Deleted, err = readBoth(v, data); err != nil {
		return err
	}
	status := http.StatusOK
	if f.Failed != "" {
		status = http.StatusBadRequest
	}
	name := v.R.URL.Query().Get("name")
	if name == "" {
		name = found.Name
	}
	return v.ShowAs(status, p.one, page.Content{
		Scope: w.Path(), Title: found.Name, Crumbs: w.crumbs(v), Notice: place.Notice(v, name), Data: shown,
	})
}

// add makes a secret, unless there is one of the name.
func (p *pages) add(v *page.Visit) error {
	w, name := whereOf(v), strings.TrimSpace(v.R.PostForm.Get("name"))
	data, _, err := w.open(v)
	if err != nil {
		return err
	}
	f := form{Name: name}
	var old struct{ Value []secret }
	err = data.Get(v.Context(), "/secrets"+client.Path(name, "versions")+version, &old)
	if err == nil && len(old.Value) > 0 {
		f.Failed = v.Text.Plain("secret.taken", "name", name)
		return p.showVault(v, f)
	}
	if err = data.Do(v.Context(), http.MethodPut, "/secrets"+client.Path(name)+version, body(v), nil); err != nil && page.Detail(err) != "" && !errors.Is(err, problem.Denied) {
		f.Failed = page.Detail(err)
		return p.showVault(v, f)
	}
	if err != nil {
		return err
	}
	return v.Redirect(w.URL("secrets", name) + "?done=secret-new")
}

// Text gives the value, if it was read.
func (s secret) Text() string {
	if s.Value == nil {
		return ""
	}
	return *s.Value
}
