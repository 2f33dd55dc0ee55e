package identities

import (
	"html/template"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// shown is what the page about an app's identities shows.
type shown struct {
	App        place.App
	Own        *Identity
	Users      []Identity
	All        []Identity
	Reader     string
	Assignable []access.Resource
	Access     access.Shown
}

func (p *pages) show(v *page.Visit) error {
	a := place.Of(v)
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	data := shown{App: a, All: s.identities(a.Name), Reader: s.Properties.Reader}
	if err := data.describe(v); err != nil {
		return err
	}
	if err := data.choices(v, s); err != nil {
		return err
	}
	var err error
	if data.Access, err = access.Show(v, holders(data.All), a.URL("identity")); err != nil {
		return err
	}
	return v.Show(p.one, page.Content{
		Scope: a.Path(), Title: v.Text.Plain("identity.title", "app", a.Name), Crumbs: a.Crumbs(), Tabs: a.Tabs("tab.identity"), Notice: place.Notice(v, a.Name), Data: data,
	})
}

func holders(list []Identity) []access.Holder {
	var out []access.Holder
	for _, i := range list {
		out = append(out, access.Holder{Name: i.Name, Principal: i.Principal, Reads: i.Reads})
	}
	return out
}

// describe finds who else has the identities.
func (s *shown) describe(v *page.Visit) error {
	for n := range s.All {
		i := &s.All[n]
		if i.ID == "" {
			s.Own = i
			continue
		}
		list, err := associated(v, i.ID)
		if err != nil && !access.Unseen(err) {
			return err
		}
		for _, r := range list {
			if !strings.EqualFold(r.ID, s.App.Path()) {
				i.Others = append(i.Others, r.Name)
			}
		}
	}
	s.Users = s.All
	if s.Own != nil {
		s.Users = s.All[1:]
	}
	return nil
}

// resource is something that has an identity.
type resource struct {
	ID, Name, Type string
	Group          string `json:"resourceGroup"`
}

// associated gives what has an identity, as far as the viewer may see.
func associated(v *page.Visit, id string) ([]resource, error) {
	var answer struct{ Value []resource }
	err := v.API().Do(v.Context(), http.MethodPost, access.IDPath(id, "listAssociatedResources")+"?api-version=2021-09-30-preview", nil, &answer)
	return answer.Value, err
}

// choices finds the identities that can be assigned.
func (s *shown) choices(v *page.Visit, now site) error {
	all, err := access.Search(v, userType)
	for _, r := range all {
		taken := false
		for id := range now.Identity.Users {
			taken = taken || strings.EqualFold(id, r.ID)
		}
		if !taken {
			s.Assignable = append(s.Assignable, r)
		}
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
	q := confirm.Question{
		Means: v.Text.HTML("identity.off.means"), Action: a.URL("identity", "system", "off"), Button: "identity.off.button", Danger: true, Back: a.URL("identity"),
		Lacks: v.Lacking(a.Path(), "Microsoft.Web/sites/write"),
	}
	if s.own() {
		q.Breaks = breaks(v, s.identities(a.Name)[0])
		roles, _, err := access.RolesOf(v, s.Identity.Principal)
		if err != nil {
			return err
		}
		for _, r := range roles {
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
		Button: "identity.remove.button", Danger: true, Back: a.URL("identity"), Lacks: v.Lacking(a.Path(), "Microsoft.Web/sites/write"),
	}
	for _, i := range s.identities(a.Name) {
		if strings.EqualFold(i.ID, id) {
			q.Breaks = breaks(v, i)
		}
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identity.remove.title", "name", access.LastOf(id), "app", a.Name), Crumbs: crumbs(v, a)}, q)
}

// breaks gives what stops when an identity is taken away.
func breaks(v *page.Visit, i Identity) []template.HTML {
	if !i.Reads {
		return nil
	}
	return []template.HTML{v.Text.HTML("identity.breaks.reads")}
}
