package vault

import (
	"context"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Vaults keeps vaults. It is safe for concurrent use; several nodes may share one
// state: each follows what the others write.
type Vaults struct {
	inv   *inventory.Inventory
	roles Roles
}

// New gives vaults; [Vaults.ByName] knows none until [Vaults.Run] has read the
// state.
func New(c Config) *Vaults { return &Vaults{inv: c.Inventory, roles: c.Roles} }

func closedKey(uid string) state.Key { return "/vault-closed/" + state.Key(uid) }

const maxRetention = 90

var errTodo = problem.New(problem.Unsupported, "not built yet")

// Put creates a vault or replaces its properties; what cannot be changed stays
// when the spec does not say it. With the create mode "recover" it recovers a
// deleted vault and the rest of the spec does not count. Errors: problem.Invalid
// naming the member, problem.NotFound when the resource group is not there,
// problem.Exists with NameTaken, problem.Conflict with NameDeleted or
// LocationFixed.
func (vs *Vaults) Put(ctx context.Context, id resource.ID, by string, s Spec) (v Vault, created bool, err error) {
	return Vault{}, false, errTodo
}

// Patch changes what the spec says: members are merged, lists are replaced.
// problem.NotFound if there is no such vault.
func (vs *Vaults) Patch(ctx context.Context, id resource.ID, by string, s Spec) (Vault, error) {
	return Vault{}, errTodo
}

// PolicyChange is what [Vaults.ChangePolicies] does.
type PolicyChange string

// Changes of access policies: of the policy of the same tenant, principal and
// application each given one adds its permissions to, replaces, or takes its
// permissions from.
const (
	AddPolicies     PolicyChange = "add"
	ReplacePolicies PolicyChange = "replace"
	RemovePolicies  PolicyChange = "remove"
)

// ChangePolicies changes some of the access policies and leaves the others alone.
// created tells whether that made the first policies of the vault. problem.Invalid
// for an unknown change, problem.NotFound if there is no such vault.
func (vs *Vaults) ChangePolicies(ctx context.Context, id resource.ID, by string, how PolicyChange, policies []Policy) (Vault, error) {
	return Vault{}, errTodo
}

// Get reads a vault; problem.NotFound if there is none, or it is deleted.
func (vs *Vaults) Get(ctx context.Context, id resource.ID) (Vault, error) { return Vault{}, errTodo }

// List gives the vaults within a scope in order of their ids, at most limit (0:
// all) after the one whose key is given ("" from the first). next is the key to
// go on after, "" at the end.
func (vs *Vaults) List(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []Vault, next state.Key, err error) {
	return nil, "", errTodo
}

// NameFree reports whether no vault, deleted ones included, has a name. It says
// nothing of whether the name is valid, see [CheckName].
func (vs *Vaults) NameFree(ctx context.Context, name string) (bool, error) { return false, errTodo }

// Delete deletes a vault so that it can be recovered until its retention ends: its
// name stays taken and its secrets stay where they are, out of reach.
// problem.NotFound if there is no such vault.
func (vs *Vaults) Delete(ctx context.Context, id resource.ID, by string) (Deleted, error) {
	return Deleted{}, errTodo
}

// DeleteWithin deletes all vaults of a resource group, as Delete does.
func (vs *Vaults) DeleteWithin(ctx context.Context, group resource.ID, by string) error {
	return errTodo
}

// Deleted lists the deleted vaults of a subscription in order of their names, at
// most limit (0: all) after a name ("" from the first); next is the name to go on
// after, "" at the end.
func (vs *Vaults) Deleted(ctx context.Context, subscription, after string, limit int) (list []Deleted, next string, err error) {
	return nil, "", errTodo
}

// GetDeleted reads a deleted vault; problem.NotFound if there is none of the name
// in the location.
func (vs *Vaults) GetDeleted(ctx context.Context, subscription, location, name string) (Deleted, error) {
	return Deleted{}, errTodo
}

// Recover undoes Delete, id being what the vault had. problem.NotFound if it is
// not deleted, is being purged, or its resource group is gone.
func (vs *Vaults) Recover(ctx context.Context, id resource.ID, by string) (Vault, error) {
	return Vault{}, errTodo
}

// Purge removes a deleted vault and its secrets for good. problem.NotFound as for
// GetDeleted; problem.Denied with PurgeNotAllowed under purge protection. After an
// interruption it cannot be recovered any more, and Purge or PurgeExpired goes on.
func (vs *Vaults) Purge(ctx context.Context, subscription, location, name string) error {
	return errTodo
}

// PurgeExpired purges deleted vaults whose time is over, and goes on with purges
// that were interrupted. It tries all and gives the errors of those that failed.
// Call it now and then, on one node.
func (vs *Vaults) PurgeExpired(ctx context.Context) error { return errTodo }

// Run follows the state until ctx ends. Call it once.
func (vs *Vaults) Run(ctx context.Context) { <-ctx.Done() }

// Ready waits until the vaults have been read once; the error is ctx's.
func (vs *Vaults) Ready(ctx context.Context) error { return errTodo }

// ByName gives a vault by its name, whatever the case, from memory and without
// locks. While the state cannot be read, what was last known is given. Errors:
// problem.NotFound with VaultNotFound, problem.Unavailable before the first
// reading.
func (vs *Vaults) ByName(name string) (Vault, error) { return Vault{}, errTodo }
