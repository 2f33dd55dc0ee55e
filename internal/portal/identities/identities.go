// Package identities owns the page about the identities of an app: which it has,
// what reads its references, which roles they have, and whether one may read a
// secret. It does not know tokens, or how decisions are made.
package identities

import (
	"embed"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

type pages struct {
	one *page.Template
	ask *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	one, err := page.Parse(templates, "templates/identity.html")
	ask, err2 := confirm.New()
	p := &pages{one, ask}
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
	m.Action(at+"/roles/add", addRole)
	m.Page(at+"/roles/remove", p.askRole)
	m.Action(at+"/roles/remove", removeRole)
	return errors.Join(err, err2)
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
	Roles     []Role
	Hidden    bool // its roles are not for this viewer
}

// identities gives those of an app, its own first.
func (s site) identities(app string) []Identity {
	var list []Identity
	reader := s.Properties.Reader
	if s.own() {
		list = append(list, Identity{Name: app, Principal: s.Identity.Principal, Reads: reader == "" || strings.EqualFold(reader, "SystemAssigned")})
	}
	for id, u := range s.Identity.Users {
		list = append(list, Identity{ID: id, Name: lastOf(id), Principal: u.Principal, Client: u.Client, Reads: strings.EqualFold(reader, id)})
	}
	return sorted(list)
}

func lastOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

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
	return v.Redirect(a.URL("identity") + "?done=" + done)
}

func setReader(v *page.Visit) error {
	a := place.Of(v)
	body := map[string]any{"properties": map[string]any{"keyVaultReferenceIdentity": v.R.PostForm.Get("identity")}}
	if err := v.API().Do(v.Context(), http.MethodPatch, a.Path(), body, nil); err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=identity-reads")
}

// unseen reports whether something is not there or not for this viewer.
func unseen(err error) bool {
	return errors.Is(err, problem.Denied) || errors.Is(err, problem.NotFound)
}

// Resource is something that a search finds.
type Resource struct{ ID, Name, ResourceGroup string }

// search finds resources of a type that whoever is signed in may see.
func search(v *page.Visit, typ string) ([]Resource, error) {
	var answer struct{ Data []Resource }
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": "resources | where type =~ '" + typ + "' | project id, name, resourceGroup",
		"options": map[string]any{"$top": 1000},
	}, &answer)
	return answer.Data, err
}

// idPath gives the path of a resource id, each segment escaped.
func idPath(id string, more ...string) string {
	return client.Path(append(strings.Split(strings.Trim(id, "/"), "/"), more...)...)
}
