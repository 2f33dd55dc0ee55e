package vaults

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// deletedPattern is the path of what is done with deleted vaults: there is one of a
// name in a location.
const deletedPattern = page.Base + "deleted-vaults/{location}/{vault}"

// deleted is a deleted vault as the management API shows it.
type deleted struct {
	Name       string
	Properties struct {
		ID        string `json:"vaultId"`
		Location  string
		Gone      time.Time `json:"deletionDate"`
		Purged    time.Time `json:"scheduledPurgeDate"`
		Protected bool      `json:"purgeProtectionEnabled"`
	}
}

// URL gives the address of what is done with it.
func (d deleted) URL(action string) string {
	return strings.TrimSuffix(page.Base, "/") + client.Path("deleted-vaults", d.Properties.Location, d.Name, action)
}

// Group is the resource group that it was in.
func (d deleted) Group() string { return segment(d.Properties.ID, "resourcegroups") }

// segment gives what follows a segment of a resource id.
func segment(id, name string) string {
	parts := strings.Split(id, "/")
	at := slices.IndexFunc(parts, func(p string) bool { return strings.EqualFold(p, name) })
	if at < 0 || at+1 >= len(parts) {
		return ""
	}
	return parts[at+1]
}

func provider(v *page.Visit, segments ...string) string {
	return client.Path(append([]string{"subscriptions", v.Site().SubscriptionID, "providers", "Microsoft.KeyVault"}, segments...)...)
}

// deletedVaults lists those that can be recovered.
func deletedVaults(v *page.Visit) ([]deleted, error) {
	list, _, err := client.List[deleted](v.Context(), v.API(), provider(v, "deletedVaults"), most)
	return list, err
}

// deletedOf reads the deleted vault that a page is about.
func deletedOf(v *page.Visit) (deleted, error) {
	var d deleted
	err := v.API().Get(v.Context(), provider(v, "locations", v.R.PathValue("location"), "deletedVaults", v.R.PathValue("vault")), &d)
	return d, err
}

// showGone is the page of a vault that was deleted, perhaps while somebody looked at
// it: what became of its secrets, and how they come back. Where nothing is known of a
// deleted vault it is the error.
func (p *pages) showGone(v *page.Visit, w where, err error) error {
	list, unknown := deletedVaults(v)
	at := slices.IndexFunc(list, func(d deleted) bool { return strings.EqualFold(d.Properties.ID, w.Path()) })
	if unknown != nil || at < 0 {
		return err
	}
	return v.ShowAs(http.StatusNotFound, p.gone, page.Content{
		Scope: client.Path("subscriptions", w.Subscription), Title: w.Name, Crumbs: w.crumbs(v), Data: list[at],
	})
}

func recoverVault(v *page.Visit) error {
	d, err := deletedOf(v)
	if err != nil {
		return err
	}
	body := map[string]any{"location": d.Properties.Location, "properties": map[string]any{"createMode": "recover"}}
	if err := v.API().Do(v.Context(), http.MethodPut, access.IDPath(d.Properties.ID), body, nil); err != nil {
		return err
	}
	return v.Redirect(where{Group: d.Group(), Name: d.Name}.URL() + "?" + url.Values{"done": {"vault-recovered"}, "name": {d.Name}}.Encode())
}

func (p *pages) askPurgeVault(v *page.Visit) error {
	d, err := deletedOf(v)
	if err != nil {
		return err
	}
	if d.Properties.Protected {
		return errProtected
	}
	users, err := usersOf(v, d.Name, "")
	if err != nil {
		return err
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("vault.purge.title", "name", d.Name), Crumbs: []page.Crumb{{Name: v.Text.Plain("vault.list"), URL: path}}}, confirm.Question{
		Means: v.Text.HTML("vault.purge.means"), Breaks: breaks(v, users), Calm: "vault.unused", Action: d.URL("purge"), Button: "secret.purge", Danger: true, Back: path,
		Lacks: v.Lacking(client.Path("subscriptions", v.Site().SubscriptionID), "Microsoft.KeyVault/locations/deletedVaults/purge/action"),
	})
}

var errProtected = &page.Plain{Status: http.StatusConflict, Title: "error.conflict.title", Body: "vault.purge.protected"}

func purgeVault(v *page.Visit) error {
	at := provider(v, "locations", v.R.PathValue("location"), "deletedVaults", v.R.PathValue("vault"), "purge")
	err := v.API().Do(v.Context(), http.MethodPost, at, nil, nil)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusMethodNotAllowed {
		return errProtected
	}
	if err != nil {
		return err
	}
	return v.Redirect(path + "?" + url.Values{"done": {"vault-purged"}, "name": {v.R.PathValue("vault")}}.Encode())
}

func (p *pages) askDeleteVault(v *page.Visit) error {
	w := whereOf(v)
	var found vault
	if err := v.API().Get(v.Context(), w.Path(), &found); err != nil {
		return err
	}
	users, err := usersOf(v, w.Name, "")
	if err != nil {
		return err
	}
	means := v.Text.HTML("vault.delete.means", "n", found.Properties.Retention)
	if found.Properties.Protected {
		means += template.HTML(" ") + v.Text.HTML("vault.delete.protected")
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("vault.delete.title", "name", found.Name), Crumbs: w.crumbs(v)}, confirm.Question{
		Means: means, Breaks: breaks(v, users), Calm: "vault.unused", Action: w.URL("delete"), Button: "vault.delete", Danger: true, Back: w.URL(),
		Lacks: v.Lacking(w.Path(), "Microsoft.KeyVault/vaults/delete"),
	})
}

func deleteVault(v *page.Visit) error {
	w := whereOf(v)
	if err := v.API().Do(v.Context(), http.MethodDelete, w.Path(), nil, nil); err != nil {
		return err
	}
	return v.Redirect(path + "?" + url.Values{"done": {"vault-deleted"}, "name": {w.Name}}.Encode())
}

// missing reports whether there is no such thing.
func missing(err error) bool { return errors.Is(err, problem.NotFound) }
