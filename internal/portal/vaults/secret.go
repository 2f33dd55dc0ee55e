package vaults

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

type secretPage struct {
	At       where
	Vault    vault
	Name     string
	Versions []secret
	Shown    *secret // with its value
	Users    []user
	Trouble  trouble // why there are no versions
	Deleted  *secret // it was deleted, and can be recovered
	Use      string  // address of the page that lets the viewer use secrets
}

// ofSecret opens the vault of the secret that a page is about.
func ofSecret(v *page.Visit) (where, *client.Client, string, error) {
	w := whereOf(v)
	data, _, err := w.open(v)
	return w, data, v.R.PathValue("secret"), err
}

func (p *pages) showSecret(v *page.Visit, shown *secret) error {
	w, name := whereOf(v), v.R.PathValue("secret")
	data, found, err := w.open(v)
	if missing(err) {
		return p.showGone(v, w, err)
	}
	if err != nil {
		return err
	}
	s := secretPage{At: w, Vault: found, Name: name, Shown: shown, Use: w.use(v)}
	if err := s.read(v, data); err != nil {
		return err
	}
	if s.Users, err = usersOf(v, w.Name, name); err != nil {
		return err
	}
	status := http.StatusOK
	if s.Deleted != nil {
		status = http.StatusNotFound
	}
	return v.ShowAs(status, p.secret, page.Content{
		Scope: w.Path() + client.Path("secrets", name), Title: name, Crumbs: w.crumbs(v, page.Crumb{Name: name}), Notice: place.Notice(v, name), Data: s,
	})
}

// read reads the versions, or finds out why there are none: a secret may have been
// deleted while somebody looked at it, a vault may be silent.
func (s *secretPage) read(v *page.Visit, data *client.Client) error {
	l, err := read(v, data, "/secrets"+client.Path(s.Name, "versions"))
	if s.Versions, s.Trouble = l.List, l.Trouble; err != nil && !missing(err) || s.Trouble != "" {
		return err
	}
	slices.SortStableFunc(s.Versions, func(a, b secret) int { return int(b.Attributes.Created - a.Attributes.Created) })
	if len(s.Versions) > 0 {
		return nil
	}
	var gone secret
	if data.Get(v.Context(), "/deletedsecrets"+client.Path(s.Name)+version, &gone) != nil {
		return problem.New(problem.NotFound, "there is no such secret")
	}
	s.Deleted = &gone
	return nil
}

// reveal shows a value. The vault records that it was read.
func (p *pages) reveal(v *page.Visit) error {
	_, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	var s secret
	if err := data.Get(v.Context(), "/secrets"+client.Path(name, v.R.PostForm.Get("version"))+version, &s); err != nil {
		return err
	}
	return p.showSecret(v, &s)
}

// body is what the form says of a new version.
func body(v *page.Visit) map[string]any {
	out := map[string]any{"value": v.R.PostForm.Get("value")}
	if text := v.R.PostForm.Get("contentType"); text != "" {
		out["contentType"] = text
	}
	if at, err := time.Parse("2006-01-02", v.R.PostForm.Get("expires")); err == nil {
		out["attributes"] = map[string]any{"exp": at.Unix()}
	}
	return out
}

func newVersion(v *page.Visit) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	if err := data.Do(v.Context(), http.MethodPut, "/secrets"+client.Path(name)+version, body(v), nil); err != nil {
		return err
	}
	return v.Redirect(w.URL("secrets", name) + "?done=secret-new")
}

// setEnabled disables a version or enables it.
func setEnabled(v *page.Visit) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	on := v.R.PostForm.Get("enabled") == "true"
	change := map[string]any{"attributes": map[string]any{"enabled": on}}
	if err := data.Do(v.Context(), http.MethodPatch, "/secrets"+client.Path(name, v.R.PostForm.Get("version"))+version, change, nil); err != nil {
		return err
	}
	done := "secret-disabled"
	if on {
		done = "secret-enabled"
	}
	return v.Redirect(w.URL("secrets", name) + "?done=" + done)
}

// lacking gives the action on a secret that the viewer may not do. Where policies decide
// that is not known.
func (w where) lacking(v *page.Visit, name, action string) string {
	var found vault
	if err := v.API().Get(v.Context(), w.Path(), &found); err == nil && !found.Properties.RBAC {
		return ""
	}
	return v.LackingData(w.Path()+client.Path("secrets", name), "Microsoft.KeyVault/vaults/secrets/"+action)
}

func (p *pages) askDelete(v *page.Visit) error {
	w, name := whereOf(v), v.R.PathValue("secret")
	users, err := usersOf(v, w.Name, name)
	if err != nil {
		return err
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("secret.delete.title", "name", name), Crumbs: w.crumbs(v, page.Crumb{Name: name, URL: w.URL("secrets", name)})},
		confirm.Question{
			Means: v.Text.HTML("secret.delete.means"), Breaks: breaks(v, users), Calm: "secret.unused", Action: w.URL("secrets", name, "delete"),
			Button: "secret.delete", Danger: true, Back: w.URL("secrets", name), Lacks: w.lacking(v, name, "delete"),
		})
}

func remove(v *page.Visit) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	if err := data.Do(v.Context(), http.MethodDelete, "/secrets"+client.Path(name)+version, nil, nil); err != nil {
		return err
	}
	return v.Redirect(w.URL() + "?" + url.Values{"done": {"secret-deleted"}, "name": {name}}.Encode())
}

func recoverSecret(v *page.Visit) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	if err := data.Do(v.Context(), http.MethodPost, "/deletedsecrets"+client.Path(name, "recover")+version, nil, nil); err != nil {
		return err
	}
	return v.Redirect(w.URL() + "?" + url.Values{"done": {"secret-recovered"}, "name": {name}}.Encode())
}

func (p *pages) askPurge(v *page.Visit) error {
	w, name := whereOf(v), v.R.PathValue("secret")
	users, err := usersOf(v, w.Name, name)
	if err != nil {
		return err
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("secret.purge.title", "name", name), Crumbs: w.crumbs(v)}, confirm.Question{
		Means: v.Text.HTML("secret.purge.means"), Breaks: breaks(v, users), Calm: "secret.unused", Action: w.URL("deleted", name, "purge"),
		Button: "secret.purge", Danger: true, Back: w.URL(), Lacks: w.lacking(v, name, "purge/action"),
	})
}

func purge(v *page.Visit) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	if err := data.Do(v.Context(), http.MethodDelete, "/deletedsecrets"+client.Path(name)+version, nil, nil); err != nil {
		return err
	}
	return v.Redirect(w.URL() + "?" + url.Values{"done": {"secret-purged"}, "name": {name}}.Encode())
}
