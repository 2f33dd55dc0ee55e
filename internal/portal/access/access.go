// Package access owns what pages say of who may read secrets: the roles that an
// identity has, whether it may read a secret and why not, and the smallest grant that
// would mend that, which is given after a question of its own. It does not know what
// has the identities, or how decisions are made.
package access

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

// Paths of the pages.
const (
	givePath   = page.Base + "access/give"
	addPath    = page.Base + "access/roles/add"
	removePath = page.Base + "access/roles/remove"
)

// Roles that pages offer for vaults.
const (
	Reads   = "Key Vault Secrets User" // what most need
	Manages = "Key Vault Secrets Officer"
	Lists   = "Key Vault Reader"
)

// Assign is the action of giving roles.
const Assign = "Microsoft.Authorization/roleAssignments/write"

const (
	authorization = "/providers/Microsoft.Authorization/"
	vaults        = "/providers/Microsoft.KeyVault/vaults"
	most          = 1000 // items of a list that are looked at
)

type pages struct {
	give *page.Template
	ask  *confirm.Page
}

// Mount adds the pages to a mux.
func Mount(m *page.Mux) error {
	give, err := page.Parse(templates, "templates/give.html")
	ask, err2 := confirm.New()
	p := &pages{give, ask}
	m.Page(givePath, func(v *page.Visit) error { return p.showGive(v, "") })
	m.Action(givePath, p.doGive)
	m.Action(addPath, addRole)
	m.Page(removePath, p.askRemove)
	m.Action(removePath, removeRole)
	return errors.Join(err, err2)
}

// Parts adds the part "access" to the templates of a page, which shows a [Shown].
func Parts(t *page.Template) error { return t.Add(templates, "templates/parts.html") }

// GiveURL gives the address of the page that gives a principal a role at a vault, at
// one secret of it if one is named; it goes back to a page of the portal.
func GiveURL(vault, secret, principal, role, back string) string {
	return givePath + "?" + url.Values{"vault": {vault}, "secret": {secret}, "principal": {principal}, "role": {role}, "back": {back}}.Encode()
}

// Holder is an identity whose access is shown.
type Holder struct {
	Name, Principal string
	Reads           bool // references of the app are read with it
	Roles           []Role
	Hidden          bool // its roles are not for this viewer
}

// Resource is something that a search finds.
type Resource struct{ ID, Name, ResourceGroup string }

// Search finds resources of a type that whoever is signed in may see.
func Search(v *page.Visit, typ string) ([]Resource, error) {
	var answer struct{ Data []Resource }
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": "resources | where type =~ '" + typ + "' | project id, name, resourceGroup",
		"options": map[string]any{"$top": most},
	}, &answer)
	return answer.Data, err
}

// IDPath gives the path of a resource id, each segment escaped.
func IDPath(id string, more ...string) string {
	return client.Path(append(strings.Split(strings.Trim(id, "/"), "/"), more...)...)
}

// LastOf gives the name at the end of a resource id.
func LastOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// Unseen reports whether something is not there or not for this viewer.
func Unseen(err error) bool {
	return errors.Is(err, problem.Denied) || errors.Is(err, problem.NotFound)
}

// Shown is what the part "access" shows.
type Shown struct {
	Holders []Holder
	Vaults  []Resource
	Givable []Resource // those of them where whoever is signed in may give roles
	Offered []string
	Check   Check
	Back    string // address of the page, to which forms go back
}

// Show reads the roles of holders, finds the vaults, and asks what the page's query
// asks.
func Show(v *page.Visit, holders []Holder, back string) (Shown, error) {
	s := Shown{Holders: holders, Offered: []string{Reads, Manages, Lists}, Back: back}
	names, err := roleNames(v.Context(), v.API(), client.Path("subscriptions", v.Site().SubscriptionID))
	if err != nil {
		return s, err
	}
	for n := range s.Holders {
		h := &s.Holders[n]
		if h.Principal == "" {
			continue
		}
		if h.Roles, err = rolesOf(v, h.Principal, names); Unseen(err) {
			h.Hidden, err = true, nil
		}
		if err != nil {
			return s, err
		}
	}
	if s.Vaults, err = Search(v, "Microsoft.KeyVault/vaults"); err != nil {
		return s, err
	}
	for _, r := range s.Vaults {
		if v.May(r.ID).Do(Assign) {
			s.Givable = append(s.Givable, r)
		}
	}
	return s, s.ask(v)
}

// roleNames gives the names of roles by their ids in lower case; none for who may not
// see them.
func roleNames(ctx context.Context, api *client.Client, scope string) (map[string]string, error) {
	all, err := definitions(ctx, api, scope)
	if Unseen(err) {
		err = nil
	}
	names := map[string]string{}
	for _, d := range all {
		names[strings.ToLower(d.Name)] = d.Properties.RoleName
	}
	return names, err
}

// RolesOf reads the roles of a principal; hidden if they are not for this viewer.
func RolesOf(v *page.Visit, principal string) (roles []Role, hidden bool, err error) {
	names, err := roleNames(v.Context(), v.API(), client.Path("subscriptions", v.Site().SubscriptionID))
	if err != nil {
		return nil, false, err
	}
	if roles, err = rolesOf(v, principal, names); Unseen(err) {
		return nil, true, nil
	}
	return roles, false, err
}

// Referred gives the vault and the secret of an address such as
// "https://vault.domain/secrets/name/version"; "" for others.
func Referred(address string) (vault, secret string) {
	u, err := url.Parse(address)
	if err != nil {
		return "", ""
	}
	vault, _, _ = strings.Cut(u.Host, ".")
	return vault, strings.Split(u.Path+"//", "/")[2]
}
