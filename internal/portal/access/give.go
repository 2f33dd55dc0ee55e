package access

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// changePolicies is the action of giving access where policies decide.
const changePolicies = "Microsoft.KeyVault/vaults/accessPolicies/write"

// give is what the page that gives access shows.
type give struct {
	Vault, Secret, Principal, Role string
	Name, VaultName                string
	About                          string // what the role is, in the API's words
	Policies                       bool   // policies decide, not roles
	All                            bool   // of the vault is chosen
	Allowed                        bool
	Needs                          string // the action that is not allowed
	Action, Back                   string
	Failed                         string
}

// vault is a vault as the management API shows it.
type vault struct {
	Name       string
	Properties struct {
		TenantID string
		RBAC     bool `json:"enableRbacAuthorization"`
	}
}

// nameOf gives the name of a principal as the directory has it, or its object id for
// who may not see it: what is asked must not be what an address says.
func nameOf(v *page.Visit, principal string) string {
	var p struct{ Name string }
	err := v.API().Get(v.Context(), "/providers/Latchkey.Directory/principals/"+url.PathEscape(principal), &p)
	if err != nil || p.Name == "" {
		return principal
	}
	return p.Name
}

// readGive finds out what a query or a form asks to be given.
func readGive(v *page.Visit, q url.Values) (give, vault, error) {
	g := give{Vault: q.Get("vault"), Secret: strings.TrimSpace(q.Get("secret")), Principal: q.Get("principal"), Role: q.Get("role"),
		All: q.Get("scope") == "vault", Action: givePath, Back: page.Local(q.Get("back"))}
	if !isVault(g.Vault) {
		return g, vault{}, errNoVault
	}
	if !isSecret(g.Secret) {
		return g, vault{}, errNoSecret
	}
	var found vault
	err := v.API().Get(v.Context(), IDPath(g.Vault), &found)
	g.VaultName, g.Policies = found.Name, !found.Properties.RBAC
	return g, found, err
}

func (p *pages) showGive(v *page.Visit, failed string) error {
	q := v.R.URL.Query()
	if v.R.Method == http.MethodPost {
		q = v.R.PostForm
	}
	g, _, err := readGive(v, q)
	if err != nil {
		return err
	}
	g.Failed, g.Name = failed, nameOf(v, g.Principal)
	scope := g.Vault
	if g.Policies {
		g.Needs, g.Secret = changePolicies, "" // policies are about all of a vault
	} else {
		role, err := find(v, g.Vault, g.Role)
		if err != nil {
			return err
		}
		scope, g.Needs, g.About = scopeOf(g.Vault, g.Secret), Assign, role.Properties.Description
	}
	g.Allowed = v.May(scope).Do(g.Needs)
	status := http.StatusOK
	if failed != "" {
		status = http.StatusConflict
	}
	return v.ShowAs(status, p.give, page.Content{Title: v.Text.Plain("give.title", "name", g.Name, "vault", g.VaultName), Data: g})
}

// doGive gives a role at a vault or a secret, or adds an access policy that reads
// secrets where policies decide.
func (p *pages) doGive(v *page.Visit) error {
	g, found, err := readGive(v, v.R.PostForm)
	if err != nil {
		return err
	}
	if g.Policies != (v.R.PostForm.Get("by") == "policies") {
		return problem.New(problem.Conflict, "how the vault decides has changed meanwhile")
	}
	if g.Policies {
		err = addPolicy(v, g, found)
	} else {
		err = addAssignment(v, g)
	}
	if err != nil && page.Detail(err) != "" && !errors.Is(err, problem.Denied) && !errors.Is(err, problem.Unauthenticated) {
		return p.showGive(v, page.Detail(err))
	}
	if err != nil {
		return err
	}
	return back(v, "identity-access")
}

func addAssignment(v *page.Visit, g give) error {
	role, err := find(v, g.Vault, g.Role)
	if err != nil {
		return err
	}
	scope := scopeOf(g.Vault, g.Secret)
	if g.All {
		scope = g.Vault
	}
	return assign(v, scope, role, g.Principal)
}

func addPolicy(v *page.Visit, g give, found vault) error {
	return v.API().Do(v.Context(), http.MethodPut, IDPath(g.Vault, "accessPolicies", "add"), map[string]any{
		"properties": map[string]any{"accessPolicies": []any{map[string]any{
			"tenantId": found.Properties.TenantID, "objectId": g.Principal, "permissions": map[string]any{"secrets": permissionsOf(g.Role)},
		}}},
	}, nil)
}

// permissionsOf gives the permissions of a policy that allow what a role would.
func permissionsOf(role string) []string {
	switch role {
	case Manages:
		return []string{"get", "list", "set", "delete", "recover", "purge"}
	case Lists:
		return []string{"list"}
	}
	return []string{"get"}
}

// Let gives a principal what a role allows at a vault: the role, or where policies
// decide one of the same meaning.
func Let(v *page.Visit, id, role, principal string) error {
	g := give{Vault: id, Principal: principal, Role: role, All: true}
	var found vault
	if err := v.API().Get(v.Context(), IDPath(id), &found); err != nil {
		return err
	}
	if !found.Properties.RBAC {
		return addPolicy(v, g, found)
	}
	return addAssignment(v, g)
}
