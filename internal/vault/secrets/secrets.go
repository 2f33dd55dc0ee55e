// Package secrets owns the secrets of vaults: their versions on the control
// plane's state, deletion that can be undone, backups, and the news of what
// changed. Nothing of them is kept in memory. It does not know who may use a
// secret (see vault.Vaults.Check), how values are encrypted at rest (the state
// does that) or any wire format.
package secrets

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// Limits of what a secret can have.
const (
	MaxValue       = 25 << 10 // bytes
	MaxContentType = 255      // characters
	MaxTags        = 15
	MaxTag         = 256      // characters of a name or a value
	MaxBackup      = 500      // versions
	MaxBlob        = 32 << 20 // bytes of a backup
	MaxName        = 127
)

// Config is what a Store needs.
type Config struct {
	State  state.Store
	Clock  clock.Clock
	Sealer seal.Sealer // seals backups; it must seal
	// DeletionDelay is how long a secret that was deleted is neither there nor among the
	// deleted ones, as on the platform; 0 for not at all.
	DeletionDelay time.Duration
}

// Store keeps secrets of vaults. It is safe for concurrent use, also by several
// nodes. All methods take the vault as it is now; names of secrets may have any
// case. Besides the errors they name, they return problem.Invalid for what cannot
// be the name of a secret, problem.NotFound with vault.VaultNotFound for a write to
// a vault that is deleted, and the errors of the state.
type Store struct{ c Config }

// New gives a store.
func New(c Config) *Store { return &Store{c} }

// Properties are what is known of a version of a secret, without its value. Times
// are in UTC and whole seconds.
type Properties struct {
	Name            string // spelled as when the secret was made
	Version         string // 32 hexadecimal digits
	ContentType     string // "" for none
	Enabled         bool
	NotBefore       time.Time // zero for none; for information only
	Expires         time.Time // likewise
	Created         time.Time
	Updated         time.Time
	Tags            map[string]string // nil for none
	PreviousVersion string            // the version before this one; "" for none
	RecoveryLevel   string            // "Recoverable+Purgeable"
	RecoverableDays int
}

// Bundle is a version of a secret.
type Bundle struct {
	Properties
	Value string
}

// Deleted is a secret that was deleted, by its latest version.
type Deleted struct {
	Properties
	DeletedAt time.Time
	PurgeAt   time.Time // when it is removed for good
}

// Attributes are what can be set besides the value. nil leaves alone, or is the
// default for a new version.
type Attributes struct {
	ContentType *string
	Tags        map[string]string // replaces all
	Enabled     *bool             // default: true
	NotBefore   *time.Time        // the zero time removes
	Expires     *time.Time        // likewise
}

// Page bounds a list.
type Page struct {
	After string // what the list before gave as next; "" from the beginning
	Limit int    // most to give; 0 is 25, more than 1000 is 1000
}

// Set makes a new version, which is the latest from now on. Errors:
// problem.Invalid and problem.TooLarge naming the field, problem.Conflict with
// vault.SecretDeleted or SecretBeingDeleted when a deleted secret has the name.
func (s *Store) Set(ctx context.Context, v vault.Vault, name, value string, a Attributes) (Bundle, error) {
	return Bundle{}, errTodo
}

// Get reads a version, the latest for "", which takes one reading of the state.
// Errors: problem.NotFound with vault.SecretNotFound, problem.Denied with
// vault.SecretDisabled; times of validity do not count.
func (s *Store) Get(ctx context.Context, v vault.Vault, name, version string) (Bundle, error) {
	return Bundle{}, errTodo
}

// Update changes attributes of a version, of the latest for "", whether it is
// enabled or not. Errors as for Set; problem.NotFound with vault.SecretNotFound.
func (s *Store) Update(ctx context.Context, v vault.Vault, name, version string, a Attributes) (Properties, error) {
	return Properties{}, errTodo
}

// List gives the secrets of a vault by their latest versions, in order of names.
// next goes into Page.After for more; "" at the end. A list goes on well after
// what it ended at was deleted.
func (s *Store) List(ctx context.Context, v vault.Vault, p Page) (list []Properties, next string, err error) {
	return nil, "", errTodo
}

// Versions gives the versions of a secret in the order of their ids, as List does.
// problem.NotFound with vault.SecretNotFound.
func (s *Store) Versions(ctx context.Context, v vault.Vault, name string, p Page) (list []Properties, next string, err error) {
	return nil, "", errTodo
}

// Delete deletes a secret with all its versions; it can be recovered for as long
// as the vault says. problem.NotFound with vault.SecretNotFound.
func (s *Store) Delete(ctx context.Context, v vault.Vault, name string) (Deleted, error) {
	return Deleted{}, errTodo
}

// GetDeleted reads a deleted secret; problem.NotFound with vault.SecretNotFound.
func (s *Store) GetDeleted(ctx context.Context, v vault.Vault, name string) (Deleted, error) {
	return Deleted{}, errTodo
}

// Deleted lists the deleted secrets as List does.
func (s *Store) Deleted(ctx context.Context, v vault.Vault, p Page) (list []Deleted, next string, err error) {
	return nil, "", errTodo
}

// Recover undoes Delete. problem.NotFound with vault.SecretNotFound,
// problem.Conflict with vault.SecretBeingDeleted.
func (s *Store) Recover(ctx context.Context, v vault.Vault, name string) (Properties, error) {
	return Properties{}, errTodo
}

// Purge removes a deleted secret for good; its name is free once it returns.
// Errors as for Recover; problem.Denied with vault.PurgeProtected.
func (s *Store) Purge(ctx context.Context, v vault.Vault, name string) error { return errTodo }

// PurgeExpired removes deleted secrets of all vaults whose time is over, and what
// interrupted work left. Call it now and then, on one node.
func (s *Store) PurgeExpired(ctx context.Context) error { return errTodo }

// Drop removes everything kept for a vault's UID; it goes into
// vault.Config.OnPurge.
func (s *Store) Drop(ctx context.Context, uid string) error { return errTodo }

// Backup gives a secret with all its versions as a text of URL-safe characters
// that only this installation can read. problem.NotFound with
// vault.SecretNotFound, problem.Invalid for more than MaxBackup versions.
func (s *Store) Backup(ctx context.Context, v vault.Vault, name string) (string, error) {
	return "", errTodo
}

// Restore makes a secret from a backup, with the versions it had, and gives the
// latest. Errors: problem.Invalid with vault.BadParameter, problem.Conflict with
// vault.SecretExists, SecretDeleted or SecretBeingDeleted.
func (s *Store) Restore(ctx context.Context, v vault.Vault, blob string) (Properties, error) {
	return Properties{}, errTodo
}

// Change is news of a secret: it was set, updated, deleted, recovered or restored.
type Change struct {
	VaultUID string
	Secret   string // name in lower case
	Resync   bool   // changes may have been missed: take everything for changed
}

// Changes gives news of all secrets from when it is called, in order, until ctx
// ends; then the channel is closed. While the state cannot be read there is none,
// and a Resync follows.
func (s *Store) Changes(ctx context.Context) <-chan Change { return nil }

var errTodo = problem.New(problem.Unsupported, "not built yet")
