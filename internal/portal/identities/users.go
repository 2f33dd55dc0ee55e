package identities

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/groups"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// List is the path of the list of identities that are made on their own.
const List = page.Base + "identities"

const (
	userType = "Microsoft.ManagedIdentity/userAssignedIdentities"
	one      = List + "/{group}/{identity}"
	perPage  = 25
	together = 4 // calls at a time
)

// apiVersion is sent with calls about identities.
const apiVersion = "?api-version=2023-01-31"

func (p *pages) mountUsers(m *page.Mux) {
	m.Page(List, p.showList)
	m.Page(List+"/new", func(v *page.Visit) error { return p.showAdd(v, form{}) })
	m.Action(List+"/new", p.create)
	m.Page(one, p.showUser)
	m.Page(one+"/delete", p.askDelete)
	m.Action(one+"/delete", remove)
}

// user is an identity by its names.
type user struct{ Subscription, Group, Name string }

func userOf(v *page.Visit) user {
	return user{v.Site().SubscriptionID, v.R.PathValue("group"), v.R.PathValue("identity")}
}

// URL gives the address of the identity's page, or of one below it.
func (u user) URL(segments ...string) string {
	return List + client.Path(append([]string{u.Group, u.Name}, segments...)...)
}

// ID gives its resource id, which is its path in the management API as long as no name
// in it needs escaping; names of identities never do.
func (u user) ID() string {
	return client.Path("subscriptions", u.Subscription, "resourceGroups", u.Group, "providers", "Microsoft.ManagedIdentity", "userAssignedIdentities", u.Name)
}

func (u user) crumbs(v *page.Visit, more ...page.Crumb) []page.Crumb {
	return append([]page.Crumb{{Name: v.Text.Plain("identities.title"), URL: List}}, more...)
}

// listed is what the list shows.
type listed struct {
	Search     string
	From, To   int
	Total      int
	Back, Next string
	Rows       []row
	Lacks      string
}

// row is an identity in the list.
type row struct {
	Name, Group, URL string
	Has              []resource
	HasHidden        bool
	Roles            []access.Role
	Hidden           bool // its roles are not for this viewer
}

func (p *pages) showList(v *page.Visit) error {
	q := v.R.URL.Query()
	l := listed{Search: strings.TrimSpace(q.Get("q")), Lacks: groups.Lacking(v, userType+"/write")}
	if l.From, _ = strconv.Atoi(q.Get("from")); l.From < 0 { // what is no number is the beginning
		l.From = 0
	}
	found, err := l.find(v)
	if err == nil {
		err = l.read(v, found)
	}
	if err != nil {
		return err
	}
	l.pages()
	return v.Show(p.list, page.Content{
		Scope: client.Path("subscriptions", v.Site().SubscriptionID), Title: v.Text.Plain("identities.title"), Data: l, Notice: place.Notice(v, q.Get("name")),
	})
}

func (l *listed) find(v *page.Visit) ([]access.Resource, error) {
	query := "resources | where type =~ '" + userType + "'"
	if l.Search != "" {
		query += " and name contains '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(l.Search) + "'"
	}
	var answer struct {
		Data  []access.Resource
		Total int `json:"totalRecords"`
	}
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": query + " | project id, name, resourceGroup",
		"options": map[string]any{"$top": perPage, "$skip": l.From},
	}, &answer)
	l.Total = answer.Total
	return answer.Data, err
}

// read finds out who has each identity and which roles it has.
func (l *listed) read(v *page.Visit, found []access.Resource) error {
	l.Rows = make([]row, len(found))
	group, ctx := errgroup.WithContext(v.Context())
	group.SetLimit(together)
	for i, f := range found {
		group.Go(func() (err error) {
			l.Rows[i], err = readRow(ctx, v, f)
			return err
		})
	}
	return group.Wait()
}

