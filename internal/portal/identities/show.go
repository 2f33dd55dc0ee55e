package identities

import (
	"html/template"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// shown is what the page shows.
type shown struct {
	App        place.App
	Own        *Identity
	Users      []Identity
	All        []Identity
	Reader     string
	Assignable []Resource
	Vaults     []Resource
	Offered    []string
	Check      *check
}

// check is the question whether an identity may read a secret, and its answer.
type check struct {
	Principal, Vault, Secret string
	Name, VaultName          string // for people
	Asked                    bool
	Allowed                  bool
	Role                     string
	Assignment               string
	By                       string
	Code                     string
	Restricted               bool `json:"restrictedNetwork"`
	Failed                   string
}

// Text gives the decision's text.
func (c check) Text() string {
	switch {
	case c.Allowed && c.By == "roles":
		return "check.byrole"
	case c.Allowed:
		return "check.bypolicy"
	case c.Code == "ForbiddenByPolicy":
		return "check.nopolicy"
	case c.Code == "ForbiddenByConnection", c.Code == "ForbiddenByFirewall":
		return "check.network"
	}
	return "check.norole"
}

func (p *pages) show(v *page.Visit) error {
	a := place.Of(v)
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	data := shown{App: a, Offered: offered, All: s.identities(a.Name), Reader: s.Properties.Reader}
	if err := data.describe(v); err != nil {
		return err
	}
	if err := data.choices(v, s); err != nil {
		return err
	}
	if err := data.ask(v); err != nil {
		return err
	}
	return v.Show(p.one, page.Content{
		Title: v.Text.Plain("identity.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.identity"), Notice: place.Notice(v, a.Name), Data: data,
	})
}

// describe reads the roles of the identities and who else has them.
func (s *shown) describe(v *page.Visit) error {
	names := map[string]string{}
	all, err := definitions(v.Context(), v.API(), client.Path("subscriptions", v.Site().SubscriptionID))
	if err != nil && !unseen(err) {
		return err
	}
	for _, d := range all {
		names[strings.ToLower(d.Name)] = d.Properties.RoleName
	}
	for n := range s.All {
		i := &s.All[n]
		if i.Principal != "" {
			if i.Roles, err = rolesOf(v, i.Principal, names); unseen(err) {
				i.Hidden, err = true, nil
			}
			if err != nil {
				return err
			}
		}
		if i.Others, err = others(v, i.ID, s.App); err != nil {
			return err
		}
		if i.ID == "" {
			s.Own = i
		}
	}
	s.Users = s.All
	if s.Own != nil {
		s.Users = s.All[1:]
	}
	return nil
}

// others gives what else has an identity, as far as the viewer may see.
func others(v *page.Visit, id string, a place.App) ([]string, error) {
	if id == "" {
		return nil, nil
	}
	var answer struct{ Value []struct{ ID, Name string } }
	err := v.API().Do(v.Context(), http.MethodPost, idPath(id, "listAssociatedResources")+"?api-version=2021-09-30-preview", nil, &answer)
	if unseen(err) {
		return nil, nil
	}
	var list []string
	for _, r := range answer.Value {
		if !strings.EqualFold(r.ID, a.Path()) {
			list = append(list, r.Name)
		}
	}
	return list, err
}

// choices finds what can be chosen in forms.
func (s *shown) choices(v *page.Visit, now site) (err error) {
	all, err := search(v, "Microsoft.ManagedIdentity/userAssignedIdentities")
	if err != nil {
		return err
	}
	for _, r := range all {
		taken := false
		for id := range now.Identity.Users {
			taken = taken || strings.EqualFold(id, r.ID)
		}
		if !taken {
			s.Assignable = append(s.Assignable, r)
		}
	}
	s.Vaults, err = search(v, "Microsoft.KeyVault/vaults")
	return err
}

// ask asks whether an identity may read a secret, if the page was asked that.
func (s *shown) ask(v *page.Visit) error {
	q := v.R.URL.Query()
	c := check{Principal: q.Get("principal"), Vault: q.Get("vault"), Secret: strings.TrimSpace(q.Get("secret"))}
	s.Check = &c
	if c.Vault == "" || c.Principal == "" {
		return nil
	}
	c.VaultName, c.Name, c.Asked = lastOf(c.Vault), c.Principal, true
	for _, i := range s.All {
		if i.Principal == c.Principal {
			c.Name = i.Name
		}
	}
	err := v.API().Do(v.Context(), http.MethodPost, idPath(c.Vault, "checkAccess")+"?api-version=2026-02-01", map[string]string{
		"objectId": c.Principal, "secret": c.Secret,
	}, &c)
	if err != nil && page.Detail(err) != "" {
		c.Failed, err = page.Detail(err), nil
	}
	return err
}

// crumbs are the steps to the questions of the page.
func crumbs(v *page.Visit, a place.App) []page.Crumb {
	return a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.identity"), URL: a.URL("identity")})
}

func (p *pages) askOff(v *page.Visit) error {
	a := place.Of(v)
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	data := shown{App: a, All: s.identities(a.Name)}
	if err := data.describe(v); err != nil {
		return err
	}
	q := confirm.Question{
		Means: v.Text.HTML("identity.off.means"), Action: a.URL("identity", "system", "off"), Button: "identity.off.button", Danger: true, Back: a.URL("identity"),
	}
	if data.Own != nil {
		q.Breaks = breaks(v, *data.Own)
		for _, r := range data.Own.Roles {
			q.Breaks = append(q.Breaks, v.Text.HTML("identity.off.role", "role", r.Name, "scope", r.Scope))
		}
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identity.off.title", "app", a.Name), Crumbs: crumbs(v, a)}, q)
}

func (p *pages) askRemove(v *page.Visit) error {
	a, id := place.Of(v), v.R.URL.Query().Get("identity")
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	q := confirm.Question{
		Means: v.Text.HTML("identity.remove.means"), Action: a.URL("identity", "remove"), Fields: []confirm.Field{{Name: "identity", Value: id}},
		Button: "identity.remove.button", Danger: true, Back: a.URL("identity"),
	}
	for _, i := range s.identities(a.Name) {
		if strings.EqualFold(i.ID, id) {
			q.Breaks = breaks(v, i)
		}
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identity.remove.title", "name", lastOf(id), "app", a.Name), Crumbs: crumbs(v, a)}, q)
}

// breaks gives what stops when an identity is taken away.
func breaks(v *page.Visit, i Identity) []template.HTML {
	if !i.Reads {
		return nil
	}
	return []template.HTML{v.Text.HTML("identity.breaks.reads")}
}
