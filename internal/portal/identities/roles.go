package identities

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/confirm"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

const authorization = "/providers/Microsoft.Authorization/"

// Role is a role that an identity has.
type Role struct {
	ID    string // of the assignment
	Name  string
	Scope string
	Group bool // it has it as a member of a group
}

func sorted(list []Identity) []Identity {
	slices.SortFunc(list, func(a, b Identity) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// definition is a role as the management API shows it.
type definition struct {
	Name       string
	Properties struct{ RoleName, Description string }
}

// definitions reads the roles there are, by id.
func definitions(ctx context.Context, api *client.Client, scope string) ([]definition, error) {
	list, _, err := client.List[definition](ctx, api, strings.TrimSuffix(idPath(scope), "/")+authorization+"roleDefinitions", 5000)
	return list, err
}

// rolesOf reads what is assigned to a principal, also through its groups.
func rolesOf(v *page.Visit, principal string, names map[string]string) ([]Role, error) {
	type assignment struct {
		ID         string
		Properties struct {
			Role      string `json:"roleDefinitionId"`
			Principal string `json:"principalId"`
			Scope     string
		}
	}
	path := client.Path("subscriptions", v.Site().SubscriptionID) + authorization + "roleAssignments?$filter=" + url.QueryEscape("assignedTo('"+principal+"')")
	found, _, err := client.List[assignment](v.Context(), v.API(), path, 1000)
	var list []Role
	for _, a := range found {
		id := strings.ToLower(lastOf(a.Properties.Role))
		name := names[id]
		if name == "" {
			name = id
		}
		list = append(list, Role{a.ID, name, a.Properties.Scope, !strings.EqualFold(a.Properties.Principal, principal)})
	}
	return list, err
}

// offered are the roles that the page offers for vaults; the first is what most need.
var offered = []string{"Key Vault Secrets User", "Key Vault Secrets Officer", "Key Vault Reader"}

// addRole gives an identity a role at a vault.
func addRole(v *page.Visit) error {
	a, form := place.Of(v), v.R.PostForm
	scope, role := form.Get("vault"), form.Get("role")
	if !strings.Contains(strings.ToLower(scope), "/providers/microsoft.keyvault/vaults/") {
		return problem.New(problem.Invalid, "this is no vault")
	}
	all, err := definitions(v.Context(), v.API(), scope)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(d definition) bool { return d.Properties.RoleName == role })
	if at < 0 || !slices.Contains(offered, role) {
		return problem.New(problem.Invalid, "there is no such role")
	}
	principal := form.Get("principal")
	// The name follows from what is assigned: whoever says it twice gets one.
	name := uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(scope+"|"+all[at].Name+"|"+principal))).String()
	body := map[string]any{"properties": map[string]string{
		"roleDefinitionId": strings.TrimSuffix(scope, "/") + authorization + "roleDefinitions/" + all[at].Name,
		"principalId":      principal, "principalType": "ServicePrincipal",
	}}
	if err := v.API().Do(v.Context(), http.MethodPut, idPath(scope)+authorization+"roleAssignments/"+name, body, nil); err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=identity-role")
}

func (p *pages) askRole(v *page.Visit) error {
	a := place.Of(v)
	r, err := assigned(v, a, v.R.URL.Query().Get("assignment"))
	if err != nil {
		return err
	}
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identity.unrole.title", "role", r.Name), Crumbs: crumbs(v, a)}, confirm.Question{
		Means:  v.Text.HTML("identity.unrole.means", "role", r.Name, "scope", r.Scope),
		Action: a.URL("identity", "roles", "remove"), Fields: []confirm.Field{{Name: "assignment", Value: r.ID}},
		Button: "identity.unrole.button", Danger: true, Back: a.URL("identity"),
	})
}

// assigned reads what an identity of the app is assigned by its id: what the page says
// must be what is then done, whoever made the address.
func assigned(v *page.Visit, a place.App, id string) (Role, error) {
	var s site
	if err := v.API().Get(v.Context(), a.Path(), &s); err != nil {
		return Role{}, err
	}
	data := shown{App: a, All: s.identities(a.Name)}
	if err := data.describe(v); err != nil {
		return Role{}, err
	}
	for _, i := range data.All {
		for _, r := range i.Roles {
			if !r.Group && strings.EqualFold(r.ID, id) {
				return r, nil
			}
		}
	}
	return Role{}, problem.New(problem.NotFound, "no identity of the app has this assignment")
}

func removeRole(v *page.Visit) error {
	a, id := place.Of(v), v.R.PostForm.Get("assignment")
	if !strings.Contains(strings.ToLower(id), strings.ToLower(authorization)+"roleassignments/") {
		return problem.New(problem.Invalid, "this is no assignment of a role")
	}
	if err := v.API().Do(v.Context(), http.MethodDelete, idPath(id), nil, nil); err != nil {
		return err
	}
	return v.Redirect(a.URL("identity") + "?done=identity-unrole")
}
