package rbac

import (
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
)

// Ids of built-in roles that code refers to.
const (
	Owner                   = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor             = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                  = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	WebsiteContributor      = "de139f84-1756-47ae-9be6-808fbbe84772"
)

// builtInSince is when the built-in roles say they were made.
var builtInSince = time.Date(2015, 2, 2, 21, 55, 9, 0, time.UTC)

// builtIn has the built-in roles by name. It is never changed.
var builtIn = slices.Concat(generalRoles(), vaultRoles(), storageRoles(), identityRoles())

// BuiltIn gives the built-in roles. Their permissions are shared and must not be
// changed.
func BuiltIn() []Definition { return slices.Clone(builtIn) }

func builtInByID(id string) (Definition, bool) {
	at := slices.IndexFunc(builtIn, func(d Definition) bool { return strings.EqualFold(d.ID, id) })
	if at < 0 {
		return Definition{}, false
	}
	return builtIn[at], true
}

func role(id, name, description string, p authz.Permission) Definition {
	return Definition{
		Role:    authz.Role{ID: id, Name: name, Description: description, Scopes: []string{"/"}, Permissions: []authz.Permission{p}},
		Created: builtInSince, Changed: builtInSince,
	}
}

// surroundings are the actions that roles for one provider have besides: seeing
// who has access, groups and deployments.
func surroundings(more ...string) []string {
	return append([]string{
		"Microsoft.Authorization/*/read",
		"Microsoft.Insights/alertRules/*",
		"Microsoft.Resources/deployments/*",
		"Microsoft.Resources/subscriptions/resourceGroups/read",
		"Microsoft.Support/*",
	}, more...)
}

func generalRoles() []Definition {
	return []Definition{
		role(Owner, "Owner", "Manages everything, including who has access.", authz.Permission{Actions: []string{"*"}}),
		role(Contributor, "Contributor", "Manages all resources, but not who has access, nor the principals and the platform of this installation.", authz.Permission{
			Actions: []string{"*"},
			// Who could add a secret to an owner's principal, or restore a backup,
			// would own everything.
			NotActions: []string{
				"Microsoft.Authorization/*/write", "Microsoft.Authorization/*/delete", "Microsoft.Authorization/elevateAccess/action",
				"Latchkey.Directory/*/write", "Latchkey.Directory/*/delete", "Latchkey.Directory/*/action",
				"Latchkey.Platform/*/write", "Latchkey.Platform/*/delete", "Latchkey.Platform/*/action",
			},
		}),
		// POST …/list and …/listKeys are actions, not reads: this role sees no secret.
		role(Reader, "Reader", "Sees all resources, but no keys, settings or credentials, and changes nothing.", authz.Permission{Actions: []string{"*/read"}}),
		role(UserAccessAdministrator, "User Access Administrator", "Manages who has access to resources.", authz.Permission{
			Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"},
		}),
		role(WebsiteContributor, "Website Contributor", "Manages apps, but not the plans they run in nor who has access.", authz.Permission{
			Actions: surroundings("Microsoft.Insights/components/*", "Microsoft.ResourceHealth/availabilityStatuses/read",
				"Microsoft.Web/certificates/*", "Microsoft.Web/listSitesAssignedToHostName/read",
				"Microsoft.Web/serverFarms/join/action", "Microsoft.Web/serverFarms/read", "Microsoft.Web/sites/*"),
		}),
	}
}

func vaultRoles() []Definition {
	manage := surroundings("Microsoft.KeyVault/checkNameAvailability/read", "Microsoft.KeyVault/deletedVaults/read",
		"Microsoft.KeyVault/locations/*/read", "Microsoft.KeyVault/vaults/read", "Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/operations/read")
	data := func(actions ...string) authz.Permission { return authz.Permission{DataActions: actions} }
	managed := func(actions ...string) authz.Permission {
		return authz.Permission{Actions: manage, DataActions: actions}
	}
	const keys = "Microsoft.KeyVault/vaults/keys/"
	return []Definition{
		role("00482a5a-887f-4fb3-b363-3b7fe8e74483", "Key Vault Administrator", "Does everything with what is in a vault, but does not manage vaults or access.", managed("Microsoft.KeyVault/vaults/*")),
		role("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User", "Reads the values of secrets.",
			data("Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action")),
		role("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Key Vault Secrets Officer", "Does everything with secrets, but does not manage access.", managed("Microsoft.KeyVault/vaults/secrets/*")),
		role("21090545-7ca7-4776-b22c-e363652d74d2", "Key Vault Reader", "Sees vaults and what they contain, but no values.",
			managed("Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/secrets/readMetadata/action")),
		role("12338af0-0e69-4776-bea7-57ae8d297424", "Key Vault Crypto User", "Uses keys for cryptography.",
			data(keys+"read", keys+"update/action", keys+"backup/action", keys+"encrypt/action", keys+"decrypt/action", keys+"wrap/action", keys+"unwrap/action", keys+"sign/action", keys+"verify/action")),
		role("a4417e6f-fecd-4de8-b567-7b0420556985", "Key Vault Certificates Officer", "Does everything with certificates, but does not manage access.",
			managed("Microsoft.KeyVault/vaults/certificatecas/*", "Microsoft.KeyVault/vaults/certificates/*", "Microsoft.KeyVault/vaults/certificatecontacts/write")),
		role("f25e0fa2-a7c8-4377-a976-54943a77a395", "Key Vault Contributor", "Manages vaults, but reads nothing in them and does not manage access by roles.", authz.Permission{
			Actions:    surroundings("Microsoft.KeyVault/*"),
			NotActions: []string{"Microsoft.KeyVault/locations/deletedVaults/purge/action", "Microsoft.KeyVault/hsmPools/*", "Microsoft.KeyVault/managedHsms/*"},
		}),
	}
}

