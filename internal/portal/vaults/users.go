package vaults

import (
	"context"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// Bounds of looking for what refers to a vault.
const (
	mostApps = 300 // of each kind
	together = 4
)

// user is a setting of an app, or a secret of a container app, that refers to a vault.
type user struct {
	App, Setting, URL string
	Secret            string // that it refers to
	Container         bool
}

// text says what will not work any more.
func (u user) text(v *page.Visit) template.HTML {
	if u.Container {
		return v.Text.HTML("secret.breaks.container", "app", u.App, "secret", u.Setting)
	}
	return v.Text.HTML("secret.breaks", "app", u.App, "setting", u.Setting)
}

// Text is text for templates.
func (u user) Text(v *page.View) template.HTML {
	if u.Container {
		return v.T("secret.breaks.container", "app", u.App, "secret", u.Setting)
	}
	return v.T("secret.breaks", "app", u.App, "setting", u.Setting)
}

func breaks(v *page.Visit, users []user) []template.HTML {
	var list []template.HTML
	for _, u := range users {
		list = append(list, u.text(v))
	}
	return list
}

// usersOf finds what refers to a secret, or with "" to any secret of the vault, as far
// as the viewer may see.
func usersOf(v *page.Visit, vaultName, secret string) ([]user, error) {
	sites, err := access.Search(v, "microsoft.web/sites")
	if err != nil {
		return nil, err
	}
	boxes, err := access.Search(v, "microsoft.app/containerapps")
	if err != nil {
		return nil, err
	}
	sites, boxes = sites[:min(len(sites), mostApps)], boxes[:min(len(boxes), mostApps)]
	found := make([][]user, len(sites)+len(boxes))
	api := v.API()
	group, ctx := errgroup.WithContext(v.Context())
	group.SetLimit(together)
	for i, s := range sites {
		a := place.App{Subscription: v.Site().SubscriptionID, Group: s.ResourceGroup, Name: s.Name}
		group.Go(func() (err error) {
			found[i], err = usersIn(ctx, api, a, vaultName, secret)
			return err
		})
	}
	for i, b := range boxes {
		group.Go(func() (err error) {
			found[len(sites)+i], err = usersInContainer(ctx, api, b, vaultName, secret)
			return err
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

func usersIn(ctx context.Context, api *client.Client, a place.App, vaultName, secret string) ([]user, error) {
	var found []user
	for _, section := range []string{"appsettings", "connectionstrings"} {
		list, _, err := client.List[reference](ctx, api, a.Path("config", "configreferences", section), most)
		if access.Unseen(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if strings.EqualFold(r.Properties.VaultName, vaultName) && (secret == "" || strings.EqualFold(r.Properties.SecretName, secret)) {
				found = append(found, user{a.Name, r.Name, a.URL("configuration"), r.Properties.SecretName, false})
			}
		}
	}
	return found, nil
}

func usersInContainer(ctx context.Context, api *client.Client, b access.Resource, vaultName, secret string) ([]user, error) {
	var app struct {
		Properties struct {
			Configuration struct {
				Secrets []struct{ Name, KeyVaultURL string }
			}
		}
	}
	err := api.Do(ctx, http.MethodGet, access.IDPath(b.ID)+"?api-version=2025-07-01", nil, &app)
	if access.Unseen(err) {
		return nil, nil
	}
	var found []user
	for _, s := range app.Properties.Configuration.Secrets {
		vault, name := access.Referred(s.KeyVaultURL)
		if strings.EqualFold(vault, vaultName) && (secret == "" || strings.EqualFold(name, secret)) {
			at := page.Base + "containers" + client.Path(b.ResourceGroup, b.Name, "secrets")
			found = append(found, user{b.Name, s.Name, at, name, true})
		}
	}
	return found, err
}
