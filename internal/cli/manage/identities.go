package manage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// IdentityType is the resource type of user-assigned identities.
const IdentityType = "Microsoft.ManagedIdentity/userAssignedIdentities"

// Identity is a managed identity. Its JSON form is what commands print, a
// contract.
type Identity struct {
	Name          string `json:"name"`
	ID            string `json:"id"` // of the app for its own identity
	ResourceGroup string `json:"resourceGroup,omitempty"`
	PrincipalID   string `json:"principalId"` // "" for one that was deleted and is still assigned
	ClientID      string `json:"clientId,omitempty"`
	System        bool   `json:"system,omitempty"`
}

// userIdentity is an identity on the wire.
type userIdentity struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		PrincipalID string `json:"principalId"`
		ClientID    string `json:"clientId"`
	} `json:"properties"`
}

func (u userIdentity) identity() Identity {
	i := Identity{Name: u.Name, ID: u.ID, PrincipalID: u.Properties.PrincipalID, ClientID: u.Properties.ClientID}
	if id, err := resource.Parse(u.ID); err == nil {
		i.ResourceGroup = id.Group()
	}
	return i
}

// Identities lists the user-assigned identities, by name.
func (i *Installation) Identities(ctx context.Context) ([]Identity, error) {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return nil, err
	}
	found, err := armclient.List[userIdentity](ctx, i.client, path+"/providers/"+IdentityType)
	list := make([]Identity, len(found))
	for n, u := range found {
		list[n] = u.identity()
	}
	sort.Slice(list, func(a, b int) bool { return strings.ToLower(list[a].Name) < strings.ToLower(list[b].Name) })
	return list, err
}

// Identity finds a user-assigned identity by name or id. problem.NotFound says
// which there are, problem.Invalid that the name is that of several.
func (i *Installation) Identity(ctx context.Context, name string) (Identity, error) {
	if strings.HasPrefix(name, "/") {
		var u userIdentity
		err := i.get(ctx, idPath(name), &u)
		return u.identity(), err
	}
	all, err := i.Identities(ctx)
	if err != nil {
		return Identity{}, err
	}
	var found []Identity
	var names []string
	for _, one := range all {
		if strings.EqualFold(one.Name, name) {
			found = append(found, one)
		}
		names = append(names, one.Name)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Identity{}, problem.New(problem.Invalid, fmt.Sprintf("there are %d identities %.100q", len(found), name)).WithNext("name the identity by its whole id")
	case len(names) == 0:
		return Identity{}, problem.New(problem.NotFound, fmt.Sprintf("there is no identity %.100q", name)).WithNext("there are none; latchkey identity create makes one")
	}
	return Identity{}, problem.New(problem.NotFound, fmt.Sprintf("there is no identity %.100q", name)).WithNext("the identities there are: " + strings.Join(names, ", "))
}

// CreateIdentity makes a user-assigned identity in a group, which is made if it is
// missing; problem.Exists if there is one.
func (i *Installation) CreateIdentity(ctx context.Context, name, group, location string) (Identity, error) {
	at, err := i.ensureGroup(ctx, group, location)
	if err != nil {
		return Identity{}, err
	}
	path := at + "/providers/" + IdentityType + "/" + url.PathEscape(name)
	var u userIdentity
	if err := i.get(ctx, path, &u); problem.KindOf(err) != problem.NotFound || err == nil {
		if err == nil {
			err = problem.New(problem.Exists, fmt.Sprintf("there is an identity %q in group %s already", name, group))
		}
		return Identity{}, err
	}
	err = i.client.Do(ctx, http.MethodPut, path, map[string]any{"location": location}, &u)
	return u.identity(), err
}

// DeleteIdentity deletes a user-assigned identity.
func (i *Installation) DeleteIdentity(ctx context.Context, id Identity) error {
	return i.client.Do(ctx, http.MethodDelete, idPath(id.ID), nil, nil)
}