func readRow(ctx context.Context, v *page.Visit, f access.Resource) (row, error) {
	r := row{Name: f.Name, Group: f.ResourceGroup, URL: user{Group: f.ResourceGroup, Name: f.Name}.URL()}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	i, err := readIdentity(v, f.ID)
	if access.Unseen(err) {
		r.Hidden, r.HasHidden = true, true
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if r.Has, err = associated(v, f.ID); access.Unseen(err) {
		r.HasHidden, err = true, nil
	}
	if err != nil {
		return r, err
	}
	r.Roles, r.Hidden, err = access.RolesOf(v, i.Properties.Principal)
	return r, err
}

// pages finds the pages before and after.
func (l *listed) pages() {
	to := func(from int) string {
		return List + "?" + url.Values{"q": {l.Search}, "from": {strconv.Itoa(from)}}.Encode()
	}
	if l.From > 0 {
		l.Back = to(max(l.From-perPage, 0))
	}
	if l.To = l.From + len(l.Rows); l.To < l.Total {
		l.Next = to(l.To)
	}
}

// identity is an identity as the management API shows it.
type identity struct {
	ID, Name, Location string
	Properties         struct {
		Principal string `json:"principalId"`
		Client    string `json:"clientId"`
	}
}

func readIdentity(v *page.Visit, id string) (identity, error) {
	var i identity
	err := v.API().Get(v.Context(), access.IDPath(id)+apiVersion, &i)
	return i, err
}

// form is what was filled in for a new identity.
type form struct {
	Name, Failed, Lacks string
	Group               groups.Field
}

func (p *pages) showAdd(v *page.Visit, f form) error {
	var err error
	if f.Group, err = groups.Read(v, f.Group.Chosen); err != nil {
		return err
	}
	f.Lacks = groups.Lacking(v, userType+"/write")
	status := http.StatusOK
	if f.Failed != "" {
		status = http.StatusBadRequest
	}
	return v.ShowAs(status, p.add, page.Content{Title: v.Text.Plain("identities.add"), Crumbs: user{}.crumbs(v), Data: f})
}

func (p *pages) create(v *page.Visit) error {
	f := form{Name: strings.TrimSpace(v.R.PostForm.Get("name")), Group: groups.Field{Chosen: groups.Chosen(v)}}
	err := f.create(v)
	switch {
	case err == nil:
		return v.Redirect(user{Group: f.Group.Chosen, Name: f.Name}.URL() + "?done=identity-made")
	case errors.Is(err, problem.Conflict):
		f.Failed = v.Text.Plain("identities.taken", "name", f.Name)
	case errors.Is(err, problem.Invalid) && page.Detail(err) != "":
		f.Failed = page.Detail(err)
	default:
		return err
	}
	return p.showAdd(v, f)
}

func (f form) create(v *page.Visit) error {
	_, location, err := groups.Ensure(v, f.Group.Chosen)
	if err != nil {
		return err
	}
	u := user{v.Site().SubscriptionID, f.Group.Chosen, f.Name}
	return v.API().Create(v.Context(), u.ID()+apiVersion, map[string]any{"location": location}, nil)
}

// userPage is what the page about an identity shows.
type userPage struct {
	At        user
	ID        string
	Principal string
	Client    string
	Has       []holder
	HasHidden bool
	Access    access.Shown
}

// holder is something that has the identity, and what the platform uses it for there.
type holder struct {
	Name, URL string
	Container bool
	Uses      []template.HTML
}

func (p *pages) showUser(v *page.Visit) error {
	u := userOf(v)
	i, err := readIdentity(v, u.ID())
	if err != nil {
		return err
	}
	data := userPage{At: u, ID: i.ID, Principal: i.Properties.Principal, Client: i.Properties.Client}
	if data.Has, err = holdersOf(v, i.ID); access.Unseen(err) {
		data.HasHidden, err = true, nil
	}
	if err != nil {
		return err
	}
	if data.Access, err = access.Show(v, []access.Holder{{Name: i.Name, Principal: i.Properties.Principal}}, u.URL()); err != nil {
		return err
	}
	return v.Show(p.user, page.Content{Scope: u.ID(), Title: i.Name, Crumbs: u.crumbs(v), Notice: place.Notice(v, i.Name), Data: data})
}

// holdersOf finds what has an identity and what for.
func holdersOf(v *page.Visit, id string) ([]holder, error) {
	list, err := associated(v, id)
	out := make([]holder, 0, len(list))
	for _, r := range list {
		h := holder{Name: r.Name}
		switch {
		case strings.EqualFold(r.Type, "Microsoft.Web/sites"):
			h.URL = place.App{Group: r.Group, Name: r.Name}.URL("identity")
			h.Uses = siteUses(v, r, id)
		case strings.EqualFold(r.Type, "Microsoft.App/containerApps"):
			h.Container, h.URL = true, page.Base+"containers"+client.Path(r.Group, r.Name, "identity")
			h.Uses = containerUses(v, r, id)
		}
		out = append(out, h)
	}
	return out, err
}

// siteUses says what reads with the identity; nothing is known of what cannot be read.
func siteUses(v *page.Visit, r resource, id string) []template.HTML {
	var s site
	if v.API().Get(v.Context(), access.IDPath(r.ID), &s) != nil || !strings.EqualFold(s.Properties.Reader, id) {
		return nil
	}
	return []template.HTML{v.Text.HTML("identity.references")}
}

func containerUses(v *page.Visit, r resource, id string) (uses []template.HTML) {
	var a struct {
		Properties struct {
			Configuration struct {
				Registries []struct{ Server, Identity string }
				Secrets    []struct{ Name, Identity string }
			}
		}
	}
	if v.API().Get(v.Context(), access.IDPath(r.ID)+"?api-version=2025-07-01", &a) != nil {
		return nil
	}
	for _, g := range a.Properties.Configuration.Registries {
		if strings.EqualFold(g.Identity, id) {
			uses = append(uses, v.Text.HTML("containers.use.registry", "name", g.Server))
		}
	}
	for _, s := range a.Properties.Configuration.Secrets {
		if strings.EqualFold(s.Identity, id) {
			uses = append(uses, v.Text.HTML("containers.use.secret", "name", s.Name))
		}
	}
	return uses
}

func (p *pages) askDelete(v *page.Visit) error {
	u := userOf(v)
	i, err := readIdentity(v, u.ID())
	if err != nil {
		return err
	}
	q := confirm.Question{
		Means: v.Text.HTML("identities.delete.means"), Calm: "identities.delete.calm", Action: u.URL("delete"), Button: "identities.delete", Danger: true, Back: u.URL(),
		Lacks: v.Lacking(u.ID(), userType+"/delete"),
	}
	has, err := holdersOf(v, i.ID)
	if err != nil && !access.Unseen(err) {
		return err
	}
	for _, h := range has {
		q.Breaks = append(q.Breaks, v.Text.HTML("identities.breaks.code", "app", h.Name))
		for _, use := range h.Uses {
			q.Breaks = append(q.Breaks, v.Text.HTML("identities.breaks.use", "app", h.Name)+" "+use)
		}
	}
	roles, _, err := access.RolesOf(v, i.Properties.Principal)
	if err != nil {
		return err
	}
	for _, r := range roles {
		q.Breaks = append(q.Breaks, v.Text.HTML("identity.off.role", "role", r.Name, "scope", r.Scope))
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identities.delete.title", "name", i.Name), Crumbs: u.crumbs(v, page.Crumb{Name: i.Name, URL: u.URL()})}, q)
}

func remove(v *page.Visit) error {
	u := userOf(v)
	if err := v.API().Do(v.Context(), http.MethodDelete, u.ID()+apiVersion, nil, nil); err != nil {
		return err
	}
	return v.Redirect(List + "?" + url.Values{"done": {"identity-deleted"}, "name": {u.Name}}.Encode())
}
