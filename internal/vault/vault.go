// Package vault owns vaults as management resources: what a request may say of
// one, their names, their deletion that can be undone for a while, and the
// decision who may do what with the secrets of one, from where. It keeps what it
// needs for that decision in memory. It does not know the secrets (see package
// secrets below it), how callers prove who they are, or any wire format but the
// texts of refusals, which clients show to people.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Types of the management resources.
const (
	Namespace   = "Microsoft.KeyVault"
	Type        = "Microsoft.KeyVault/vaults"
	DeletedType = "Microsoft.KeyVault/deletedVaults"
)

// Code says precisely why a request is refused, in the words of the platform's
// APIs. Find it with errors.As in an error whose kind is the coarse answer; the
// text for clients is the Message of the error's problem.Error.
type Code string

// Error gives the code.
func (c Code) Error() string { return string(c) }

// Codes of the errors of this package and of package secrets.
const (
	ForbiddenByPolicy     Code = "ForbiddenByPolicy"      // problem.Denied: no access policy allows it
	ForbiddenByRbac       Code = "ForbiddenByRbac"        // problem.Denied: no role allows it
	ForbiddenByFirewall   Code = "ForbiddenByFirewall"    // problem.Denied: not from this address
	ForbiddenByConnection Code = "ForbiddenByConnection"  // problem.Denied: public access is off
	PurgeProtected        Code = "PurgeProtectionEnabled" // problem.Denied: only time removes it for good

	SecretDisabled     Code = "SecretDisabled"                // problem.Denied
	SecretNotFound     Code = "SecretNotFound"                // problem.NotFound
	SecretExists       Code = "SecretAlreadyExists"           // problem.Conflict: restore
	SecretDeleted      Code = "ObjectIsDeletedButRecoverable" // problem.Conflict
	SecretBeingDeleted Code = "ObjectIsBeingDeleted"          // problem.Conflict
	BadParameter       Code = "BadParameter"                  // problem.Invalid, and TooLarge: a name, a field or a backup that breaks a rule

	NameInvalid     Code = "VaultNameNotValid"       // problem.Invalid
	NameTaken       Code = "VaultAlreadyExists"      // problem.Exists: in use by another vault, wherever it is
	NameDeleted     Code = "ConflictError"           // problem.Conflict: a deleted vault has it
	LocationFixed   Code = "InvalidResourceLocation" // problem.Conflict
	PurgeNotAllowed Code = "MethodNotAllowed"        // problem.Denied: the vault is purge protected
	VaultNotFound   Code = "VaultNotFound"           // problem.NotFound: [Vaults.ByName], and writes to a vault that is gone
	DeletedNotFound Code = "DeletedVaultNotFound"    // problem.NotFound
)

// Vault is a vault as decisions need it. It is shared and must not be changed.
type Vault struct {
	Resource       inventory.Resource // its Properties are what clients see, without vaultUri and provisioningState
	ID             resource.ID
	Name           string // as it was spelled when the vault was made
	UID            string // of this life of the vault; its secrets live below it, also while it is deleted
	Location       string // "westeurope"
	TenantID       string
	SKU            string // "standard" or "premium"
	RBAC           bool   // roles decide; Policies do not count
	Policies       []Policy
	Network        Network
	RetentionDays  int // 7 to 90
	PurgeProtected bool
}

// Policy is an access policy: what one principal may do. Who is named by tenant,
// object id and, if that is set, the application that acts for the principal.
type Policy struct {
	TenantID      string      `json:"tenantId"`
	ObjectID      string      `json:"objectId"`
	ApplicationID string      `json:"applicationId,omitempty"`
	Permissions   Permissions `json:"permissions"`
}

// Permissions are the names of what is allowed, by what it is done with. Only
// those for secrets mean something here; the others are kept.
type Permissions struct {
	Keys         []string `json:"keys"`
	Secrets      []string `json:"secrets"`
	Certificates []string `json:"certificates"`
	Storage      []string `json:"storage"`
}

// Network says from where a vault may be used.
type Network struct {
	Public         bool // publicNetworkAccess is on
	Deny           bool // only Allowed may come in
	Allowed        []netip.Prefix
	TrustedService bool // bypass is AzureServices: the platform on behalf of an app may always come in
}

// Deleted is a vault that was deleted and can be recovered.
type Deleted struct {
	Vault     Vault // as it was
	DeletedAt time.Time
	PurgeAt   time.Time // when it is removed for good
}

// ID gives the id of the deleted vault as a resource of its own.
func (d Deleted) ID() string {
	return "/subscriptions/" + d.Vault.ID.Subscription() + "/providers/" + Namespace + "/locations/" + d.Vault.Location + "/deletedVaults/" + d.Vault.Name
}

// String gives "name;location=region", as refusals name a vault.
func (v Vault) String() string { return v.Name + ";location=" + v.Location }

// SecretID gives the scope of roles for one secret of the vault.
func (v Vault) SecretID(secret string) resource.ID { return v.ID.Child("", "secrets", secret) }

// RecoveryLevel gives what the platform calls the way secrets of the vault can be
// recovered.
func (v Vault) RecoveryLevel() string {
	level := "Recoverable"
	if v.RetentionDays < maxRetention {
		level = "CustomizedRecoverable"
	}
	if v.PurgeProtected {
		return level
	}
	return level + "+Purgeable"
}

// Open gives the condition under which something may be written into the vault:
// it is not deleted. Every write of secrets has it, so that none comes after the
// vault was emptied.
func (v Vault) Open() state.Op { return state.Check(closedKey(v.UID), state.Absent) }

// Config is what Vaults needs.
type Config struct {
	Inventory *inventory.Inventory // its clock and store are used for everything
	Log       *slog.Logger
	Roles     Roles
	// OnDelete are called, in order, before a vault is deleted, for what does not
	// survive that, such as role assignments. Each may be called again after an
	// interruption.
	OnDelete []func(ctx context.Context, v Vault) error
	// OnPurge are called when a vault is removed for good, to remove what is kept
	// under its UID; likewise.
	OnPurge []func(ctx context.Context, uid string) error
}

// UIDs are kept apart from what clients see.
type private struct {
	UID string `json:"uid"`
}

// FromResource gives the vault of a resource document; problem.Undecryptable if it
// cannot be understood.
func FromResource(r inventory.Resource) (Vault, error) {
	var p properties
	var own private
	if err := errors.Join(json.Unmarshal(r.Properties, &p), json.Unmarshal(r.Private, &own)); err != nil {
		return Vault{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("vault %q cannot be understood", r.ID), err)
	}
	if own.UID == "" {
		return Vault{}, problem.New(problem.Undecryptable, fmt.Sprintf("vault %q has no identity of its own", r.ID))
	}
	id := r.ResourceID()
	v := Vault{
		Resource: r, ID: id, Name: id.Name(), UID: own.UID, Location: r.Location,
		TenantID: or(p.TenantID, ""), RBAC: or(p.RBAC, false), Policies: or(p.Policies, nil),
		RetentionDays: or(p.RetentionDays, maxRetention), PurgeProtected: or(p.PurgeProtection, false),
		Network: p.network(),
	}
	if p.SKU != nil {
		v.SKU = p.SKU.Name
	}
	return v, nil
}

// or gives what p points to, or else a default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func (v Vault) key() string { return strings.ToLower(v.Name) }

// normalLocation gives "westeurope" for "West Europe".
func normalLocation(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
