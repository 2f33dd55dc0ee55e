package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// VaultType is the resource type of vaults.
const VaultType = "Microsoft.KeyVault/vaults"

// Ways to decide about access to the secrets of a vault.
const (
	AccessByRoles    = "roles"
	AccessByPolicies = "policies"
)

// Vault is a vault. Its JSON form is what commands print, a contract.
type Vault struct {
	Name            string        `json:"name"`
	ID              string        `json:"id"`
	ResourceGroup   string        `json:"resourceGroup"`
	Location        string        `json:"location"`
	URL             string        `json:"url"`
	Access          string        `json:"access"` // "roles" or "policies"
	RetentionDays   int           `json:"retentionDays"`
	PurgeProtection bool          `json:"purgeProtection"`
	Policies        []VaultPolicy `json:"policies"` // without effect when roles decide
}

// VaultPolicy is what one principal may do with the secrets of a vault.
type VaultPolicy struct {
	Principal string   `json:"principal"` // object id
	AppID     string   `json:"appId,omitempty"`
	Secrets   []string `json:"secrets"`
}

// DeletedVault is a vault that can be recovered. Its JSON form is what commands
// print, a contract.
type DeletedVault struct {
	Name            string    `json:"name"`
	ID              string    `json:"id"` // that it had
	Location        string    `json:"location"`
	Deleted         time.Time `json:"deleted"`
	Purge           time.Time `json:"purge"` // when it is removed for good
	PurgeProtection bool      `json:"purgeProtection"`
}

// keyVault is a vault on the wire.
type keyVault struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Location   string `json:"location"`
	Properties struct {
		URL             string       `json:"vaultUri"`
		RBAC            bool         `json:"enableRbacAuthorization"`
		RetentionDays   int          `json:"softDeleteRetentionInDays"`
		PurgeProtection bool         `json:"enablePurgeProtection"`
		Policies        []wirePolicy `json:"accessPolicies"`
	} `json:"properties"`
}

type wirePolicy struct {
	TenantID      string `json:"tenantId"`
	ObjectID      string `json:"objectId"`
	ApplicationID string `json:"applicationId,omitempty"`
	Permissions   struct {
		Secrets []string `json:"secrets"`
	} `json:"permissions"`
}

func (k keyVault) vault() Vault {
	p := k.Properties
	v := Vault{Name: k.Name, ID: k.ID, Location: k.Location, URL: p.URL, Access: AccessByPolicies, RetentionDays: p.RetentionDays,
		PurgeProtection: p.PurgeProtection, Policies: []VaultPolicy{}}
	if p.RBAC {
		v.Access = AccessByRoles
	}
	if id, err := resource.Parse(k.ID); err == nil {
		v.ResourceGroup = id.Group()
	}
	for _, w := range p.Policies {
		v.Policies = append(v.Policies, VaultPolicy{w.ObjectID, w.ApplicationID, w.Permissions.Secrets})
	}
	return v
}

// Vaults lists the vaults there are, or those of a resource group, by name.
func (i *Installation) Vaults(ctx context.Context, group string) ([]Vault, error) {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return nil, err
	}
	if group != "" {
		path += "/resourceGroups/" + url.PathEscape(group)
	}
	found, err := armclient.List[keyVault](ctx, i.client, path+"/providers/"+VaultType)
	if err != nil {
		return nil, err
	}
	list := make([]Vault, len(found))
	for n, k := range found {
		list[n] = k.vault()
	}
	sort.Slice(list, func(a, b int) bool { return strings.ToLower(list[a].Name) < strings.ToLower(list[b].Name) })
	return list, nil
}

