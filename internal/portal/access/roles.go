package access

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
	"github.com/latchkey/latchkey/internal/problem"
)

// Role is a role that an identity has.
type Role struct {
	ID    string // of the assignment
	Name  string
	Scope string
	Group bool // it has it as a member of a group
}

// definition is a role as the management API shows it.
type definition struct {
	Name       string
	Properties struct{ RoleName, Description string }
}

// definitions reads the roles there are at a scope.
func definitions(ctx context.Context, api *client.Client, scope string) ([]definition, error) {
	list, _, err := client.List[definition](ctx, api, strings.TrimSuffix(IDPath(scope), "/")+authorization+"roleDefinitions", 5*most)
	return list, err
}

// find gives a role that pages offer.
func find(v *page.Visit, scope, role string) (definition, error) {
	all, err := definitions(v.Context(), v.API(), scope)
	if err != nil {
		return definition{}, err
	}
	at := slices.IndexFunc(all, func(d definition) bool { return d.Properties.RoleName == role })
	if at < 0 || role != Reads && role != Manages && role != Lists {
		return definition{}, problem.New(problem.Invalid, "there is no such role")
	}
	return all[at], nil
}

type assignment struct {
	ID         string
	Properties struct {
		Role      string `json:"roleDefinitionId"`
		Principal string `json:"principalId"`
		Scope     string
	}
}

// rolesOf reads what is assigned to a principal, also through its groups.
func rolesOf(v *page.Visit, principal string, names map[string]string) ([]Role, error) {
	path := client.Path("subscriptions", v.Site().SubscriptionID) + authorization + "roleAssignments?$filter=" + url.QueryEscape("assignedTo('"+principal+"')")
	found, _, err := client.List[assignment](v.Context(), v.API(), path, most)
	var list []Role
	for _, a := range found {
		list = append(list, a.role(names, principal))
	}
	return list, err
}

func (a assignment) role(names map[string]string, principal string) Role {
	id := strings.ToLower(LastOf(a.Properties.Role))
	name := names[id]
	if name == "" {
		name = id
	}
	return Role{a.ID, name, a.Properties.Scope, !strings.EqualFold(a.Properties.Principal, principal)}
}

// isVault reports whether an id is that of a vault.
func isVault(id string) bool {
	parts := strings.Split(strings.Trim(strings.ToLower(id), "/"), "/")
	return len(parts) == 8 && strings.HasSuffix("/"+strings.Join(parts[:7], "/"), strings.ToLower(vaults))
}

var errNoVault = problem.New(problem.Invalid, "this is no vault")

// isSecret reports whether a text can be the name of a secret, or none. What it names
// is put into paths.
func isSecret(name string) bool {
	return len(name) <= 127 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	})
}

var errNoSecret = problem.New(problem.Invalid, "this is no name of a secret")

// scopeOf gives the id of a secret, or of its vault if none is named.
func scopeOf(vault, secret string) string {
	if secret == "" {
		return vault
	}
	return strings.TrimSuffix(vault, "/") + "/secrets/" + secret
}

// assign gives a principal a role. The name follows from what is assigned: whoever
// says it twice gets one.
func assign(v *page.Visit, scope string, role definition, principal string) error {
	name := uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(scope+"|"+role.Name+"|"+principal))).String()
	body := map[string]any{"properties": map[string]string{
		"roleDefinitionId": strings.TrimSuffix(scope, "/") + authorization + "roleDefinitions/" + role.Name, "principalId": principal,
	}}
	return v.API().Do(v.Context(), http.MethodPut, IDPath(scope)+authorization+"roleAssignments/"+name, body, nil)
}

// back goes on after something was done, with what the page was asked.
func back(v *page.Visit, done string) error {
	to, err := url.Parse(page.Local(v.R.PostForm.Get("back")))
	if err != nil {
		return v.Redirect(page.Home)
	}
	q := to.Query()
	q.Set("done", done)
	to.RawQuery = q.Encode()
	return v.Redirect(to.String())
}

// addRole gives an identity a role at a vault.
func addRole(v *page.Visit) error {
	form := v.R.PostForm
	if !isVault(form.Get("vault")) {
		return errNoVault
	}
	role, err := find(v, form.Get("vault"), form.Get("role"))
	if err != nil {
		return err
	}
	if err := assign(v, form.Get("vault"), role, form.Get("principal")); err != nil {
		return err
	}
	return back(v, "identity-role")
}

// isAssignment reports whether an id is that of an assignment of a role.
func isAssignment(id string) bool {
	return strings.Contains(strings.ToLower(id), strings.ToLower(authorization)+"roleassignments/")
}

var errNoAssignment = problem.New(problem.Invalid, "this is no assignment of a role")

// askRemove says what the API says of the assignment, so that what is asked is what is
// then done, whoever made the address.
func (p *pages) askRemove(v *page.Visit) error {
	q := v.R.URL.Query()
	if !isAssignment(q.Get("assignment")) {
		return errNoAssignment
	}
	var a assignment
	if err := v.API().Get(v.Context(), IDPath(q.Get("assignment"))+"?api-version=2022-04-01", &a); err != nil {
		return err
	}
	if !strings.EqualFold(a.ID, q.Get("assignment")) {
		return problem.New(problem.NotFound, "there is no such assignment of a role")
	}
	names, err := roleNames(v.Context(), v.API(), client.Path("subscriptions", v.Site().SubscriptionID))
	if err != nil {
		return err
	}
	r := a.role(names, a.Properties.Principal)
	return p.ask.Ask(v, page.Content{Title: v.Text.Plain("identity.unrole.title", "role", r.Name)}, confirm.Question{
		Means:  v.Text.HTML("identity.unrole.means", "role", r.Name, "scope", r.Scope, "name", nameOf(v, a.Properties.Principal)),
		Action: removePath, Fields: []confirm.Field{{Name: "assignment", Value: a.ID}, {Name: "back", Value: page.Local(q.Get("back"))}},
		Button: "identity.unrole.button", Danger: true, Back: page.Local(q.Get("back")),
	})
}

func removeRole(v *page.Visit) error {
	id := v.R.PostForm.Get("assignment")
	if !isAssignment(id) {
		return errNoAssignment
	}
	if err := v.API().Do(v.Context(), http.MethodDelete, IDPath(id)+"?api-version=2022-04-01", nil, nil); err != nil {
		return err
	}
	return back(v, "identity-unrole")
}
