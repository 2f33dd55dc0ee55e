package rbac_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/rbac"
)

func builtIn(t *testing.T, name string) authz.Role {
	t.Helper()
	for _, d := range rbac.BuiltIn() {
		if d.Name == name {
			return d.Role
		}
	}
	t.Fatalf("there is no role %q", name)
	return authz.Role{}
}

func TestBuiltInRolesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range rbac.BuiltIn() {
		id, err := uuid.Parse(d.ID)
		if err != nil || id.String() != d.ID || seen[d.ID] || seen[d.Name] {
			t.Errorf("role %q: id %q, which must be a GUID in lower case and nobody else's", d.Name, d.ID)
		}
		seen[d.ID], seen[d.Name] = true, true
		if d.Custom || d.Description == "" || len(d.Permissions) != 1 || len(d.Scopes) != 1 || d.Scopes[0] != "/" {
			t.Errorf("role %q: %+v", d.Name, d)
		}
	}
	if len(rbac.BuiltIn()) != 24 {
		t.Errorf("%d built-in roles", len(rbac.BuiltIn()))
	}
}

func TestWhatBuiltInRolesAllow(t *testing.T) {
	const secrets = "Microsoft.KeyVault/vaults/secrets/"
	tests := []struct {
		role   string
		data   bool
		action string
		allow  bool
	}{
		{"Owner", false, "Microsoft.Authorization/roleAssignments/write", true},
		{"Owner", false, "Latchkey.Directory/principals/addSecret/action", true},
		{"Owner", true, secrets + "getSecret/action", false},
		{"Contributor", false, "Microsoft.Web/sites/write", true},
		{"Contributor", false, "Microsoft.Web/sites/host/listKeys/action", true},
		{"Contributor", false, "Microsoft.Authorization/roleAssignments/read", true},
		{"Contributor", false, "Microsoft.Authorization/roleAssignments/write", false},
		{"Contributor", false, "Microsoft.Authorization/roleAssignments/delete", false},
		{"Contributor", false, "Microsoft.Authorization/roleDefinitions/write", false},
		{"Contributor", false, "Latchkey.Directory/principals/read", true},
		{"Contributor", false, "Latchkey.Directory/principals/write", false},
		{"Contributor", false, "Latchkey.Directory/principals/delete", false},
		{"Contributor", false, "Latchkey.Directory/principals/addSecret/action", false},
		{"Contributor", false, "Latchkey.Directory/principals/federatedCredentials/write", false},
		{"Contributor", false, "Latchkey.Platform/backups/write", false},
		{"Reader", false, "Microsoft.Web/sites/read", true},
		{"Reader", false, "Microsoft.Web/sites/config/read", true},
		{"Reader", false, "Microsoft.Web/sites/config/list/action", false},
		{"Reader", false, "Microsoft.Web/sites/host/listkeys/action", false},
		{"Reader", false, "Microsoft.Web/sites/functions/listkeys/action", false},
		{"Reader", false, "Microsoft.Web/sites/publishxml/action", false},
		{"Reader", false, "Microsoft.Storage/storageAccounts/listKeys/action", false},
		{"Reader", false, "Microsoft.Web/sites/write", false},
		{"Reader", true, secrets + "getSecret/action", false},
		{"User Access Administrator", false, "Microsoft.Authorization/roleAssignments/write", true},
		{"User Access Administrator", false, "Microsoft.Web/sites/read", true},
		{"User Access Administrator", false, "Microsoft.Web/sites/write", false},
		{"User Access Administrator", false, "Latchkey.Directory/principals/write", false},
		{"Website Contributor", false, "Microsoft.Web/sites/host/listkeys/action", true},
		{"Website Contributor", false, "Microsoft.Web/serverFarms/write", false},
		{"Website Contributor", false, "Microsoft.Authorization/roleAssignments/write", false},
		{"Key Vault Secrets User", true, secrets + "getSecret/action", true},
		{"Key Vault Secrets User", true, secrets + "setSecret/action", false},
		{"Key Vault Secrets User", false, "Microsoft.KeyVault/vaults/read", false},
		{"Key Vault Secrets Officer", true, secrets + "delete", true},
		{"Key Vault Secrets Officer", true, "Microsoft.KeyVault/vaults/keys/read", false},
		{"Key Vault Secrets Officer", false, "Microsoft.KeyVault/vaults/write", false},
		{"Key Vault Administrator", true, "Microsoft.KeyVault/vaults/keys/sign/action", true},
		{"Key Vault Administrator", false, "Microsoft.KeyVault/vaults/read", true},
		{"Key Vault Reader", true, secrets + "readMetadata/action", true},
		{"Key Vault Reader", true, secrets + "getSecret/action", false},
		{"Key Vault Crypto User", true, "Microsoft.KeyVault/vaults/keys/sign/action", true},
		{"Key Vault Certificates Officer", true, "Microsoft.KeyVault/vaults/certificates/create/action", true},
		{"Key Vault Contributor", false, "Microsoft.KeyVault/vaults/write", true},
		{"Key Vault Contributor", true, secrets + "getSecret/action", false},
		{"Storage Blob Data Owner", true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", true},
		{"Storage Blob Data Contributor", true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete", true},
		{"Storage Blob Data Reader", true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", false},
		{"Storage Queue Data Contributor", true, "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action", true},
		{"Storage Queue Data Reader", true, "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action", false},
		{"Storage Queue Data Message Sender", true, "Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action", true},
		{"Storage Queue Data Message Sender", true, "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read", false},
		{"Storage Queue Data Message Processor", true, "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action", true},
		{"Storage Table Data Contributor", true, "Microsoft.Storage/storageAccounts/tableServices/tables/entities/write", true},
		{"Storage Account Contributor", false, "Microsoft.Storage/storageAccounts/listKeys/action", true},
		{"Managed Identity Operator", false, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", true},
		{"Managed Identity Operator", false, "Microsoft.ManagedIdentity/userAssignedIdentities/write", false},
		{"Managed Identity Contributor", false, "Microsoft.ManagedIdentity/userAssignedIdentities/write", true},
		{"Managed Identity Contributor", false, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", false},
		{"AcrPull", false, "Microsoft.ContainerRegistry/registries/pull/read", true},
	}
	for _, tt := range tests {
		r := builtIn(t, tt.role)
		p := authz.NewPolicy([]authz.Role{r}, []authz.Assignment{{Principal: bob, Role: r.ID}})
		if got := p.Allow(authz.Request{Principal: bob, Action: tt.action, Data: tt.data}); got.Allowed != tt.allow {
			t.Errorf("%s, %s (data: %v): %v", tt.role, tt.action, tt.data, got.Allowed)
		}
	}
}

func FuzzDefine(f *testing.F) {
	f.Add("Name", "/subscriptions/x", "Microsoft.Web/sites/*")
	f.Add("", "/", "*")
	f.Fuzz(func(t *testing.T, name, scope, action string) {
		e := newEnv(t)
		d, _, err := e.Define(e.ctx, authz.Role{ID: custom, Name: name, Scopes: []string{scope}, Permissions: []authz.Permission{{Actions: []string{action}}}}, alice)
		if err != nil {
			return
		}
		got, err := e.Definition(e.ctx, custom)
		if err != nil || got.Name != d.Name || got.Permissions[0].Actions[0] != action || got.Scopes[0] == "/" {
			t.Errorf("%+v %v", got, err)
		}
	})
}