// Vault finds a vault by its name or its whole id. problem.NotFound says which
// vaults there are.
func (i *Installation) Vault(ctx context.Context, name string) (Vault, error) {
	if strings.HasPrefix(name, "/") {
		id, err := resource.Parse(name)
		if err != nil || !strings.EqualFold(id.Type(), VaultType) {
			return Vault{}, problem.New(problem.Invalid, fmt.Sprintf("%.200q is not the id of a vault", name)).
				WithNext("write it as /subscriptions/ID/resourceGroups/GROUP/providers/" + VaultType + "/NAME")
		}
		var k keyVault
		err = i.get(ctx, idPath(id.String()), &k)
		return k.vault(), err
	}
	list, err := i.Vaults(ctx, "")
	if errors.Is(err, problem.Denied) {
		return Vault{}, problem.Wrap(problem.Denied, "vaults cannot be found by name without the right to list them", err).
			WithNext("name the vault by its whole id: /subscriptions/…/providers/" + VaultType + "/NAME")
	}
	if err != nil {
		return Vault{}, err
	}
	var names []string
	for _, v := range list {
		if strings.EqualFold(v.Name, name) {
			return v, nil
		}
		names = append(names, v.Name)
	}
	missing := problem.New(problem.NotFound, fmt.Sprintf("there is no vault %.100q", name))
	if len(names) == 0 {
		return Vault{}, missing.WithNext("there are no vaults; latchkey vault create makes one, latchkey vault list --deleted shows what can be recovered")
	}
	return Vault{}, missing.WithNext("the vaults there are: " + strings.Join(names, ", "))
}

// NewVault says what vault to create.
type NewVault struct {
	Name            string
	Group           string // made if it is missing
	Location        string
	Access          string
	RetentionDays   int // 0 is as the server likes
	PurgeProtection bool
}

// CreateVault creates a vault. problem.Exists if there is one of that name, also if
// that is deleted and can be recovered.
func (i *Installation) CreateVault(ctx context.Context, n NewVault) (Vault, error) {
	group, err := i.ensureGroup(ctx, n.Group, n.Location)
	if err != nil {
		return Vault{}, err
	}
	tenant, err := i.tenant(ctx)
	if err != nil {
		return Vault{}, err
	}
	properties := map[string]any{
		"tenantId": tenant, "sku": map[string]string{"family": "A", "name": "standard"},
		"enableRbacAuthorization": n.Access == AccessByRoles, "accessPolicies": []any{},
	}
	if n.RetentionDays != 0 {
		properties["softDeleteRetentionInDays"] = n.RetentionDays
	}
	if n.PurgeProtection {
		properties["enablePurgeProtection"] = true
	}
	var k keyVault
	answer, err := i.client.Exchange(ctx, armclient.Request{
		Method: http.MethodPut, Path: group + "/providers/" + VaultType + "/" + url.PathEscape(n.Name), IfAbsent: true,
	}, map[string]any{"location": n.Location, "properties": properties}, &k)
	switch answer.Status {
	case http.StatusPreconditionFailed:
		return Vault{}, problem.New(problem.Exists, fmt.Sprintf("there is a vault %q already", n.Name)).WithNext("choose another name")
	case http.StatusConflict:
		return Vault{}, problem.Wrap(problem.Exists, fmt.Sprintf("the name %q is taken", n.Name), err).
			WithNext("choose another name, or see what was deleted: latchkey vault list --deleted")
	}
	return k.vault(), err
}

// tenant gives the tenant that tokens are of.
func (i *Installation) tenant(ctx context.Context) (string, error) {
	me, err := i.client.Identity(ctx)
	return me.TenantID, err
}

// DeleteVault deletes a vault so that it can be recovered.
func (i *Installation) DeleteVault(ctx context.Context, v Vault) error {
	return i.client.Do(ctx, http.MethodDelete, idPath(v.ID), nil, nil)
}

// deletedVault is a deleted vault on the wire.
type deletedVault struct {
	Name       string `json:"name"`
	Properties struct {
		ID              string    `json:"vaultId"`
		Location        string    `json:"location"`
		Deleted         time.Time `json:"deletionDate"`
		Purge           time.Time `json:"scheduledPurgeDate"`
		PurgeProtection bool      `json:"purgeProtectionEnabled"`
	} `json:"properties"`
}

// DeletedVaults lists the vaults that can be recovered, by name.
func (i *Installation) DeletedVaults(ctx context.Context) ([]DeletedVault, error) {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return nil, err
	}
	found, err := armclient.List[deletedVault](ctx, i.client, path+"/providers/Microsoft.KeyVault/deletedVaults")
	if err != nil {
		return nil, err
	}
	list := make([]DeletedVault, len(found))
	for n, d := range found {
		p := d.Properties
		list[n] = DeletedVault{d.Name, p.ID, p.Location, p.Deleted, p.Purge, p.PurgeProtection}
	}
	return list, nil
}

