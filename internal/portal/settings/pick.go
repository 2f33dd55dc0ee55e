package settings

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// pick is the form that makes a reference.
type pick struct {
	App     place.App
	Old     string // the name of the setting that is changed; "" for a new one
	Name    string
	Vault   string // "" until one is chosen
	Secret  string
	Version string
	Vaults  []string // that the viewer may see
	Secrets []string // of the vault, as far as the viewer may see them
	Hidden  bool     // they are not for the viewer
	Mark    mark
	Failed  string
	Clash   *clash
}

// Text is the setting's value.
func (f pick) Text() string {
	text := "@Microsoft.KeyVault(VaultName=" + f.Vault + ";SecretName=" + f.Secret
	if f.Version != "" {
		text += ";SecretVersion=" + f.Version
	}
	return text + ")"
}

const mostSecrets = 1000

var (
	vaultName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$`)
	secretName  = regexp.MustCompile(`^[A-Za-z0-9-]{1,127}$`)
	versionName = regexp.MustCompile(`^[A-Za-z0-9]{0,64}$`)
)

// fault gives the text of what is wrong with what was filled in; "" for nothing.
func (f pick) fault() string {
	switch {
	case f.Name == "":
		return "pick.noname"
	case !vaultName.MatchString(f.Vault):
		return "pick.badvault"
	case !secretName.MatchString(f.Secret):
		return "pick.badsecret"
	case !versionName.MatchString(f.Version):
		return "pick.badversion"
	}
	return ""
}

func (p *pages) pickForm(v *page.Visit, status int, f pick) error {
	f.offer(v)
	title := v.Text.Plain("pick.title")
	if f.Old != "" {
		title = v.Text.Plain("setting.edit", "name", f.Old)
	}
	return v.ShowAs(status, p.pick, page.Content{Scope: f.App.Path(), Title: title, Crumbs: crumbs(v, f.App, f.Old), Data: f})
}

// offer finds vaults and secrets to choose from. Without them names are typed.
func (f *pick) offer(v *page.Visit) {
	all, _ := access.Search(v, vaultType)
	for _, r := range all {
		f.Vaults = append(f.Vaults, r.Name)
	}
	slices.Sort(f.Vaults)
	at := slices.IndexFunc(all, func(r access.Resource) bool { return strings.EqualFold(r.Name, f.Vault) })
	if at < 0 {
		return
	}
	list, _, err := client.List[struct{ Name string }](v.Context(), v.API(), access.IDPath(all[at].ID, "secrets")+"?api-version=2023-07-01", mostSecrets)
	f.Hidden = err != nil
	for _, s := range list {
		f.Secrets = append(f.Secrets, s.Name)
	}
}

// showPick asks for the vault first and then for the secret.
func (p *pages) showPick(v *page.Visit) error {
	a, q := place.Of(v), v.R.URL.Query()
	all, err := namesOf(v, a)
	if err != nil {
		return err
	}
	f := pick{App: a, Name: strings.TrimSpace(q.Get("name")), Vault: strings.TrimSpace(q.Get("vault")), Mark: markOf(v, all)}
	if name, is, err := all.spelled(f.Name); err == nil && f.Name != "" {
		f.Old, f.Name = name, name
		var r reference
		if is && v.API().Get(v.Context(), a.Path("config", "configreferences", sections[0], name), &r) == nil && (f.Vault == "" || strings.EqualFold(f.Vault, r.Properties.Vault)) {
			f.Secret, f.Version = r.Properties.Secret, r.Properties.Version
			if !q.Has("vault") {
				f.Vault = r.Properties.Vault
			}
		}
	}
	return p.pickForm(v, http.StatusOK, f)
}

func (p *pages) doPick(v *page.Visit) error {
	form := v.R.PostForm
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	f := pick{App: place.Of(v), Old: get("old"), Name: get("name"), Vault: get("vault"), Secret: get("secret"), Version: get("version"), Mark: sentMark(v)}
	if fault := f.fault(); fault != "" {
		f.Failed = v.Text.Plain(fault)
		return p.pickForm(v, http.StatusBadRequest, f)
	}
	all, err := namesOf(v, f.App)
	if err != nil {
		return err
	}
	if have, _, err := all.spelled(f.Name); err == nil && f.Old == "" && all.ETag == f.Mark.Tag {
		f.Failed = v.Text.Plain("setting.taken", "name", have)
		return p.pickForm(v, http.StatusConflict, f)
	}
	switch err := write(v, f.App, f.Mark, put(f.Name, f.Text())); {
	case client.Changed(err):
		f.Clash = clashOf(v, f.App, f.Mark)
		f.Mark = markOf(v, all)
		return p.pickForm(v, http.StatusConflict, f)
	case refused(err) != "":
		f.Failed = refused(err)
		return p.pickForm(v, http.StatusBadRequest, f)
	case err != nil:
		return err
	}
	readAnew(v, f.App)
	return v.Redirect(f.App.URL("configuration", "references", sections[0], f.Name) + "?" + url.Values{"done": {"setting-saved"}, "setting": {f.Name}}.Encode())
}
