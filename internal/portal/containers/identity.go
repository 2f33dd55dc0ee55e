package containers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// own is how settings name the app's own identity.
const own = "system"

// Lifecycles are those there are, as the form has them.
var lifecycles = []string{"Init", "Main", "All", "None"}

// identities is what the page about the identities shows.
type identities struct {
	At         at
	Own        *identity // the app's own; nil if it has none
	Users      []identity
	Rows       []identity // its own and the others
	Lifecycles []string
	Mark       string
	Assignable []access.Resource
	Access     access.Shown
}

// identity is one that the app has.
type identity struct {
	ID        string // [own] or a resource id
	Name      string
	Own       bool
	Deleted   bool
	Principal string
	Client    string
	Lifecycle string
	Uses      []use
}

// use is what the platform uses an identity for.
type use struct{ Text, Name string }

// identities gives those of an app, its own first, with their lifecycles.
func (a app) identities() []identity {
	var list []identity
	if strings.Contains(a.Identity.Type, "SystemAssigned") {
		list = append(list, a.describe(identity{ID: own, Name: a.Name, Own: true, Principal: a.Identity.Principal}))
	}
	var users []identity
	for id, u := range a.Identity.Users {
		users = append(users, a.describe(identity{ID: id, Name: lastOf(id), Deleted: u.Principal == "", Principal: u.Principal, Client: u.Client}))
	}
	slices.SortFunc(users, func(x, y identity) int { return strings.Compare(x.ID, y.ID) })
	return append(list, users...)
}

func (a app) describe(i identity) identity {
	c := a.Properties.Configuration
	i.Lifecycle = "All"
	for _, s := range c.IdentitySettings {
		at := slices.IndexFunc(lifecycles, func(l string) bool { return strings.EqualFold(l, s.Lifecycle) })
		if strings.EqualFold(s.Identity, i.ID) && at >= 0 {
			i.Lifecycle = lifecycles[at]
		}
	}
	for _, r := range c.Registries {
		if strings.EqualFold(r.Identity, i.ID) {
			i.Uses = append(i.Uses, use{"containers.use.registry", r.Server})
		}
	}
	for _, s := range c.Secrets {
		if strings.EqualFold(s.Identity, i.ID) {
			i.Uses = append(i.Uses, use{"containers.use.secret", s.Name})
		}
	}
	if a.Properties.Template.Scale != nil {
		for _, r := range a.Properties.Template.Scale.Rules {
			for _, by := range []*struct{ Identity string }{r.HTTP, r.TCP, r.AzureQueue, r.Custom} {
				if by != nil && strings.EqualFold(by.Identity, i.ID) {
					i.Uses = append(i.Uses, use{"containers.use.scale", r.Name})
				}
			}
		}
	}
	return i
}

// reads reports whether secrets of vaults are read with it.
func (i identity) reads() bool {
	return slices.ContainsFunc(i.Uses, func(u use) bool { return u.Text == "containers.use.secret" })
}

// mark tells whether identities and their lifecycles are still as they were.
func mark(list []identity) string {
	var all []string
	for _, i := range list {
		all = append(all, strings.ToLower(i.ID)+"="+i.Lifecycle)
	}
	return markOf(all)
}

func (p *pages) showIdentity(v *page.Visit) error { return p.identityWith(v, nil) }

func (p *pages) identityWith(v *page.Visit, said *page.Notice) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	data := identities{At: a, Rows: x.identities(), Lifecycles: lifecycles}
	data.Mark, data.Users = mark(data.Rows), data.Rows
	if len(data.Rows) > 0 && data.Rows[0].Own {
		data.Own, data.Users = &data.Rows[0], data.Rows[1:]
	}
	if data.Assignable, err = x.choices(v); err != nil {
		return err
	}
	var holders []access.Holder
	for _, i := range data.Rows {
		holders = append(holders, access.Holder{Name: i.Name, Principal: i.Principal, Reads: i.reads()})
	}
	if data.Access, err = access.Show(v, holders, a.URL("identity")); err != nil {
		return err
	}
	c := a.content(v, "tab.identity", v.Text.Plain("identity.title", "app", x.Name), data)
	if said != nil {
		c.Notice = said
		return v.ShowAs(http.StatusBadRequest, p.identity, c)
	}
	return v.Show(p.identity, c)
}

// setLifecycles sets the lifecycles of all identities, if they are still as the form
// had them.
func (p *pages) setLifecycles(v *page.Visit) error {
	a, form := of(v), v.R.PostForm
	x, err := a.read(v)
	if err != nil {
		return err
	}
	list := x.identities()
	if mark(list) != form.Get("mark") {
		return errChanged
	}
	next := []setting{}
	for n, i := range list {
		said := form.Get("lifecycle-" + strconv.Itoa(n))
		if !slices.Contains(lifecycles, said) {
			return p.identityWith(v, &page.Notice{Kind: "bad", Text: v.Text.HTML("lifecycle.missing", "name", i.Name)})
		}
		next = append(next, setting{i.ID, said})
	}
	err = a.patch(v, map[string]any{"identitySettings": next})
	if errors.Is(err, problem.Invalid) {
		return p.identityWith(v, &page.Notice{Kind: "bad", Text: v.Text.HTML("lifecycle.refused", "why", page.Detail(err))})
	}
	if err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=container-lifecycle")
}