// DeletedVault finds a deleted vault by its name.
func (i *Installation) DeletedVault(ctx context.Context, name string) (DeletedVault, error) {
	list, err := i.DeletedVaults(ctx)
	if err != nil {
		return DeletedVault{}, err
	}
	at := slices.IndexFunc(list, func(d DeletedVault) bool { return strings.EqualFold(d.Name, name) || strings.EqualFold(d.ID, name) })
	if at < 0 {
		return DeletedVault{}, problem.New(problem.NotFound, fmt.Sprintf("there is no deleted vault %.100q", name)).
			WithNext("latchkey vault list --deleted shows those there are")
	}
	return list[at], nil
}

// RecoverVault undoes DeleteVault.
func (i *Installation) RecoverVault(ctx context.Context, d DeletedVault) (Vault, error) {
	tenant, err := i.tenant(ctx)
	if err != nil {
		return Vault{}, err
	}
	var k keyVault
	err = i.client.Do(ctx, http.MethodPut, idPath(d.ID), map[string]any{"location": d.Location, "properties": map[string]any{
		"createMode": "recover", "tenantId": tenant, "sku": map[string]string{"family": "A", "name": "standard"},
	}}, &k)
	return k.vault(), err
}

// PurgeVault removes a deleted vault with its secrets for good.
func (i *Installation) PurgeVault(ctx context.Context, d DeletedVault) error {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return err
	}
	return i.post(ctx, path+"/providers/Microsoft.KeyVault/locations/"+url.PathEscape(d.Location)+"/deletedVaults/"+url.PathEscape(d.Name)+"/purge", nil, nil)
}

// SetVaultPolicy gives a principal exactly these permissions for the secrets of a
// vault; none take its policy away. The policies of others stay as they are.
func (i *Installation) SetVaultPolicy(ctx context.Context, v Vault, objectID string, permissions []string) (Vault, error) {
	tenant, err := i.tenant(ctx)
	if err != nil {
		return v, err
	}
	w := wirePolicy{TenantID: tenant, ObjectID: objectID}
	if w.Permissions.Secrets = permissions; permissions == nil {
		w.Permissions.Secrets = []string{}
	}
	body := map[string]any{"properties": map[string]any{"accessPolicies": []wirePolicy{w}}}
	if err := i.client.Do(ctx, http.MethodPut, idPath(v.ID)+"/accessPolicies/replace", body, nil); err != nil {
		return v, err
	}
	return i.Vault(ctx, v.ID)
}

// UseVault lets the one who is signed in use the secrets of a vault: by a role or,
// where policies decide, by a policy with all permissions. It says what was given.
func (i *Installation) UseVault(ctx context.Context, v *Vault, role string) (given string, err error) {
	me, err := i.client.Identity(ctx)
	if err != nil {
		return "", err
	}
	if v.Access == AccessByPolicies {
		*v, err = i.SetVaultPolicy(ctx, *v, me.ObjectID, []string{"all", "purge"})
		return "an access policy", err
	}
	r, err := i.Role(ctx, v.ID, role)
	if err != nil {
		return "", err
	}
	p, err := i.Principal(ctx, me.ObjectID)
	if err != nil { // who may not see principals can be one all the same
		p = Principal{ObjectID: me.ObjectID}
	}
	_, _, err = i.Assign(ctx, v.ID, r, p)
	return "role " + r.Name, err
}

// secretsUser is the role that reads secrets.
const secretsUser = "Key Vault Secrets User"

// LetRead lets a principal read the secrets of a vault, besides what it may do
// already. It says what was given.
func (i *Installation) LetRead(ctx context.Context, v Vault, objectID string) (given string, err error) {
	if v.Access == AccessByPolicies {
		w := wirePolicy{ObjectID: objectID}
		if w.TenantID, err = i.tenant(ctx); err != nil {
			return "", err
		}
		w.Permissions.Secrets = []string{"get"}
		body := map[string]any{"properties": map[string]any{"accessPolicies": []wirePolicy{w}}}
		return "an access policy", i.client.Do(ctx, http.MethodPut, idPath(v.ID)+"/accessPolicies/add", body, nil)
	}
	r, err := i.Role(ctx, v.ID, secretsUser)
	if err != nil {
		return "", err
	}
	_, _, err = i.Assign(ctx, v.ID, r, Principal{ObjectID: objectID})
	return "role " + r.Name, err
}
