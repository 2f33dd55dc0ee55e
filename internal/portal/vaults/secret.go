package vaults

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

type secretPage struct {
	At       where
	Name     string
	Versions []secret
	Latest   *secret
	Shown    *secret // with its value
	Users    []user
}

// user is a setting that refers to a secret.
type user struct{ App, Setting, URL string }

// ofSecret opens the vault of the secret that a page is about.
func ofSecret(v *page.Visit) (where, *client.Client, string, error) {
	w := whereOf(v)
	data, _, err := w.open(v)
	return w, data, v.R.PathValue("secret"), err
}

func (p *pages) showSecret(v *page.Visit, shown *secret) error {
	w, data, name, err := ofSecret(v)
	if err != nil {
		return err
	}
	list, _, err := client.List[secret](v.Context(), data, "/secrets"+client.Path(name, "versions")+version, most)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return problem.New(problem.NotFound, "there is no such secret")
	}
	slices.SortStableFunc(list, func(a, b secret) int { return int(b.Attributes.Created - a.Attributes.Created) })
	users, err := usersOf(v, w.Name, name)
	if err != nil {
		return err
	}
	return v.Show(p.secret, page.Content{
		Title: name, Crumbs: w.crumbs(v, page.Crumb{Name: name}), Notice: place.Notice(v, name),
		Data: secretPage{At: w, Name: name, Versions: list, Latest: &list[0], Shown: shown, Users: users},
	})
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

func (p *pages) askDelete(v *page.Visit) error {
	w, name := whereOf(v), v.R.PathValue("secret")
	users, err := usersOf(v, w.Name, name)
	if err != nil {
		return err
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("secret.delete.title", "name", name), Crumbs: w.crumbs(v, page.Crumb{Name: name, URL: w.URL("secrets", name)})},
		confirm.Question{
			Means: v.Text.HTML("secret.delete.means"), Breaks: breaks(v, users), Calm: "secret.unused", Action: w.URL("secrets", name, "delete"),
			Button: "secret.delete", Danger: true, Back: w.URL("secrets", name),
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
		Button: "secret.purge", Danger: true, Back: w.URL(),
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

func breaks(v *page.Visit, users []user) []template.HTML {
	var list []template.HTML
	for _, u := range users {
		list = append(list, v.Text.HTML("secret.breaks", "app", u.App, "setting", u.Setting))
	}
	return list
}

// Bounds of looking for settings that refer to a secret.
const (
	mostApps = 300
	together = 4
)

// usersOf finds the settings of apps that refer to a secret, as far as the viewer
// may see.
func usersOf(v *page.Visit, vaultName, name string) ([]user, error) {
	var answer struct {
		Data []struct{ Name, ResourceGroup string }
	}
	api := v.API()
	err := api.Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": "resources | where type =~ 'microsoft.web/sites' | project name, resourceGroup",
		"options": map[string]any{"$top": mostApps},
	}, &answer)
	if err != nil {
		return nil, err
	}
	found := make([][]user, len(answer.Data))
	group, ctx := errgroup.WithContext(v.Context())
	group.SetLimit(together)
	for i, d := range answer.Data {
		a := place.App{Subscription: v.Site().SubscriptionID, Group: d.ResourceGroup, Name: d.Name}
		group.Go(func() error {
			for _, section := range []string{"appsettings", "connectionstrings"} {
				list, _, err := client.List[reference](ctx, api, a.Path("config", "configreferences", section), most)
				if errors.Is(err, problem.Denied) || errors.Is(err, problem.NotFound) {
					continue
				}
				if err != nil {
					return err
				}
				for _, r := range list {
					if strings.EqualFold(r.Properties.VaultName, vaultName) && strings.EqualFold(r.Properties.SecretName, name) {
						found[i] = append(found[i], user{a.Name, r.Name, a.URL("configuration")})
					}
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return slices.Concat(found...), err
}

// reference is a reference as the management API shows it.
type reference struct {
	Name       string
	Properties struct{ VaultName, SecretName string }
}
