// Package keyvault serves the management API of Microsoft.KeyVault: vaults, their
// access policies, vaults that were deleted and can be recovered, and secrets as
// templates write them. It does not know how vaults and secrets are kept, what a
// policy lets anybody do, or the data plane: no value of a secret leaves here.
package keyvault

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// Config is what a Service works with. Everything but Groups must be set.
type Config struct {
	Vaults   *vault.Vaults
	Secrets  *secrets.Store
	TenantID string
	// VaultURL gives the address of a vault's data plane with a trailing slash, such
	// as "https://kv.vault.localhost:7443/". The second label of the host must be
	// "vault": Terraform accepts nothing else.
	VaultURL func(name string) string
	// Authorize says who may change how access to a vault is decided.
	Authorize arm.Authorizer
	// Groups gives the groups that a principal is in, for the check of somebody
	// else's access; nil for none.
	Groups func(ctx context.Context, principal string) ([]string, error)
}

// Service serves the operations. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes a Service. It fails for a Config that leaves something out.
func New(cfg Config) (*Service, error) {
	if cfg.Vaults == nil || cfg.Secrets == nil || cfg.TenantID == "" || cfg.VaultURL == nil || cfg.Authorize == nil {
		return nil, errors.New("keyvault: Vaults, Secrets, TenantID, VaultURL and Authorize must be set")
	}
	return &Service{cfg}, nil
}

// Paths of what operations are about.
const (
	subscription = "/subscriptions/{subscription}"
	namespace    = "/providers/Microsoft.KeyVault"
	vaults       = subscription + "/resourceGroups/{group}" + namespace + "/vaults"
	oneVault     = vaults + "/{vault}"
	oneSecret    = oneVault + "/secrets/{secret}"
	location     = subscription + namespace + "/locations/{location}"
	oneDeleted   = location + "/deletedVaults/{vault}"
)

// policyWrite is the action of all changes of access policies.
const policyWrite = "Microsoft.KeyVault/vaults/accessPolicies/write"

// Operations gives what the service serves.
func (s *Service) Operations() []arm.Operation {
	return []arm.Operation{
		{Method: "PUT", Pattern: oneVault, Handler: s.putVault},
		{Method: "PATCH", Pattern: oneVault, Handler: s.patchVault},
		{Method: "GET", Pattern: oneVault, Handler: s.getVault},
		{Method: "DELETE", Pattern: oneVault, Handler: s.deleteVault},
		{Method: "GET", Pattern: vaults, Handler: s.listVaults},
		{Method: "GET", Pattern: subscription + namespace + "/vaults", Handler: s.listVaults},
		{Method: "POST", Pattern: subscription + namespace + "/checkNameAvailability", Action: "Microsoft.KeyVault/checkNameAvailability/read",
			Reads: true, Handler: s.checkName},
		{Method: "PUT", Pattern: oneVault + "/accessPolicies/{change}", Scope: vaultSegments, Action: policyWrite, Handler: s.changePolicies},

		{Method: "GET", Pattern: subscription + namespace + "/deletedVaults", Handler: s.listDeleted},
		{Method: "GET", Pattern: oneDeleted, Handler: s.getDeleted},
		{Method: "POST", Pattern: oneDeleted + "/purge", Handler: s.purge},
		{Method: "GET", Pattern: location + "/operationResults/{operation}", Handler: s.purged},

		{Method: "PUT", Pattern: oneSecret, Handler: s.putSecret},
		{Method: "PATCH", Pattern: oneSecret, Handler: s.patchSecret},
		{Method: "GET", Pattern: oneSecret, Handler: s.getSecret},
		{Method: "GET", Pattern: oneVault + "/secrets", Handler: s.listSecrets},

		// Who may ask sees role assignments anyway.
		{Method: "POST", Pattern: oneVault + "/checkAccess", Action: "Microsoft.Authorization/roleAssignments/read", Reads: true, Handler: s.checkAccess},
	}
}

// vaultSegments is how many segments the id of a vault has.
const vaultSegments = 8

// Provider describes the provider to clients that ask before they use it.
func Provider() arm.Provider {
	versions := []string{"2026-02-01", "2025-05-01", "2024-11-01", "2023-07-01", "2023-02-01", "2022-07-01", "2022-02-01", "2021-10-01",
		"2019-09-01", "2018-02-14", "2016-10-01", "2015-06-01"}
	p := arm.Provider{Namespace: "Microsoft.KeyVault"}
	for _, name := range []string{"vaults", "vaults/secrets", "vaults/accessPolicies", "deletedVaults", "locations",
		"locations/deletedVaults", "locations/operationResults", "checkNameAvailability", "operations"} {
		p.Types = append(p.Types, arm.ProviderType{Name: name, APIVersions: versions})
	}
	return p
}