// assigned is an identity block on the wire.
type assigned struct {
	Identity struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		Assigned    map[string]struct {
			PrincipalID string `json:"principalId"`
			ClientID    string `json:"clientId"`
		} `json:"userAssignedIdentities"`
	} `json:"identity"`
}

func (a assigned) list(app App) []Identity {
	var list []Identity
	if strings.Contains(a.Identity.Type, "SystemAssigned") {
		list = append(list, Identity{Name: app.Name, ID: app.ID, PrincipalID: a.Identity.PrincipalID, System: true})
	}
	for text, ids := range a.Identity.Assigned {
		one := Identity{Name: text, ID: text, PrincipalID: ids.PrincipalID, ClientID: ids.ClientID}
		if id, err := resource.Parse(text); err == nil {
			one.Name, one.ResourceGroup = id.Name(), id.Group()
		}
		list = append(list, one)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].System || !list[b].System && list[a].ID < list[b].ID })
	return list
}

// IdentitiesOf gives the identities of an app, its own first.
func (i *Installation) IdentitiesOf(ctx context.Context, app App) ([]Identity, error) {
	var a assigned
	err := i.get(ctx, idPath(app.ID), &a)
	return a.list(app), err
}

// AssignIdentity gives an app an identity of its own, or user-assigned ones; what
// it has stays. The last argument, if it is not "", is what reads its references:
// "SystemAssigned" or the id of an identity.
func (i *Installation) AssignIdentity(ctx context.Context, app App, own bool, users []Identity, reads string) ([]Identity, error) {
	have, err := i.IdentitiesOf(ctx, app)
	if err != nil {
		return nil, err
	}
	return i.patchIdentity(ctx, app, append(have, wantedIdentities(own, users)...), nil, reads)
}

func wantedIdentities(own bool, users []Identity) []Identity {
	if own {
		return append(users, Identity{System: true})
	}
	return users
}

// RemoveIdentity takes an app's own identity away, or user-assigned ones.
// problem.NotFound if it has none such.
func (i *Installation) RemoveIdentity(ctx context.Context, app App, own bool, ids []string) ([]Identity, error) {
	have, err := i.IdentitiesOf(ctx, app)
	if err != nil {
		return nil, err
	}
	gone := map[string]any{}
	var left []Identity
	for _, one := range have {
		switch {
		case one.System && own:
			own = false
		case !one.System && containsID(ids, one):
			gone[one.ID] = nil
		default:
			left = append(left, one)
		}
	}
	if own || len(gone) < len(ids) {
		return nil, problem.New(problem.NotFound, "app "+app.Name+" does not have that identity").WithNext("latchkey identity show " + app.Name)
	}
	return i.patchIdentity(ctx, app, left, gone, "")
}

func containsID(ids []string, one Identity) bool {
	for _, id := range ids {
		if strings.EqualFold(id, one.ID) || strings.EqualFold(id, one.Name) {
			return true
		}
	}
	return false
}

func (i *Installation) patchIdentity(ctx context.Context, app App, want []Identity, users map[string]any, reads string) ([]Identity, error) {
	if users == nil {
		users = map[string]any{}
	}
	var types []string
	own, assignedSome := false, false
	for _, one := range want {
		if own = own || one.System; !one.System {
			users[one.ID], assignedSome = map[string]any{}, true
		}
	}
	if own {
		types = append(types, "SystemAssigned")
	}
	if assignedSome {
		types = append(types, "UserAssigned")
	}
	block := map[string]any{"type": "None"}
	if len(types) > 0 {
		block["type"] = strings.Join(types, ", ")
	}
	if assignedSome {
		block["userAssignedIdentities"] = users
	}
	body := map[string]any{"identity": block}
	if reads != "" {
		body["properties"] = map[string]any{"keyVaultReferenceIdentity": reads}
	}
	var a assigned
	err := i.client.Do(ctx, http.MethodPatch, idPath(app.ID), body, &a)
	return a.list(app), err
}
