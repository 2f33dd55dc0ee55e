package vaultsecrets

import (
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// system is how secrets name the app's own identity.
const system = "system"

// unread says why a secret has no value, and what to do.
func unread(a containerapp.App, p reference.Problem) error {
	var of containerapp.Secret
	for _, s := range inVaults(a) {
		if s.Name == p.Setting {
			of = s
		}
	}
	text := "configuration.secrets: unable to get the value of secret '" + of.Name + "' of container app " + a.Name + " from " + of.KeyVaultURL +
		" using managed identity '" + of.Identity + "': " + string(p.Status) + ": " + p.Why
	return problem.New(kindOf(p.Status), text).WithNext(next(a, of, p.Status))
}

func kindOf(s reference.Status) problem.Kind {
	switch s {
	case reference.AccessDenied, reference.MSINotEnabled, reference.UnauthorizedClient:
		return problem.Denied
	case reference.VaultNotFound, reference.SecretNotFound, reference.SecretVersionNotFound:
		return problem.NotFound
	case reference.InvalidSyntax:
		return problem.Invalid
	}
	return problem.Unavailable
}

// next says how a secret that cannot be read is mended.
func next(a containerapp.App, s containerapp.Secret, status reference.Status) string {
	at := " --name " + a.Name + " --resource-group " + a.ID.Group()
	switch status {
	case reference.AccessDenied:
		return "give the identity the permission to get secrets of the vault: the role Key Vault Secrets User, or an access policy"
	case reference.MSINotEnabled:
		if strings.EqualFold(s.Identity, system) {
			return "latchkey containerapp identity assign" + at + " --system-assigned"
		}
		return "latchkey containerapp identity assign" + at + " --user-assigned " + s.Identity
	case reference.VaultNotFound, reference.SecretNotFound, reference.SecretVersionNotFound, reference.InvalidSyntax:
		return "make the secret in the vault, or correct keyVaultUrl: latchkey containerapp secret set" + at +
			" --secrets " + s.Name + "=keyvaultref:<url>,identityref:" + s.Identity
	}
	return "it is tried again by itself; the app's revisions start when the value is there"
}
