// Package identities owns the pages about identities: those of an app, which it has,
// what reads its references, and those that are made on their own, who has them and
// what stops without them. It does not know tokens, or how decisions are made.
package identities

import (
	"embed"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/groups"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

//go:embed templates
var templates embed.FS

type pages struct {
	one, list, user, add *page.Template
	ask                  *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	p := &pages{}
	var errs []error
	for name, to := range map[string]**page.Template{"identity": &p.one, "list": &p.list, "user": &p.user, "add": &p.add} {
		t, err := page.Parse(templates, "templates/"+name+".html")
		if err == nil {
			err = errors.Join(access.Parts(t), groups.Parts(t))
		}
		*to = t
		errs = append(errs, err)
	}
	ask, err := confirm.New()
	p.ask = ask
	p.mountUsers(m)
	at := place.Pattern + "/identity"
	m.Page(at, p.show)
	m.Action(at+"/system/on", func(v *page.Visit) error { return change(v, block{own: true}, "identity-on") })
	m.Page(at+"/system/off", p.askOff)
	m.Action(at+"/system/off", func(v *page.Visit) error { return change(v, block{notOwn: true}, "identity-off") })
	m.Action(at+"/assign", func(v *page.Visit) error {
		return change(v, block{add: v.R.PostForm.Get("identity")}, "identity-assign")
	})
	m.Page(at+"/remove", p.askRemove)
	m.Action(at+"/remove", func(v *page.Visit) error {
		return change(v, block{take: v.R.PostForm.Get("identity")}, "identity-remove")
	})
	m.Action(at+"/reads", setReader)
	return errors.Join(append(errs, err)...)
}

// site is what the management API says of an app.
type site struct {
	Identity struct {
		Type      string
		Principal string `json:"principalId"`
		Users     map[string]struct {
			Principal string `json:"principalId"`
			Client    string `json:"clientId"`
		} `json:"userAssignedIdentities"`
	}
	Properties struct {
		Reader string `json:"keyVaultReferenceIdentity"`
	}
}

func (s site) own() bool { return strings.Contains(s.Identity.Type, "SystemAssigned") }

// Identity is one that the app has.
type Identity struct {
	ID        string // "" for the app's own
	Name      string
	Principal string // "" for one that was deleted
	Client    string
	Reads     bool // reads the references
	Others    []string
}

// identities gives those of an app, its own first.
func (s site) identities(app string) []Identity {
	var list []Identity
	reader := s.Properties.Reader
	if s.own() {
		list = append(list, Identity{Name: app, Principal: s.Identity.Principal, Reads: reader == "" || strings.EqualFold(reader, "SystemAssigned")})
	}
	for id, u := range s.Identity.Users {
		list = append(list, Identity{ID: id, Name: access.LastOf(id), Principal: u.Principal, Client: u.Client, Reads: strings.EqualFold(reader, id)})
	}
	return sorted(list)
}

func sorted(list []Identity) []Identity {
	slices.SortFunc(list, func(a, b Identity) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// block says how to change which identities an app has.
type block struct {
	own, notOwn bool
	add, take   string // resource ids
}

// change makes a change beside what the app has, and goes back to the page.
func change(v *page.Visit, b block, done string) error {
	a := place.Of(v)
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return err
	}
	users, some := map[string]any{}, false
	for id := range s.Identity.Users {
		if strings.EqualFold(id, b.take) {
			users[id] = nil
			continue
		}
		users[id], some = struct{}{}, true
	}
	if b.add != "" {
		users[b.add], some = struct{}{}, true
	}
	var types []string
	if (s.own() || b.own) && !b.notOwn {
		types = append(types, "SystemAssigned")
	}
	if some {
		types = append(types, "UserAssigned")
	}
	next := map[string]any{"type": "None"}
	if len(types) > 0 {
		next["type"] = strings.Join(types, ", ")
	}
	if some {
		next["userAssignedIdentities"] = users
	}
	if err := v.API().Do(v.Context(), http.MethodPatch, a.Path(), map[string]any{"identity": next}, nil); err != nil {
		return err
	}
	q, form := url.Values{"done": {done}}, v.R.PostForm
	if form.Get("vault") != "" { // whoever came for a reference goes on with it
		q.Set("vault", form.Get("vault"))
		q.Set("secret", form.Get("secret"))
	}
	return v.Redirect(a.URL("identity") + "?" + q.Encode())
}

func setReader(v *page.Visit) error {
	a := place.Of(v)
	body := map[string]any{"properties": map[string]any{"keyVaultReferenceIdentity": v.R.PostForm.Get("identity")}}
	if err := v.API().Do(v.Context(), http.MethodPatch, a.Path(), body, nil); err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=identity-reads")
}
