package keyvault

import "github.com/latchkey/latchkey/internal/keystore"

var _ keystore.Uncopied = (*Store)(nil)

// WithoutCopies implements [keystore.Uncopied]. A copy would be one more secret with
// the values of all the others, for whoever may read that one; and the vault has
// former states by itself.
func (s *Store) WithoutCopies() (why, next string) {
	return "a secret with the values of others would open them to whoever may read that one, and the vault keeps former versions and deleted secrets",
		"recover the secret that was deleted, enable the one that is disabled, or set one to its version before; the app takes it up by itself (docs/stores/keyvault.md)"
}