func storageRoles() []Definition {
	return slices.Concat(blobRoles(), queueRoles(), []Definition{
		role("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor", "Reads, writes and deletes tables and their entities.", authz.Permission{
			Actions:     under("Microsoft.Storage/storageAccounts/tableServices/tables/", "read", "write", "delete"),
			DataActions: under("Microsoft.Storage/storageAccounts/tableServices/tables/entities/", "read", "write", "delete", "add/action", "update/action"),
		}),
		role("17d1049b-9a84-46fb-8f53-869881c3d3ab", "Storage Account Contributor", "Manages storage accounts and reads their keys, which open all data in them.", authz.Permission{
			Actions: surroundings("Microsoft.Insights/diagnosticSettings/*", "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action",
				"Microsoft.ResourceHealth/availabilityStatuses/read", "Microsoft.Storage/storageAccounts/*"),
		}),
	})
}

func under(path string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = path + n
	}
	return out
}

func blobRoles() []Definition {
	const (
		services   = "Microsoft.Storage/storageAccounts/blobServices/"
		containers = services + "containers/"
		delegate   = services + "generateUserDelegationKey/action"
	)
	return []Definition{
		role("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner", "Does everything with blobs and containers.", authz.Permission{
			Actions: []string{containers + "*", delegate}, DataActions: []string{containers + "blobs/*"},
		}),
		role("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor", "Reads, writes and deletes blobs and containers.", authz.Permission{
			Actions:     append(under(containers, "read", "write", "delete"), delegate),
			DataActions: under(containers+"blobs/", "read", "write", "delete", "move/action", "add/action"),
		}),
		role("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader", "Reads blobs and containers.", authz.Permission{
			Actions: []string{containers + "read", delegate}, DataActions: []string{containers + "blobs/read"},
		}),
	}
}

func queueRoles() []Definition {
	const queues = "Microsoft.Storage/storageAccounts/queueServices/queues/"
	return []Definition{
		role("974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor", "Reads, writes and deletes queues and messages.", authz.Permission{
			Actions: under(queues, "read", "write", "delete"), DataActions: under(queues+"messages/", "read", "write", "delete", "add/action", "process/action"),
		}),
		role("19e7f393-937e-4f77-808e-94535e297925", "Storage Queue Data Reader", "Reads queues and messages.", authz.Permission{
			Actions: []string{queues + "read"}, DataActions: []string{queues + "messages/read"},
		}),
		role("8a0f0c08-91a1-4084-bc3d-661d67233fed", "Storage Queue Data Message Processor", "Takes messages from queues.", authz.Permission{
			DataActions: under(queues+"messages/", "read", "process/action"),
		}),
		role("c6a89b2d-59bc-44d0-9896-0f6e12d7b80a", "Storage Queue Data Message Sender", "Adds messages to queues.", authz.Permission{
			DataActions: []string{queues + "messages/add/action"},
		}),
	}
}

func identityRoles() []Definition {
	const identities = "Microsoft.ManagedIdentity/userAssignedIdentities/"
	return []Definition{
		role("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator", "Sees user-assigned identities and assigns them to resources.", authz.Permission{
			Actions: surroundings(identities+"read", identities+"*/read", identities+"assign/action", identities+"*/assign/action"),
		}),
		role("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor", "Makes, changes and deletes user-assigned identities.", authz.Permission{
			Actions: surroundings(identities+"read", identities+"write", identities+"delete", identities+"*/read", identities+"*/write", identities+"*/delete", identities+"revokeTokens/action"),
		}),
		role("7f951dda-4ed3-4680-a7ca-43fe172d538d", "AcrPull", "Pulls images from a registry.", authz.Permission{
			Actions: []string{"Microsoft.ContainerRegistry/registries/pull/read"},
		}),
	}
}
