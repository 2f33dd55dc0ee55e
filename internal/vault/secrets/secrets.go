// Package secrets owns the secrets of vaults: their versions on the control
// plane's state, deletion that can be undone, backups, and the news of what
// changed. Nothing of them is kept in memory. It does not know who may use a
// secret (see vault.Vaults.Check), how values are encrypted at rest (the state
// does that) or any wire format.
package secrets

import (
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// Limits of what a secret can have.
const (
	MaxValue       = 25 << 10 // bytes
	MaxContentType = 255      // characters
	MaxTags        = 15
	MaxTag         = 256      // characters of a name or a value
	MaxBackup      = 500      // versions
	MaxBlob        = 64 << 20 // bytes of a backup
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
type Store struct {
	Config
	lanes [256]chan struct{} // writers of one secret on this node queue up instead of getting in each other's way
}

// New gives a store.
func New(c Config) *Store {
	s := &Store{Config: c}
	for i := range s.lanes {
		s.lanes[i] = make(chan struct{}, 1)
	}
	return s
}

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
