package containers

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

const userType = "Microsoft.ManagedIdentity/userAssignedIdentities"

// mountIdentity adds what changes which identities an app has.
func (p *pages) mountIdentity(m *page.Mux) {
	to := pattern + "/identity"
	m.Action(to+"/system/on", func(v *page.Visit) error {
		return p.assign(v, func(b *block) { b.own = true }, "identity-on")
	})
	m.Page(to+"/system/off", func(v *page.Visit) error { return p.askTake(v, own, "") })
	m.Action(to+"/system/off", func(v *page.Visit) error { return p.take(v, own, "identity-off") })
	m.Action(to+"/assign", func(v *page.Visit) error {
		return p.assign(v, func(b *block) { b.users[v.R.PostForm.Get("identity")] = struct{}{} }, "identity-assign")
	})
	m.Page(to+"/remove", func(v *page.Visit) error { return p.askTake(v, v.R.URL.Query().Get("identity"), "") })
	m.Action(to+"/remove", func(v *page.Visit) error { return p.take(v, v.R.PostForm.Get("identity"), "identity-remove") })
}

// block is which identities an app has, as it is sent: null takes one away.
type block struct {
	own   bool
	users map[string]any
}

func (a app) block() *block {
	b := &block{own: strings.Contains(a.Identity.Type, "SystemAssigned"), users: map[string]any{}}
	for id := range a.Identity.Users {
		b.users[id] = struct{}{}
	}
	return b
}

// drop takes an identity away.
func (b *block) drop(id string) {
	if id == own {
		b.own = false
	}
	for had := range b.users {
		if strings.EqualFold(had, id) {
			b.users[had] = nil
		}
	}
}

func (b *block) json() map[string]any {
	var types []string
	if b.own {
		types = append(types, "SystemAssigned")
	}
	for _, is := range b.users {
		if is != nil {
			types = append(types, "UserAssigned")
			break
		}
	}
	out := map[string]any{"type": "None"}
	if len(types) > 0 {
		out["type"] = strings.Join(types, ", ")
	}
	if len(types) > 0 && types[len(types)-1] == "UserAssigned" {
		out["userAssignedIdentities"] = b.users
	}
	return out
}

// assign gives an app an identity beside those it has.
func (p *pages) assign(v *page.Visit, change func(*block), done string) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	b := x.block()
	change(b)
	err = v.API().Do(v.Context(), http.MethodPatch, a.path(), map[string]any{"identity": b.json()}, nil)
	if errors.Is(err, problem.Invalid) && page.Detail(err) != "" {
		return p.identityWith(v, &page.Notice{Kind: "bad", Text: v.Text.HTML("lifecycle.refused", "why", page.Detail(err))})
	}
	if err != nil {
		return err
	}
	q, form := url.Values{"done": {done}}, v.R.PostForm
	if form.Get("vault") != "" { // whoever came for a secret goes on with it
		q.Set("vault", form.Get("vault"))
		q.Set("secret", form.Get("secret"))
	}
	return v.Redirect(a.URL("identity") + "?" + q.Encode())
}

// take takes an identity from an app, with its lifecycle.
func (p *pages) take(v *page.Visit, id, done string) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	b := x.block()
	b.drop(id)
	body := map[string]any{"identity": b.json()}
	kept := []setting{}
	for _, s := range x.Properties.Configuration.IdentitySettings {
		if !strings.EqualFold(s.Identity, id) {
			kept = append(kept, s)
		}
	}
	if len(kept) < len(x.Properties.Configuration.IdentitySettings) {
		body["properties"] = map[string]any{"configuration": map[string]any{"identitySettings": kept}}
	}
	err = v.API().Do(v.Context(), http.MethodPatch, a.path(), body, nil)
	if errors.Is(err, problem.Invalid) && page.Detail(err) != "" {
		return p.askTake(v, id, page.Detail(err))
	}
	if err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=" + done)
}

// askTake asks before an identity is taken from an app: what the platform uses it for
// there must be given another one first.
func (p *pages) askTake(v *page.Visit, id, failed string) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	q := confirm.Question{Failed: failed, Danger: true, Back: a.URL("identity")}
	title := v.Text.Plain("identity.remove.title", "name", lastOf(id), "app", x.Name)
	q.Means, q.Button, q.Action = v.Text.HTML("containers.remove.means"), "identity.remove.button", a.URL("identity", "remove")
	q.Fields = []confirm.Field{{Name: "identity", Value: id}}
	if id == own {
		title, q.Fields = v.Text.Plain("identity.off.title", "app", x.Name), nil
		q.Means, q.Button, q.Action = v.Text.HTML("containers.off.means"), "identity.off.button", a.URL("identity", "system", "off")
	}
	for _, i := range x.identities() {
		if !strings.EqualFold(i.ID, id) {
			continue
		}
		q.Breaks = i.breaks(v)
		if id == own {
			roles, _, err := access.RolesOf(v, x.Identity.Principal)
			if err != nil {
				return err
			}
			for _, r := range roles {
				q.Breaks = append(q.Breaks, v.Text.HTML("identity.off.role", "role", r.Name, "scope", r.Scope))
			}
		}
	}
	c := a.content(v, "", title, nil, page.Crumb{Name: v.Text.Plain("tab.identity"), URL: a.URL("identity")})
	c.Tabs, c.Live, c.Notice = nil, false, nil
	return p.ask.Ask(v, c, q)
}

// breaks gives what stops when an identity is taken away.
func (i identity) breaks(v *page.Visit) []template.HTML {
	list := []template.HTML{v.Text.HTML("containers.breaks.code")}
	for _, u := range i.Uses {
		list = append(list, v.Text.HTML(u.Text, "name", u.Name)+" – "+v.Text.HTML("containers.breaks.use"))
	}
	return list
}

// choices finds the identities that an app does not have.
func (a app) choices(v *page.Visit) ([]access.Resource, error) {
	all, err := access.Search(v, userType)
	var free []access.Resource
	for _, r := range all {
		taken := false
		for id := range a.Identity.Users {
			taken = taken || strings.EqualFold(id, r.ID)
		}
		if !taken {
			free = append(free, r)
		}
	}
	return free, err
}
